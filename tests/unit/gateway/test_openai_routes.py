"""The routes of the OpenAI Images API, before a worker on a cloud in memory."""

import base64
import io
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any, Final

import httpx
import pytest
from fastapi import FastAPI
from PIL import Image, ImageOps
from pydantic import JsonValue

from gateway_bench import KEYS, Gateways, client_of
from output_samples import InlineWorkers
from queue_agent.outputs import Conversion, ConversionPolicy, OutputStage
from queue_agent.runtime import (
    Artifact,
    Assets,
    Capabilities,
    Output,
    Prepared,
    ProgressCallback,
    Reference,
)
from queue_agent.testing import sample_png
from queue_agent.wire.errors import Rejected
from queue_agent.wire.job import Job
from queue_agent.wire.layout import offer_key
from queue_agent.wire.offer import Offer, OfferedModel
from queue_agent.wire.output import FORMATS, FileFormat
from worker_bench import NAME, Behaviour, Bench, ScriptedRuntime, drawing, failing

PNG: Final = sample_png(128, 72)
ENCODED: Final = base64.b64encode(PNG).decode()
MODELS: Final = (OfferedModel(name="dreamy", hash="abc"), OfferedModel(name="org/flux", title="F"))
GENERATIONS: Final = "/v1/images/generations"
EDITS: Final = "/v1/images/edits"


class Taking(ScriptedRuntime):
    """Takes images as they stand in a job."""

    def references(self, job: Job) -> Iterable[Reference]:
        assert job.content
        return ()

    async def prepare(self, job: Job, assets: Assets) -> Prepared:
        assert not assets
        return Prepared(job, {}, warnings=("prepared oddly",) if job.content.get("odd") else ())


@pytest.fixture
def bench(gateways: Gateways) -> Bench:
    made = Bench()
    made.runtime = Taking()
    made.runtime.usually = drawing(0)
    gateways.cloud = made.cloud
    return made


async def started(
    gateways: Gateways,
    bench: Bench,
    *,
    adapter: str = "webui",
    formats: tuple[FileFormat, ...] = (),
    **settings: Any,
) -> FastAPI:
    offer = Offer(
        **dict(Capabilities(models=MODELS)), runtime=NAME, adapter=adapter, output_formats=formats
    )
    bucket = gateways.cloud.bucket(bench.deployment.bucket)
    await bucket.write(offer_key(NAME), offer.to_json(), media_type="application/json")
    usual: dict[str, Any] = {
        "job_topic": bench.deployment.job_topic,
        "notification_topic": bench.deployment.notification_topic,
        "bucket": bench.deployment.bucket,
        "runtimes": (NAME, "other"),
        "models": ("gpt-image-1=sdruntime", f"dall-e-3={NAME}:dreamy"),
        "poll": 0.05,
    }
    return await gateways.start(**usual | settings)


@pytest.fixture
async def door(gateways: Gateways, bench: Bench) -> AsyncIterator[httpx.AsyncClient]:
    """A client where nobody works, so that jobs are not waited for."""
    async with client_of(await started(gateways, bench, sync_timeout=0.1)) as client:
        yield client


@pytest.fixture
async def api(gateways: Gateways, bench: Bench) -> AsyncIterator[httpx.AsyncClient]:
    """A client before an agent that makes an image of each job."""
    async with client_of(await started(gateways, bench)) as client, bench.working():
        yield client


@asynccontextmanager
async def speaking(gateways: Gateways, bench: Bench, adapter: str) -> AsyncIterator[Any]:
    """The same of an agent with that adapter."""
    app = await started(gateways, bench, adapter=adapter)
    async with client_of(app) as client, bench.working():
        yield client


def asked(bench: Bench) -> list[dict[str, Any]]:
    """The jobs that were published."""
    jobs = bench.cloud.topic(bench.deployment.job_topic).published
    return [json.loads(job.body) for job in jobs]


def content(bench: Bench) -> dict[str, Any]:
    """That of the only job."""
    (job,) = asked(bench)
    found: dict[str, Any] = job["content"]
    return found


def making(image_format: str) -> Behaviour:
    async def make(_: Prepared, __: ProgressCallback) -> Output:
        file = io.BytesIO()
        Image.new("RGB", (64, 64)).save(file, image_format)
        return Output((Artifact(file.getvalue(), f"image/{image_format}"),))

    return make


