"""What the bundled runtime's HTTP side has beyond one answer per request."""

import asyncio
import base64
import io
import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families

from diffusers_servers import SteppingModel, engine_of, tiny_model, tiny_server
from harness import PATIENCE
from queue_agent.testing import eventually, sample_png
from queue_agent_diffusers.engine.engine import Engine
from queue_agent_diffusers.engine.model import Model
from queue_agent_diffusers.engine.pool import ModelPool, Served
from queue_agent_diffusers.engine.requests import ImageRequest
from queue_agent_diffusers.errors import ModelNotFound
from queue_agent_diffusers.http.app import create_app

GENERATIONS = "/v1/images/generations"
EDITS = "/v1/images/edits"
QUICK: dict[str, Any] = {"prompt": "x", "size": "64x64", "num_inference_steps": 8, "seed": 7}
SLOW: dict[str, Any] = {"prompt": "x", "size": "512x512", "num_inference_steps": 500}


def events_of(body: str) -> list[tuple[str, dict[str, Any]]]:
    """Names and data of a body of server-sent events, comments left out."""
    found = []
    for block in body.strip().split("\n\n"):
        if not block.startswith(":"):
            name, data = block.split("\n")
            found.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return found


def picture(event: dict[str, Any]) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(event["b64_json"])))


async def test_a_stream_tells_progress_shows_previews_and_ends_with_the_images(
    client: httpx.AsyncClient,
) -> None:
    body = {**QUICK, "n": 2, "stream": True, "partial_images": 2}
    answer = await client.post(GENERATIONS, json=body)
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = events_of(answer.text)
    steps = [event["step"] for name, event in events if name == "image_generation.progress"]
    assert steps == list(range(1, 9))
    previews = [event for name, event in events if name == "image_generation.partial_image"]
    assert sorted((one["image_index"], one["partial_image_index"]) for one in previews) == [
        (0, 0),
        (0, 1),
        (1, 0),
        (1, 1),
    ]
    assert {picture(preview).size for preview in previews} == {(8, 8)}
    assert [name for name, _ in events[-2:]] == ["image_generation.completed"] * 2
    plain = await client.post(GENERATIONS, json={**QUICK, "n": 2})
    for (_, event), entry in zip(events[-2:], plain.json()["data"], strict=True):
        assert (event["type"], event["seed"]) == ("image_generation.completed", entry["seed"])
        assert picture(event).size == (64, 64)


async def test_an_edit_can_be_streamed_too(client: httpx.AsyncClient) -> None:
    data = {**QUICK, "stream": "true"}
    answer = await client.post(EDITS, data=data, files={"image": sample_png()})
    assert events_of(answer.text)[-1][0] == "image_edit.completed"


