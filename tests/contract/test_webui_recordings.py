"""The fake Web UI, held against what a real 1.10.1 answered.

`tests/recordings` says where the recordings come from. Each exchange is replayed in its order, on
a fake with the recorded server's models, or listed in `NOT_REPLAYED` with the reason.
"""

import asyncio
import base64
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from PIL import Image

from fakes import fake_runtime
from harness import PATIENCE
from queue_agent.testing import ServerProcess

RECORDINGS = Path(__file__).parents[1] / "recordings" / "webui-1.10.1"
Exchange = dict[str, Any]

WALKS: Final = {
    "auth": ("--api-auth", "u:p"),
    "extras": (),
    "faults": (),
    "fresh_config": (),
    "img2img": (),
    "interrupt": (),
    "lists": (),
    "lists_filled": (),
    "misc": (),
    "options": (),
    "progress": (),
    "txt2img": (),
}
"""The flags of the fake for each file."""
ELSEWHERE: Final = {
    "process_ends": "the end of a process, seen by tests/faults/test_runtime_killers.py",
    "script_info": "one list, which the fake itself answers from",
    "startup": "answers of a server that starts, seen by tests/contract/test_webui_start.py",
}
"""Recordings that are not walked through."""
PAGE: Final = "the fake has no page"
OTHER_ROUTES: Final = "a route that the agent never asks"
NOT_REPLAYED: Final = {
    ("auth", "the page asks for none"): PAGE,
    ("auth", "broken Basic"): "FastAPI's words, which have changed since",
    ("misc", "root (page)"): PAGE,
    ("misc", "/internal/sysinfo: keys only"): OTHER_ROUTES,
    ("misc", "openapi: paths only"): OTHER_ROUTES,
    ("misc", "openapi: fields and defaults of the two generation requests"): OTHER_ROUTES,
    ("misc", "OPTIONS without CORS set"): "a browser's question",
    ("misc", "unload-checkpoint"): OTHER_ROUTES,
    ("misc", "unload again"): OTHER_ROUTES,
    ("misc", "reload-checkpoint"): OTHER_ROUTES,
    ("misc", "png-info of it"): OTHER_ROUTES,
    ("misc", "png-info as a data URL"): OTHER_ROUTES,
    ("misc", "png-info of an image without one"): OTHER_ROUTES,
    ("misc", "png-info of no image"): OTHER_ROUTES,
    ("misc", "png-info of an empty text"): OTHER_ROUTES,
    ("misc", "png-info without image"): OTHER_ROUTES,
    ("misc", "sd-models while unloaded"): OTHER_ROUTES,
    ("misc", "server-stop without --api-server-stop"): OTHER_ROUTES,
    ("options", "all"): "what jobs had left in the recorded server; the fake's come from it",
    ("lists_filled", "prompt-styles after a restart (styles.csv was put in before)"): "a restart",
    ("lists_filled", "job with the style"): "after a restart",
    ("faults", "unknown always-on script"): "the fake has the ControlNet extension",
    ("progress", "pending tasks"): "tasks that were left by another recording",
}
JOB_BEFORE: Final = {"interrupt": 20, "progress": 2}
"""The steps of the job before the recording, whose traces are in it."""
CHANGING: Final = frozenset({"seed", "all_seeds", "subseed", "all_subseeds", "job_timestamp"})
"""Of `info`, where they were drawn."""


def exchanges(name: str) -> list[Exchange]:
    found: list[Exchange] = json.loads((RECORDINGS / f"{name}.json").read_text())["exchanges"]
    return found