def fault(answer: httpx.Response) -> dict[str, Any]:
    """What is wrong, in OpenAI's shape."""
    found: dict[str, Any] = answer.json()["error"]
    assert found.keys() == {"message", "type", "param", "code"}
    return found


# fields


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, {}),
        ({"n": 2}, {"batch_size": 2}),
        ({"size": "640x384"}, {"width": 640, "height": 384}),
        ({"size": "auto", "quality": "auto", "background": "auto", "moderation": "auto"}, {}),
        ({"quality": "standard", "background": "opaque", "output_format": "png"}, {}),
        ({"size": None, "n": None, "style": None, "output_format": None}, {}),
        ({"output_compression": 100}, {}),
        ({"num_inference_steps": 4, "guidance_scale": 2.5}, {"steps": 4, "cfg_scale": 2.5}),
        (
            {"n": 2, "batch_size": 2, "steps": 4, "num_inference_steps": 4},
            {"batch_size": 2, "steps": 4},
        ),
        ({"batch_size": 3}, {"batch_size": 3}),
        ({"size": "auto", "width": 64}, {"width": 64}),
        ({"seed": 7, "negative_prompt": "blue"}, {"seed": 7, "negative_prompt": "blue"}),
        ({"model": NAME}, {}),
        ({"model": "gpt-image-1"}, {}),
        ({"model": "dall-e-3"}, {"model": "dreamy"}),
        ({"model": "org/flux"}, {"model": "org/flux"}),
        ({"model": "nobody knows"}, {"model": "nobody knows"}),
    ],
)
async def test_what_is_asked_for_is_what_the_job_says(
    api: httpx.AsyncClient, bench: Bench, fields: dict[str, Any], expected: dict[str, Any]
) -> None:
    answer = await api.post(GENERATIONS, json={"prompt": "a", **fields})
    assert answer.status_code == 200, answer.text
    assert content(bench) == {"prompt": "a", **expected}
    assert asked(bench)[0]["metadata"]["runtime"] == NAME
    assert "x-warnings" not in answer.headers
    assert answer.json().keys() == {"created", "data", "output_format", "size"}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"n": 0}, "n"),
        ({"n": "many"}, "n"),
        ({"size": "big"}, "size"),
        ({"prompt": None}, "prompt"),
        ({"response_format": "gif"}, "response_format"),
        ({"output_format": "gif"}, "output_format"),
        ({"output_format": "webp"}, "output_format"),
        ({"output_format": "jpeg", "output_compression": 50}, "output_format"),
        ({"output_compression": 50}, "output_compression"),
        ({"output_compression": 101}, "output_compression"),
        ({"background": "transparent"}, "background"),
        ({"background": "red"}, "background"),
        ({"moderation": "high"}, "moderation"),
        ({"partial_images": 1}, "partial_images"),
        ({"partial_images": 4, "stream": True}, "partial_images"),
        ({"stream": True, "response_format": "url"}, "response_format"),
        ({"markup": "x"}, "markup"),
        ({"svg": {"a": 1}}, "svg"),
        ({"svg[a]": "1"}, "svg"),
        ({"frame_count": 3}, "frame_count"),
        ({"n": 2, "batch_size": 3}, "n"),
        ({"n": 1, "batch_size": 3}, "n"),
        ({"size": "64x64", "width": 128}, "size"),
        ({"size": "64x64", "height": 128}, "size"),
        ({"steps": 2, "num_inference_steps": 3}, "num_inference_steps"),
        ({"guidance_scale": 2, "cfg_scale": 3}, "cfg_scale"),
        ({"prompt": "a", "strength": 0.5, "denoising_strength": 0.6}, "denoising_strength"),
    ],
)
async def test_what_cannot_be_honoured_is_refused_by_name_before_there_is_a_job(
    door: httpx.AsyncClient, bench: Bench, fields: dict[str, Any], param: str
) -> None:
    answer = await door.post(GENERATIONS, json={"prompt": "a", **fields})
    assert answer.status_code == 400
    told = fault(answer)
    assert told["param"] == param
    assert param in told["message"]
    assert told["type"] == "invalid_request_error"
    assert asked(bench) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("quality", "hd"),
        ("style", "vivid"),
        ("moderation", "low"),
        ("complexity", "high"),
        ("input_fidelity", "high"),
    ],
)
async def test_hints_that_nobody_heeds_are_warned_of(
    api: httpx.AsyncClient, bench: Bench, name: str, value: str
) -> None:
    answer = await api.post(GENERATIONS, json={"prompt": "a", "odd": True, name: value})
    assert answer.status_code == 200
    warnings = answer.json()["warnings"]
    assert [words.partition(":")[0] for words in warnings] == [
        name,
        "prepared oddly",
        "came out oddly",
    ]
    assert json.loads(answer.headers["x-warnings"]) == warnings
    assert name not in content(bench)