async def test_what_a_stream_cannot_begin_is_refused_as_ever(client: httpx.AsyncClient) -> None:
    body = {**QUICK, "stream": True, "scheduler": "no such"}
    answer = await client.post(GENERATIONS, json=body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (422, "scheduler")


async def test_a_stream_that_breaks_off_ends_with_the_error(client: httpx.AsyncClient) -> None:
    headers = {"X-Request-Id": "streamed"}
    body = {**SLOW, "stream": True}
    async with client.stream("POST", GENERATIONS, json=body, headers=headers) as answer:
        await client.delete("/v1/jobs/streamed")
        text = (await answer.aread()).decode()
    name, error = events_of(text)[-1]
    assert (name, error["error"]["code"]) == ("error", "cancelled")


async def test_a_client_that_leaves_its_stream_takes_its_job_with_it(
    client: httpx.AsyncClient,
) -> None:
    headers = {"X-Request-Id": "left-stream"}
    body = {**SLOW, "stream": True}
    async with client.stream("POST", GENERATIONS, json=body, headers=headers) as answer:
        await anext(answer.aiter_lines())

    async def cancelled() -> bool:
        job = (await client.get("/v1/jobs/left-stream")).json()
        return bool(job["status"] == "cancelled")

    await eventually(cancelled)


async def test_jobs_that_come_together_share_steps_and_prometheus_is_told(
    client: httpx.AsyncClient,
) -> None:
    before = await samples_of(client)
    bodies = [{**QUICK, "num_inference_steps": steps} for steps in (30, 20, 25)]
    answers = await asyncio.gather(*(client.post(GENERATIONS, json=body) for body in bodies))
    assert {answer.status_code for answer in answers} == {200}
    after = await samples_of(client)
    told = {name: value - before.get(name, 0.0) for name, value in after.items()}
    assert told["diffusers_images_total"] == 3
    assert told["diffusers_batch_size_sum"] == 75
    assert told["diffusers_steps_total"] < 75, "else none was shared"
    assert after["diffusers_jobs_waiting"] == 0
    assert after["diffusers_model_bytes"] > 0
    assert after["diffusers_model_loads_total"] == 1


async def test_each_metric_of_the_server_is_documented(client: httpx.AsyncClient) -> None:
    page = text_string_to_metric_families((await client.get("/metrics")).text)
    shown = {
        f"{family.name}_total" if family.type == "counter" else family.name
        for family in page
        if not family.name.endswith("_created")
    }
    document = Path(__file__).parents[2] / "docs" / "diffusers-runtime.md"
    rows = re.findall(r"^\| (`diffusers_[^|]*)\|", document.read_text(), re.MULTILINE)
    assert {name for row in rows for name in re.findall(r"`(diffusers_\w+)", row)} == shown


async def samples_of(client: httpx.AsyncClient) -> dict[str, float]:
    page = await client.get("/metrics")
    assert page.headers["content-type"].startswith("text/plain")
    families = text_string_to_metric_families(page.text)
    return {sample.name: sample.value for family in families for sample in family.samples}


async def test_health_says_how_many_jobs_share_a_step(client: httpx.AsyncClient) -> None:
    assert (await client.get("/health")).json() == {"status": "ok", "max_batch": 4}


async def test_the_api_is_described(client: httpx.AsyncClient) -> None:
    described = (await client.get("/openapi.json")).json()
    fields = described["paths"][EDITS]["post"]["requestBody"]["content"]["multipart/form-data"]
    assert {"image", "mask", "prompt", "strength"} <= set(fields["schema"]["properties"])
    assert set(described["paths"]) >= {GENERATIONS, "/v1/models/load", "/v1/jobs/{job_id}"}


def client_of(engine: Engine) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(create_app(engine))
    return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1")


async def test_a_full_server_says_when_to_come_again() -> None:
    model = SteppingModel(max_batch=1)
    model.open = False
    engine = engine_of(model, max_waiting=2)
    engine.start()
    try:
        await eventually(lambda: engine.ready)
        first = engine.submit("0", ImageRequest("x", seed=1))
        await eventually(lambda: first.state == "running")
        for number in ("1", "2"):
            engine.submit(number, ImageRequest("x", seed=1))
        async with client_of(engine) as client:
            answer = await client.post(GENERATIONS, json=QUICK)
            assert (answer.status_code, answer.json()["error"]["code"]) == (429, "queue_full")
            assert int(answer.headers["Retry-After"]) >= 1
    finally:
        model.open = True
        model.gate.release(1)
        await asyncio.to_thread(engine.close)


async def test_models_are_loaded_and_unloaded_by_name() -> None:
    def fail() -> Model:
        raise ModelNotFound("gone")

    served = {name: Served(SteppingModel) for name in ("one", "two")} | {"bad": Served(fail)}
    engine = Engine(ModelPool(served))
    engine.start()
    try:
        async with client_of(engine) as client:

            async def states() -> dict[str, str]:
                listed = (await client.get("/v1/models")).json()["data"]
                return {entry["id"]: entry["state"] for entry in listed}

            async def until(model: str, state: str) -> None:
                async def reached() -> bool:
                    return (await states())[model] == state

                await eventually(reached)

            await until("one", "loaded")
            assert (await states())["two"] == "unloaded"
            answer = await client.post("/v1/models/load", json={"model": "two"})
            assert answer.status_code == 202
            await until("two", "loaded")
            answer = await client.post("/v1/models/unload", json={"model": "one"})
            assert answer.json()["state"] == "unloaded"
            answer = await client.post(GENERATIONS, json=QUICK)
            assert answer.status_code == 200, "it is loaded again when it is asked for"
            answer = await client.post(GENERATIONS, json={**QUICK, "model": "bad"})
            assert (answer.status_code, answer.json()["error"]["code"]) == (
                503,
                "model_unavailable",
            )
            answer = await client.post("/v1/models/load", json={"model": "three"})
            assert (answer.status_code, answer.json()["error"]["param"]) == (404, "model")
    finally:
        await asyncio.to_thread(engine.close)


@pytest.mark.parametrize("loras", ['[{"name": "ink"}]', "no list", '[{"name": ""}]'])
async def test_a_lora_that_is_not_there_is_refused_by_name(
    client: httpx.AsyncClient, loras: str
) -> None:
    data = {**QUICK, "loras": loras}
    answer = await client.post(EDITS, data=data, files={"image": sample_png()})
    assert answer.status_code == 422
    assert answer.json()["error"]["param"].startswith("loras")


async def test_two_models_are_served_by_one_process() -> None:
    server = tiny_server("--model", str(tiny_model(xl=True)))
    await asyncio.to_thread(server.start)
    try:
        async with httpx.AsyncClient(base_url=server.url, timeout=2 * PATIENCE) as client:
            names = [entry["id"] for entry in (await client.get("/v1/models")).json()["data"]]
            answers = await asyncio.gather(
                *(client.post(GENERATIONS, json={**QUICK, "model": name}) for name in names)
            )
            assert [answer.status_code for answer in answers] == [200, 200]
            images = [answer.json()["data"][0]["b64_json"] for answer in answers]
            assert images[0] != images[1]
    finally:
        await asyncio.to_thread(server.stop)