def picture(described: dict[str, Any], *, half: bool = False) -> str:
    """An image as the recording describes it."""
    width, height = map(int, described["png"].split("x"))
    buffer = io.BytesIO()
    Image.new(described.get("mode", "RGB"), (width, height), 200).save(buffer, "PNG")
    data = buffer.getvalue()
    text = base64.b64encode(data[: -len(data) // 2] if half else data).decode()
    kind = described.get("data_url")
    return f"data:{kind};base64,{text}" if kind else text


def filled_in(value: Any) -> Any:
    """A recorded request with images for what stands in their places."""
    if isinstance(value, dict):
        if "png" in value:
            return picture(value)
        return {name: filled_in(item) for name, item in value.items()}
    if isinstance(value, list):
        return [filled_in(item) for item in value]
    if isinstance(value, str) and value.startswith("(base64 of"):
        return picture({"png": "64x64"}, half=True)
    return value


def sent_body(request: dict[str, Any]) -> dict[str, Any]:
    if "json" in request:
        return {"json": filled_in(request["json"])}
    return {"content": request["body"]} if "body" in request else {}


async def asked(client: httpx.AsyncClient, request: dict[str, Any]) -> httpx.Response:
    return await client.request(
        request["method"],
        request["path"],
        params=request.get("query"),
        headers=request.get("headers"),
        **sent_body(request),
    )


def description(encoded: str) -> dict[str, Any]:
    """An image of an answer, as the recordings describe them; without its length."""
    image = Image.open(io.BytesIO(base64.b64decode(encoded)))
    image.load()
    found: dict[str, Any] = {str(image.format).lower(): f"{image.width}x{image.height}"}
    if image.format == "PNG" and (texts := getattr(image, "text", None)):
        found["text_chunks"] = sorted(texts)
    return found


def comparable(answer: Any, *, drawn: bool, recorded: bool) -> Any:
    """What has to be equal of an answer: images by size and format, `info` without moments."""
    if not isinstance(answer, dict):
        return answer
    found = dict(answer)
    if "detail" in found and isinstance(found["detail"], list):  # pydantic's own words
        found["detail"] = [one["loc"] for one in found["detail"]]
    for name in ("images", "image"):
        if name in found:
            found[name] = shown(found[name], recorded=recorded)
    if isinstance(found.get("info"), str) and found["info"].startswith("{"):
        found["info"] = compared_info(json.loads(found["info"]), drawn=drawn)
    if isinstance(found.get("state"), dict):
        found["state"] = {**found["state"], "job_timestamp": None}
    if "errors" in found:
        found["errors"] = str(found["errors"]).partition("float: '")[0]  # a whole image
    found["parameters"] = {
        name: value
        for name, value in (found.get("parameters") or {}).items()
        if name not in {"init_images", "mask", "firstpass_image"}
    }
    return found


def shown(images: Any, *, recorded: bool) -> Any:
    if isinstance(images, list):
        return [shown(image, recorded=recorded) for image in images]
    if recorded:
        return {name: value for name, value in images.items() if name not in {"bytes", "mode"}}
    return description(images)


def compared_info(info: dict[str, Any], *, drawn: bool) -> dict[str, Any]:
    left_out = CHANGING if drawn else {"subseed", "all_subseeds", "job_timestamp"}
    found = {name: value for name, value in info.items() if name not in left_out}
    if drawn:
        del found["infotexts"]
    return found


def is_drawn(request: dict[str, Any]) -> bool:
    content = request.get("json")
    return not isinstance(content, dict) or content.get("seed", -1) in (None, -1)


@contextmanager
def recorded_server(name: str) -> Iterator[ServerProcess]:
    flags = ("--recorded-disk", "--step-seconds", "0.005", *WALKS[name])
    with fake_runtime("webui", *flags) as server:
        if name not in {"fresh_config", "auth"}:
            set_once = {"CLIP_stop_at_last_layers": 1, "samples_format": "png"}
            set_once |= {"sd_vae": "nope.pt"} if name == "options" else {}
            httpx.post(
                f"{server.url}/sdapi/v1/options", json=set_once, timeout=PATIENCE
            ).raise_for_status()
        if name in JOB_BEFORE:
            before = {"steps": JOB_BEFORE[name], "width": 64, "height": 64}
            httpx.post(
                f"{server.url}/sdapi/v1/txt2img", json=before, timeout=PATIENCE
            ).raise_for_status()
        if name in {"lists_filled", "auth"}:
            httpx.post(f"{server.url}/fake/filled", timeout=PATIENCE).raise_for_status()
        if name == "auth":
            httpx.post(
                f"{server.url}/sdapi/v1/refresh-loras", auth=("u", "p"), timeout=PATIENCE
            ).raise_for_status()
        yield server


def compare(what: str, request: dict[str, Any], recorded: dict[str, Any], answer: Any) -> None:
    assert answer.status_code == recorded["status"], what
    if "json" not in recorded:
        return
    drawn, body = is_drawn(request), answer.json()
    expected = comparable(recorded["json"], drawn=drawn, recorded=True)
    if recorded.get("note") == "these keys only":
        body = {key: value for key, value in body.items() if key in recorded["json"]}
    assert comparable(body, drawn=drawn, recorded=False) == expected, what


@pytest.mark.parametrize("name", sorted(WALKS))
async def test_each_recorded_exchange_is_answered_as_by_the_real_server(name: str) -> None:
    with recorded_server(name) as server:
        async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
            for exchange in exchanges(name):
                what, request = exchange["what"], exchange["request"]
                if (name, what) in NOT_REPLAYED:
                    continue
                if isinstance(request, list):
                    await compare_sequence(client, exchange)
                else:
                    compare(what, request, exchange["response"], await asked(client, request))


async def compare_sequence(client: httpx.AsyncClient, exchange: Exchange) -> None:
    """Jobs in their order, and what was done meanwhile once the same job had come as far."""
    jobs = [asyncio.create_task(asked(client, job)) for job in exchange["request"]]
    for sample in exchange["samples"]:
        if "request" in sample:
            await sampling(client)
            answer = await asked(client, sample["request"])
            assert answer.status_code == sample["response"]["status"]
    for job, recorded in zip(exchange["request"], exchange["response"].values(), strict=True):
        compare(exchange["what"], job, recorded, await jobs[exchange["request"].index(job)])
    seen = [sample for sample in exchange["samples"] if "what" not in sample]
    await compare_end(client, exchange, seen[-1])


async def compare_end(client: httpx.AsyncClient, exchange: Exchange, last: dict[str, Any]) -> None:
    """What is told once all is over, where the recording went on until then."""
    if any(isinstance(one, dict) and one.get("progress") for one in last.values()):
        return
    for question, recorded in last.items():
        method, _, rest = question.partition(" ")
        if method not in {"GET", "POST"} or rest.startswith("/internal/pending"):
            continue
        path, _, body = rest.partition(" ")
        answer = await client.request(method, path, content=body or None, headers=JSON)
        compare(exchange["what"], {}, {"status": 200, "json": recorded}, answer)


JSON: Final = {"content-type": "application/json"}


async def sampling(client: httpx.AsyncClient) -> None:
    """Until the job under way has begun to sample."""
    while True:
        state = (await client.get("/sdapi/v1/progress")).json()["state"]
        if state["job_count"] > 0 and state["sampling_step"] > 0:
            return
        await asyncio.sleep(0.005)


def test_each_recording_is_walked_through_or_named_with_a_reason() -> None:
    assert {path.stem for path in RECORDINGS.glob("*.json")} == WALKS.keys() | ELSEWHERE.keys()
    known = {(name, one["what"]) for name in WALKS for one in exchanges(name)}
    assert NOT_REPLAYED.keys() <= known
    assert len(known) - len(NOT_REPLAYED) > 190