@pytest.mark.parametrize(("word", "said"), [("low", "fast"), ("hd", "exact"), ("fast", "fast")])
async def test_the_bundled_runtime_heeds_the_quality(
    gateways: Gateways, bench: Bench, word: str, said: str
) -> None:
    async with speaking(gateways, bench, "diffusers") as api:
        answer = await api.post(GENERATIONS, json={"prompt": "a", "quality": word})
        wrong = await api.post(GENERATIONS, json={"prompt": "a", "quality": "best"})
    assert content(bench) == {"prompt": "a", "quality": said}
    assert "quality" not in str(answer.json().get("warnings", []))
    assert (wrong.status_code, fault(wrong)["param"]) == (400, "quality")


async def test_no_runtime_is_said_not_to_be_exact(api: httpx.AsyncClient, bench: Bench) -> None:
    answer = await api.post(GENERATIONS, json={"prompt": "a", "quality": "exact"})
    assert "quality" not in str(answer.json().get("warnings", []))
    assert "quality" not in content(bench)


async def test_a_runtime_of_the_dialect_has_its_fields_as_they_are(
    gateways: Gateways, bench: Bench
) -> None:
    fields = {
        "quality": "hd", "style": "vivid", "background": "transparent", "output_format": "webp",
        "output_compression": 30,
    }  # fmt: skip
    bench.runtime.usually = making("webp")
    async with speaking(gateways, bench, "openai") as api:
        answer = await api.post(GENERATIONS, json={"prompt": "a", **fields})
    assert content(bench) == {"prompt": "a", **fields}
    assert answer.json()["output_format"] == "webp"
    assert "warnings" not in answer.json()


@pytest.mark.parametrize(
    ("fields", "output"),
    [
        ({"output_format": "webp"}, {"format": "webp"}),
        ({"output_format": "jpeg", "output_compression": 0}, {"format": "jpeg", "quality": 1}),
        ({"output_format": "webp", "output_compression": 60}, {"format": "webp", "quality": 60}),
        ({"output_format": "png", "output_compression": 100}, {"format": "png"}),
        ({}, None),
    ],
)
async def test_what_a_runtime_does_not_encode_is_the_agents_to_convert(
    gateways: Gateways, bench: Bench, fields: dict[str, Any], output: dict[str, Any] | None
) -> None:
    bench.outputs = OutputStage((Conversion(ConversionPolicy(), InlineWorkers()),))
    app = await started(gateways, bench, adapter="comfyui", formats=FORMATS)
    async with client_of(app) as api, bench.working():
        answer = await api.post(GENERATIONS, json={"prompt": "a", **fields})
    assert content(bench) == {"prompt": "a"}
    assert asked(bench)[0]["metadata"].get("output") == output
    assert answer.json()["output_format"] == fields.get("output_format", "png")
    assert "warnings" not in answer.json()
    made = Image.open(io.BytesIO(base64.b64decode(answer.json()["data"][0]["b64_json"])))
    assert made.format == fields.get("output_format", "png").upper()


async def test_another_format_than_was_asked_for_is_told(gateways: Gateways, bench: Bench) -> None:
    bench.runtime.usually = making("png")
    async with speaking(gateways, bench, "diffusers") as api:
        answer = await api.post(GENERATIONS, json={"prompt": "a", "output_format": "jpeg"})
    assert content(bench)["output_format"] == "jpeg"
    assert answer.json()["output_format"] == "png"
    assert "image/png" in answer.json()["warnings"][0]


@pytest.mark.parametrize(
    ("fields", "context"),
    [
        ({"user": "someone"}, {"user": "someone"}),
        ({"safety_identifier": "someone"}, {"user": "someone"}),
        ({"user": "someone", "safety_identifier": "someone"}, {"user": "someone"}),
        (
            {"user": "someone", "safety_identifier": "8c1d"},
            {"user": "someone", "safety_identifier": "8c1d"},
        ),
    ],
)
async def test_the_user_goes_along_as_context(
    api: httpx.AsyncClient, bench: Bench, fields: dict[str, str], context: dict[str, str]
) -> None:
    await api.post(GENERATIONS, json={"prompt": "a", **fields})
    assert content(bench) == {"prompt": "a"}
    assert asked(bench)[0]["metadata"]["context"] == context


async def test_usage_is_told_where_the_runtime_counts(api: httpx.AsyncClient, bench: Bench) -> None:
    usage: JsonValue = {"input_tokens": 3, "output_tokens": 5, "total_tokens": 8}

    async def count(prepared: Prepared, report: ProgressCallback) -> Output:
        made = await drawing(0)(prepared, report)
        return Output(made.artifacts, {"usage": usage})

    bench.runtime.usually = count
    assert (await api.post(GENERATIONS, json={"prompt": "a"})).json()["usage"] == usage


async def test_links_are_refused_before_the_work_where_there_are_none(
    gateways: Gateways, bench: Bench
) -> None:
    async with client_of(
        await started(gateways, bench, link_seconds=0, sync_timeout=0.1)
    ) as client:
        answer = await client.post(GENERATIONS, json={"prompt": "a", "response_format": "url"})
    assert (answer.status_code, fault(answer)["param"]) == (400, "response_format")
    assert asked(bench) == []


# images of edits


def sent(bench: Bench) -> dict[str, Any]:
    found = content(bench)
    assert asked(bench)[0]["metadata"]["tasktype"] == "image-to-image"
    return found


@pytest.mark.parametrize("name", ["image", "image[]", "image[0]"])
async def test_a_form_brings_images_in_their_order(
    api: httpx.AsyncClient, bench: Bench, name: str
) -> None:
    files = [(name, PNG), (name, sample_png(64, 64))]
    form = {"prompt": "a", "n": "2", "steps": "3", "negative_prompt": "3", "strength": "0.5"}
    answer = await api.post(EDITS, data=form, files=files)
    assert answer.status_code == 200, answer.text
    images = [base64.b64decode(text) for text in sent(bench).pop("init_images")]
    assert images == [PNG, sample_png(64, 64)]
    assert {name: value for name, value in sent(bench).items() if name != "init_images"} == {
        "prompt": "a", "batch_size": 2, "steps": 3, "negative_prompt": "3",
        "denoising_strength": "0.5", "width": 128, "height": 72,
    }  # fmt: skip


@pytest.mark.parametrize(
    "fields",
    [
        {"image": ENCODED},
        {"image": [f"data:image/png;base64,{ENCODED}"]},
        {"images": [{"image_url": f"data:image/png;base64,{ENCODED}"}]},
    ],
)
async def test_json_brings_them_as_texts(
    api: httpx.AsyncClient, bench: Bench, fields: dict[str, Any]
) -> None:
    answer = await api.post(EDITS, json={"prompt": "a", **fields})
    assert answer.status_code == 200, answer.text
    (text,) = sent(bench)["init_images"]
    assert text.endswith(ENCODED)
    assert (sent(bench)["width"], sent(bench)["height"]) == (128, 72)


async def test_an_image_by_url_keeps_the_size_to_the_runtime(
    api: httpx.AsyncClient, bench: Bench
) -> None:
    url = "https://images.example/a.png"
    await api.post(EDITS, json={"prompt": "a", "images": [{"image_url": url}]})
    assert sent(bench) == {"prompt": "a", "init_images": [url]}


@pytest.mark.parametrize(("size", "expected"), [("64x64", (64, 64)), ("auto", (128, 72))])
async def test_a_size_that_is_asked_for_wins_over_the_images(
    api: httpx.AsyncClient, bench: Bench, size: str, expected: tuple[int, int]
) -> None:
    await api.post(EDITS, data={"prompt": "a", "size": size}, files={"image": PNG})
    assert (sent(bench)["width"], sent(bench)["height"]) == expected


async def test_images_that_no_runtime_makes_leave_the_size_to_it(
    api: httpx.AsyncClient, bench: Bench
) -> None:
    await api.post(EDITS, data={"prompt": "a"}, files={"image": sample_png(4000, 100)})
    assert "width" not in sent(bench)


def mask(mode: str) -> bytes:
    """The left half is painted anew: transparent, or white where there is no transparency."""
    white = Image.new("L", (8, 16), 255)
    image = Image.new("L", (16, 16))
    image.paste(white)
    if mode == "RGBA":
        image = Image.merge("LA", (Image.new("L", image.size), ImageOps.invert(image)))
    file = io.BytesIO()
    image.convert(mode).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("mode", ["RGBA", "L"])
@pytest.mark.parametrize("way", ["form", "text", "source"])
async def test_masks_become_white_where_images_are_painted_anew(
    api: httpx.AsyncClient, bench: Bench, mode: str, way: str
) -> None:
    text = f"data:image/png;base64,{base64.b64encode(mask(mode)).decode()}"
    if way == "form":
        files = {"image": PNG, "mask": mask(mode)}
        answer = await api.post(EDITS, data={"prompt": "a"}, files=files)
    else:
        given: Any = text if way == "text" else {"image_url": text}
        answer = await api.post(EDITS, json={"prompt": "a", "image": ENCODED, "mask": given})
    assert answer.status_code == 200, answer.text
    with Image.open(io.BytesIO(base64.b64decode(sent(bench)["mask"]))) as made:
        assert made.mode == "L"
        assert (made.getpixel((0, 0)), made.getpixel((15, 15))) == (255, 0)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"data": {"prompt": "a"}, "files": {"mask": PNG}}, "image"),
        ({"data": {"prompt": "a"}, "files": {"image": PNG, "markup": PNG}}, "markup"),
        ({"data": {"prompt": "a"}, "files": [("image", PNG), ("mask", PNG), ("mask", PNG)]},
         "mask"),
        ({"data": {"prompt": "a"}, "files": {"image": PNG, "mask": b"none"}}, "mask"),
        ({"data": {"prompt": "a", "image": "x"}, "files": {"mask": PNG}}, "image"),
        ({"data": {"prompt": ["a", "b"]}, "files": {"image": PNG}}, "prompt"),
        ({"data": {"n": "2"}, "files": {"image": PNG}}, "prompt"),
        ({"data": {"prompt": "a", "n": "x"}, "files": {"image": PNG}}, "n"),
        ({"json": {"prompt": "a"}}, "image"),
        ({"json": {"prompt": "a", "image": []}}, "image"),
        ({"json": {"prompt": "a", "image": 7}}, "image"),
        ({"json": {"prompt": "a", "image": [ENCODED] * 17}}, "image"),
        ({"json": {"prompt": "a", "image": ENCODED, "init_images": [ENCODED]}}, "init_images"),
        ({"data": {"prompt": "a", "svg[a]": "1"}, "files": {"image": PNG}}, "svg"),
        ({"data": {"prompt": "a", "n": "2", "batch_size": "3"}, "files": {"image": PNG}}, "n"),
        ({"json": {"prompt": "a", "images": [{"file_id": "f"}]}}, "images"),
        ({"json": {"prompt": "a", "image": ENCODED, "mask": "https://a.example/m"}}, "mask"),
        ({"json": {"prompt": "a", "image": ENCODED, "mask": "%"}}, "mask"),
        ({"json": {"prompt": "a", "image": ENCODED, "background": "transparent"}}, "background"),
        ({"json": [1]}, None),
        ({"content": b"{", "headers": {"Content-Type": "application/json"}}, None),
    ],
)  # fmt: skip
async def test_edits_that_cannot_be_are_refused_by_name(
    door: httpx.AsyncClient, bench: Bench, body: dict[str, Any], param: str | None
) -> None:
    answer = await door.post(EDITS, **body)
    assert answer.status_code == 400, answer.text
    assert fault(answer)["param"] == param
    assert asked(bench) == []


async def test_several_images_are_refused_for_runtimes_that_use_one(
    gateways: Gateways, bench: Bench
) -> None:
    async with client_of(
        await started(gateways, bench, adapter="comfyui", sync_timeout=0.1)
    ) as client:
        body = {"prompt": "a", "image": [ENCODED, ENCODED]}
        answer = await client.post(EDITS, json=body)
    assert (answer.status_code, fault(answer)["param"]) == (400, "image")
    assert asked(bench) == []


async def test_a_body_of_another_kind_is_refused(door: httpx.AsyncClient) -> None:
    answer = await door.post(EDITS, content=b"a=b", headers={"Content-Type": "text/plain"})
    assert answer.status_code == 415
    assert "multipart/form-data" in fault(answer)["message"]


async def test_eighteen_files_are_too_many(door: httpx.AsyncClient, bench: Bench) -> None:
    answer = await door.post(EDITS, data={"prompt": "a"}, files=[("image", PNG)] * 18)
    assert answer.status_code == 400
    assert fault(answer)["message"]
    assert asked(bench) == []


# streams


def events(answer: httpx.Response) -> list[tuple[str, dict[str, Any]]]:
    told = []
    for block in answer.text.split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.split("\n") if line and line[0] != ":")
        if lines:
            told.append((lines["event"], json.loads(lines["data"])))
    return told


@pytest.mark.parametrize("operation", ["image_generation", "image_edit"])
async def test_a_stream_tells_the_whole_images(
    api: httpx.AsyncClient, bench: Bench, operation: str
) -> None:
    async def two(prepared: Prepared, report: ProgressCallback) -> Output:
        made = await drawing(0)(prepared, report)
        return Output(made.artifacts * 2, warnings=("came out oddly",))

    bench.runtime.usually = two
    body = {"prompt": "a", "stream": True, "partial_images": 2, "n": 2}
    if operation == "image_generation":
        answer = await api.post(GENERATIONS, json=body)
    else:
        answer = await api.post(EDITS, json={**body, "image": ENCODED})
    assert answer.headers["content-type"].startswith("text/event-stream")
    told = events(answer)
    assert [name for name, _ in told] == [f"{operation}.completed"] * 2
    for number, (name, event) in enumerate(told):
        assert (event["type"], event["image_index"]) == (name, number)
        assert base64.b64decode(event["b64_json"]).startswith(b"\x89PNG")
        assert event["output_format"] == "png"
        assert event["usage"] is None
        assert [words.partition(":")[0] for words in event["warnings"]] == [
            "partial_images", "came out oddly",
        ]  # fmt: skip
    assert "partial_images" in json.loads(answer.headers["x-warnings"])[0]


async def test_a_stream_ends_with_what_went_wrong(api: httpx.AsyncClient, bench: Bench) -> None:
    bench.runtime.usually = failing(Rejected("no such thing", details={"status": 422}))
    answer = await api.post(GENERATIONS, json={"prompt": "a", "stream": True})
    assert answer.status_code == 200
    ((name, event),) = events(answer)
    assert name == "error"
    assert event["error"]["type"] == "invalid_request_error"
    assert "no such thing" in event["error"]["message"]
    assert event["job_id"] == answer.headers["x-job-id"]


async def test_a_stream_that_takes_too_long_says_so(gateways: Gateways, bench: Bench) -> None:
    app = await started(gateways, bench, sync_timeout=0.1)  # and no agent
    async with client_of(app) as client:
        answer = await client.post(GENERATIONS, json={"prompt": "a", "stream": True})
    ((_, event),) = events(answer)
    assert event["error"]["code"] == "timeout"


# models


async def test_models_are_runtimes_aliases_and_checkpoints(door: httpx.AsyncClient) -> None:
    listed = (await door.get("/v1/models")).json()
    assert listed["object"] == "list"
    assert [(model["id"], model["owned_by"]) for model in listed["data"]] == [
        (NAME, NAME), ("other", "other"), ("gpt-image-1", NAME), ("dall-e-3", NAME),
        ("dreamy", NAME), ("org/flux", NAME),
    ]  # fmt: skip
    for model in listed["data"]:
        assert (await door.get(f"/v1/models/{model['id']}")).json() == model
    assert (await door.get("/v1/models/abc")).json()["id"] == "abc", "a name that jobs may use"


async def test_a_model_that_is_not_there_is_not_found(door: httpx.AsyncClient) -> None:
    answer = await door.get("/v1/models/nope")
    assert answer.status_code == 404
    assert (fault(answer)["code"], fault(answer)["param"]) == ("model_not_found", "model")


async def test_a_checkpoint_leads_to_the_runtime_that_has_it(
    gateways: Gateways, bench: Bench
) -> None:
    app = await started(gateways, bench, runtimes=("other", NAME), sync_timeout=20)
    async with client_of(app) as client, bench.working():
        for model in ("dreamy", "dall-e-3", "gpt-image-1"):
            answer = await client.post(GENERATIONS, json={"prompt": "a", "model": model})
            assert answer.status_code == 200
    assert {job["metadata"]["runtime"] for job in asked(bench)} == {NAME}


@pytest.mark.parametrize(
    ("model", "runtime", "param"),
    [("gpt-image-1", "other", "model"), (NAME, "other", "model"), (None, "nope", None)],
)
async def test_two_runtimes_in_one_request_are_refused(
    door: httpx.AsyncClient, model: str | None, runtime: str, param: str | None
) -> None:
    body = {"prompt": "a", "model": model}
    answer = await door.post(GENERATIONS, json=body, headers={"X-Runtime": runtime})
    assert (answer.status_code, fault(answer)["param"]) == (400, param)


# refusals


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (Rejected("no checkpoint", type="unknown_model"), 404, "model_not_found"),
        (Rejected("no sampler", details={"status": 404}), 400, "runtime_rejected"),
        (Rejected("wrong", details={"status": 422}), 400, "runtime_rejected"),
        (Rejected("wrong"), 400, "runtime_rejected"),
        (Rejected("no", type="withheld"), 400, "content_policy_violation"),
    ],
)
async def test_what_the_runtime_refuses_is_told_as_openai_tells_it(
    api: httpx.AsyncClient, bench: Bench, error: Rejected, status: int, code: str
) -> None:
    bench.runtime.usually = failing(error)
    answer = await api.post(GENERATIONS, json={"prompt": "a"})
    assert (answer.status_code, fault(answer)["code"]) == (status, code)
    assert error.message in fault(answer)["message"]
    assert answer.json()["job_id"] == answer.headers["x-job-id"]


async def test_what_takes_too_long_is_not_asked_for_again(gateways: Gateways, bench: Bench) -> None:
    app = await started(gateways, bench, sync_timeout=0.1)  # and no agent
    async with client_of(app) as client:
        answer = await client.post(GENERATIONS, json={"prompt": "a"})
    assert answer.status_code == 504
    assert answer.headers["x-should-retry"] == "false"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/v1/images/variations", 404),
        ("POST", "/v1/images/nope", 404),
        ("GET", "/v1/images", 404),
        ("GET", GENERATIONS, 405),
        ("POST", "/v1/chat/completions", 404),
        ("DELETE", "/v1/models/dreamy", 405),
    ],
)
async def test_routes_that_are_not_there_answer_in_openais_shape(
    door: httpx.AsyncClient, method: str, path: str, status: int
) -> None:
    answer = await door.request(method, path)
    assert answer.status_code == status
    assert fault(answer)["type"] == "invalid_request_error"


async def test_our_own_routes_keep_their_shape(door: httpx.AsyncClient) -> None:
    for path in ("/v1/jobs/nope", "/v1/runtimes/nope", "/nope"):
        assert (await door.get(path)).headers["content-type"] == "application/problem+json"


async def test_nobody_asks_without_a_key(gateways: Gateways, bench: Bench) -> None:
    app = await started(gateways, bench, keys=True)
    async with client_of(app) as client:
        for key in ("", "Bearer qag_wrong"):
            for path in (GENERATIONS, EDITS, "/v1/images/variations", "/v1/images/nope"):
                answer = await client.post(path, headers={"Authorization": key} if key else {})
                assert (answer.status_code, fault(answer)["code"]) == (401, "invalid_api_key")
        headers = {"Authorization": f"Bearer {KEYS['one']}"}
        assert (await client.get("/v1/models", headers=headers)).status_code == 200
