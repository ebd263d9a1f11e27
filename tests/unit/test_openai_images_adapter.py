"""From jobs to requests of the OpenAI Images dialect, and from its answers to outputs."""

import asyncio
import base64
import io
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import pytest
from PIL import Image
from pydantic import JsonValue

from queue_agent.runtime import Asset, Output, Progress, Readiness, RuntimeOptions
from queue_agent.testing import sample_png
from queue_agent.wire.errors import QueueAgentError, Rejected, Unavailable
from queue_agent.wire.job import Job
from queue_agent_runtimes.openai_images import DiffusersRuntime, OpenAIImagesRuntime
from queue_agent_runtimes.openai_images.adapter import PreparedImages
from queue_agent_runtimes.openai_images.fields import BUNDLED, COMMON, Dialect, translate

JsonObject = dict[str, JsonValue]
PHOTO = sample_png()
PNG = base64.b64encode(PHOTO).decode()
ALWAYS: JsonObject = {"prompt": "a cat", "response_format": "b64_json"}


def job(task_type: str, **content: JsonValue) -> Job:
    metadata = {"id": "job-1", "tasktype": task_type}
    return Job.model_validate({"metadata": metadata, "content": {"prompt": "a cat", **content}})


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({}, {}),
        ({"negative_prompt": "dogs"}, {"negative_prompt": "dogs"}),
        ({"steps": 20, "cfg_scale": 7}, {"num_inference_steps": 20, "guidance_scale": 7.0}),
        ({"width": 640, "height": 768}, {"size": "640x768"}),
        ({"width": 640}, {"size": "640x512"}),
        ({"batch_size": 2, "n_iter": 3}, {"n": 6}),
        ({"seed": 7}, {"seed": 7}),
        ({"seed": -1}, {}),
        ({"model": "tiny"}, {"model": "tiny"}),
        ({"override_settings": {"sd_model_checkpoint": "tiny"}}, {"model": "tiny"}),
        ({"steps": None, "size": "64x64"}, {"size": "64x64"}),
        (
            {"num_inference_steps": 9, "guidance_scale": 1, "true_cfg_scale": 4.5, "n": 2},
            {"num_inference_steps": 9, "guidance_scale": 1, "true_cfg_scale": 4.5, "n": 2},
        ),
        ({"steps": 20, "num_inference_steps": 9}, {"num_inference_steps": 9}),
        ({"batch_size": 4, "n": "as it is"}, {"n": "as it is"}),
        (
            {"extra_params": {"a": [1]}, "lora": {"b": 2}},
            {"extra_params": {"a": [1]}, "lora": {"b": 2}},
        ),
        ({"response_format": "b64_json", "stream": False}, {}),
    ],
)
@pytest.mark.parametrize("dialect", [COMMON, BUNDLED])
def test_the_fields_of_a_job_become_those_of_the_request(
    content: JsonObject, expected: JsonObject, dialect: Dialect
) -> None:
    request, warnings = translate({"prompt": "a cat", **content}, "text-to-image", dialect)
    assert request == {**ALWAYS, **expected}
    assert warnings == []


@pytest.mark.parametrize(
    ("content", "expected", "warned_of"),
    [
        ({"sampler_name": "Euler a"}, "Euler a", []),
        ({"sampler_name": "euler_ancestral"}, "Euler a", []),
        ({"sampler_name": "DPM++ 2M"}, "DPM++ 2M Karras", []),
        ({"sampler_name": "DPM++ 2M", "scheduler": "Exponential"}, "DPM++ 2M Exponential", []),
        ({"scheduler": "Karras"}, "Euler Karras", []),
        ({"scheduler": "LCMScheduler"}, "LCM", []),
        ({"sampler_name": "ddpm"}, "DDPMScheduler", []),
        ({"sampler_name": "Restart"}, None, ["sampler_name"]),
        ({"sampler_name": "nonsense"}, None, ["sampler_name"]),
        ({"sampler_name": "Euler", "scheduler": "Align Your Steps"}, "Euler", ["scheduler"]),
        ({"sampler_name": "Euler", "scheduler": "nonsense"}, "Euler", ["scheduler"]),
    ],
)
def test_samplers_are_for_the_bundled_runtime_only(
    content: JsonObject, expected: str | None, warned_of: list[str]
) -> None:
    content = {"prompt": "a cat", **content}
    request, warnings = translate(content, "text-to-image", BUNDLED)
    assert request.get("scheduler") == expected
    assert [warning.partition(":")[0] for warning in warnings] == warned_of
    request, warnings = translate(content, "text-to-image", COMMON)
    assert request == ALWAYS
    assert warnings == [
        "sampler_name, scheduler: the server takes none from a request; its own are used."
    ]


@pytest.mark.parametrize(
    ("content", "warned_of"),
    [
        ({"enable_hr": True, "styles": ["noir"]}, ["enable_hr", "styles"]),
        (
            {"override_settings": {"CLIP_stop_at_last_layers": 2}},
            ["override_settings.CLIP_stop_at_last_layers"],
        ),
        ({"upscaler_1": "Lanczos"}, ["upscaler_1"]),
        ({"response_format": "url", "stream": True}, ["response_format", "stream"]),
        (
            {"init_images": [PNG], "mask": PNG, "denoising_strength": 0.5},
            ["init_images", "mask", "denoising_strength"],
        ),
    ],
)
def test_a_field_without_effect_is_named_in_a_warning(
    content: JsonObject, warned_of: list[str]
) -> None:
    request, warnings = translate({"prompt": "a cat", **content}, "text-to-image", BUNDLED)
    assert request == ALWAYS
    assert [warning.partition(":")[0] for warning in warnings] == warned_of


def test_a_strength_is_not_warned_of_where_no_second_pass_is_wanted() -> None:
    content: JsonObject = {"prompt": "a cat", "denoising_strength": 0.7}
    assert translate({**content, "enable_hr": False}, "text-to-image", BUNDLED)[1] == []
    assert len(translate({**content, "enable_hr": True}, "text-to-image", BUNDLED)[1]) == 2


def test_loras_are_for_the_bundled_runtime_only() -> None:
    content: JsonObject = {"prompt": "a cat", "loras": [{"name": "ink", "weight": 0.5}]}
    request, warnings = translate(content, "text-to-image", BUNDLED)
    loras: JsonValue = [{"name": "ink", "scale": 0.5}]
    assert request == {**ALWAYS, "loras": loras}
    assert warnings == []
    request, [warning] = translate(content, "text-to-image", COMMON)
    assert request == ALWAYS
    assert warning.startswith("loras: ")


def test_control_nets_and_ip_adapters_are_for_the_bundled_runtime_only() -> None:
    content: JsonObject = {"prompt": "a cat", "controls": [{"name": "edges", "image": PNG}]}
    assert translate(content, "text-to-image", BUNDLED) == (ALWAYS, [])
    _, [warning] = translate(content, "text-to-image", COMMON)
    assert warning.startswith("controls: ")


@pytest.mark.parametrize(
    ("entries", "kind", "words"),
    [
        ([{"name": "edges"}], "invalid_content", "controls.0.image"),
        ([{"name": 5, "image": PNG}], "invalid_content", "controls.0.name"),
        ("edges", "invalid_content", "controls"),
        ([{"name": "edges", "image": "no image"}], "invalid_content", "controls[0].image"),
        ([{"name": "http://inside/", "image": PNG}], "reference_forbidden", "controls[0].name"),
    ],
)
async def test_what_leads_a_job_in_another_form_is_refused(
    entries: JsonValue, kind: str, words: str
) -> None:
    one = job("text-to-image", controls=entries)
    runtime = DiffusersRuntime(RuntimeOptions())

    async def take() -> None:
        runtime.check_places(one)
        await runtime.prepare(one, {})

    with pytest.raises(Rejected) as refused:
        await take()
    assert refused.value.type == kind
    assert words in refused.value.message


@pytest.mark.parametrize(
    ("content", "expected", "warned_of"),
    [
        ({}, {"upscaler": "lanczos", "scale": 2.0}, ["upscaler_1"]),
        (
            {"upscaler_1": "large", "upscaling_resize": 3, "seed": 7, "steps": 9},
            {"upscaler": "large", "scale": 3.0, "seed": 7, "num_inference_steps": 9},
            [],
        ),
        (
            {"upscaler_1": "large", "gfpgan_visibility": 1, "upscaler_2": "None"},
            {"upscaler": "large", "scale": 2.0},
            ["gfpgan_visibility"],
        ),
    ],
)
async def test_a_job_for_a_larger_image_becomes_a_request_of_its_own(
    content: JsonObject, expected: JsonObject, warned_of: list[str]
) -> None:
    url = "https://example.com/small.png"
    one = job("extra-single-image", image=url, **content)
    runtime = DiffusersRuntime(RuntimeOptions())
    runtime.check_places(one)
    assert [reference.path for reference in runtime.references(one)] == [("image",)]
    photo = Asset(PHOTO, "image/png")
    prepared = await runtime.prepare(one, {url: photo})
    assert isinstance(prepared, PreparedImages)
    assert (prepared.path, prepared.images) == ("/v1/images/upscales", (photo,))
    assert prepared.request == {**ALWAYS, **expected}
    assert [warning.partition(":")[0] for warning in prepared.warnings] == warned_of
    with pytest.raises(Rejected, match="image: an image is required"):
        await runtime.prepare(job("extra-single-image"), {})


def test_an_operator_may_forbid_the_choice_of_a_model() -> None:
    content: JsonObject = {"prompt": "a cat", "model": "other"}
    request, [warning] = translate(content, "text-to-image", COMMON, switch_models=False)
    assert request == ALWAYS
    assert warning.startswith("model: ")


def test_content_out_of_range_is_rejected_by_name() -> None:
    with pytest.raises(Rejected, match="steps: ") as caught:
        translate({"prompt": "a cat", "steps": 0}, "text-to-image", COMMON)
    assert caught.value.type == "invalid_content"


def test_references_are_those_of_an_image_to_image_job_only() -> None:
    content: JsonObject = {
        "prompt": "https://example.com/prompt",
        "init_images": ["https://example.com/1.png", PNG, "s3://bucket/2.png"],
        "image": "https://example.com/3.png",
        "mask": "https://example.com/mask.png",
        "user": "https://example.com/user",
    }
    runtime = OpenAIImagesRuntime(RuntimeOptions())
    assert list(runtime.references(job("text-to-image", **content))) == []
    found = {ref.path: ref.url for ref in runtime.references(job("image-to-image", **content))}
    assert found == {
        ("init_images", 0): "https://example.com/1.png",
        ("init_images", 2): "s3://bucket/2.png",
        ("image",): "https://example.com/3.png",
        ("mask",): "https://example.com/mask.png",
    }


async def test_an_edit_carries_its_images_and_a_mask_that_both_conventions_read() -> None:
    mask = Image.new("L", (4, 2), 0)
    mask.paste(255, (0, 0, 2, 2))
    file = io.BytesIO()
    mask.save(file, "PNG")
    url = "https://example.com/photo.png"
    content: JsonObject = {
        "init_images": [url, f"data:image/png;base64,{PNG}"],
        "mask": base64.b64encode(file.getvalue()).decode(),
        "denoising_strength": 0.5,
    }
    photo = Asset(PHOTO, "image/png")
    edit = job("image-to-image", **content)
    runtime = OpenAIImagesRuntime(RuntimeOptions())
    prepared = await runtime.prepare(edit, {url: photo})
    assert isinstance(prepared, PreparedImages)
    assert prepared.request == {**ALWAYS, "strength": 0.5}
    assert prepared.images == (photo, photo)
    assert prepared.mask is not None
    painted = Image.open(prepared.mask.open())
    assert painted.getpixel((0, 0)) == (255, 255, 255, 0)
    assert painted.getpixel((3, 0)) == (0, 0, 0, 255)
    assert [warning.partition(":")[0] for warning in prepared.warnings] == [
        "mask",
        "denoising_strength",
    ]
    bundled = await DiffusersRuntime(RuntimeOptions()).prepare(edit, {url: photo})
    assert isinstance(bundled, PreparedImages)
    assert bundled.images == (photo, photo)
    assert bundled.warnings == ()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({}, "init_images"),
        ({"init_images": ["https://example.com/not-fetched.png"]}, "init_images.0"),
        ({"init_images": ["no base64!"]}, "init_images.0"),
        ({"image": [5]}, "image.0"),
        ({"init_images": [PNG], "mask": "AAAA"}, "mask"),
    ],
)
async def test_an_edit_without_usable_images_is_rejected(content: JsonObject, words: str) -> None:
    runtime = DiffusersRuntime(RuntimeOptions())
    with pytest.raises(Rejected, match=words) as caught:
        await runtime.prepare(job("image-to-image", **content), {})
    assert caught.value.type == "invalid_content"


@asynccontextmanager
async def dialect_server(
    answer: bytes, status: int = 200, paths: Mapping[str, int] | None = None
) -> AsyncIterator[str]:
    """A server on the loopback interface with one answer for all, or a status by path."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = [
            line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")
        ]
        if length:
            await reader.readexactly(int(length[0].partition(b":")[2]))
        path = head.split()[1].decode()
        code = (paths or {}).get(path, status)
        writer.write(b"HTTP/1.1 %d X\r\ncontent-length: %d\r\n" % (code, len(answer)))
        writer.write(b"connection: close\r\n\r\n" + answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def run(url: str, **content: JsonValue) -> Output:
    runtime = OpenAIImagesRuntime(RuntimeOptions(base_url=url))
    reports: list[Progress] = []
    try:
        prepared = await runtime.prepare(job("text-to-image", **content), {})
        output = await runtime.run(prepared, reports.append)
    finally:
        await runtime.aclose()
    assert reports[-1].fraction == 1.0
    return output


async def test_the_answers_images_become_artifacts_with_their_seeds() -> None:
    answer = {
        "created": 1,
        "data": [{"b64_json": PNG, "revised_prompt": "a fine cat"}, {"b64_json": PNG, "seed": 99}],
        "warnings": ["steps: too many"],
    }
    async with dialect_server(json.dumps(answer).encode()) as url:
        output = await run(url, seed=7, n=2, loras=[{"name": "ink"}])
    assert [artifact.data for artifact in output.artifacts] == [PHOTO, PHOTO]
    assert [artifact.media_type for artifact in output.artifacts] == ["image/png"] * 2
    assert [artifact.seed for artifact in output.artifacts] == [7, 99]
    assert output.response["data"] == [{"revised_prompt": "a fine cat"}, {"seed": 99}]
    assert PNG not in json.dumps(output.response)
    assert [warning.partition(":")[0] for warning in output.warnings] == ["loras", "steps"]


@pytest.mark.parametrize(
    ("status", "kind", "error_type"),
    [
        (400, Rejected, "runtime_rejected"),
        (404, Rejected, "runtime_rejected"),
        (413, Rejected, "runtime_rejected"),
        (415, Rejected, "runtime_rejected"),
        (422, Rejected, "runtime_rejected"),
        (401, Unavailable, "runtime_unauthorized"),
        (403, Unavailable, "runtime_unauthorized"),
        (408, Unavailable, "runtime_unavailable"),
        (409, Unavailable, "runtime_interrupted"),
        (429, Unavailable, "runtime_unavailable"),
        (500, Unavailable, "runtime_unavailable"),
        (503, Unavailable, "runtime_unavailable"),
    ],
)
@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": "too big a cat", "type": "x", "code": "y"}},
        {"detail": "too big a cat"},
        {"detail": [{"loc": ["body", "n"], "msg": "too big a cat", "type": "z"}]},
    ],
)
async def test_an_error_is_the_jobs_or_the_runtimes_fault_by_its_status(
    status: int, kind: type[QueueAgentError], error_type: str, body: JsonObject
) -> None:
    async with dialect_server(json.dumps(body).encode(), status) as url:
        with pytest.raises(kind, match="too big a cat") as caught:
            await run(url)
    assert caught.value.type == error_type


@pytest.mark.parametrize("code", ["model_not_found", "other", None])
async def test_a_model_that_the_server_does_not_have_is_told_as_such(code: str | None) -> None:
    body = {"error": {"message": "no such cat", "code": code}}
    async with dialect_server(json.dumps(body).encode(), 404) as url:
        with pytest.raises(Rejected, match="no such cat") as caught:
            await run(url)
    expected = "unknown_model" if code == "model_not_found" else "runtime_rejected"
    assert caught.value.type == expected
    assert caught.value.details is not None
    assert caught.value.details["status"] == 404


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b'{"data": []}',
        b'{"data": "x"}',
        b'{"data": [5]}',
        b'{"data": [{"url": 7}]}',
        b'{"data": [{"file_path": "/tmp/cat.png"}]}',
        b'{"data": [{"b64_json": "!"}]}',
        b'{"data": [{"b64_json": "AAAA"}]}',
    ],
)
async def test_an_answer_without_images_is_the_runtimes_fault(body: bytes) -> None:
    async with dialect_server(body) as url:
        with pytest.raises(Unavailable) as caught:
            await run(url)
    assert caught.value.type == "invalid_answer"


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        ({"/health": 200, "/v1/models": 500}, True),
        ({"/health": 503, "/v1/models": 200}, False),
        ({"/health": 404, "/v1/models": 200}, True),
        ({"/health": 404, "/v1/models": 404}, False),
    ],
)
async def test_readiness_is_asked_of_health_or_else_of_the_models(
    paths: Mapping[str, int], expected: bool
) -> None:
    async with dialect_server(b"", 500, paths) as url:
        runtime = OpenAIImagesRuntime(RuntimeOptions(base_url=url))
        assert bool(await runtime.ready()) is expected
        await runtime.aclose()


async def test_a_server_whose_device_is_beyond_repair_says_that_it_is_sick() -> None:
    body = json.dumps({"error": {"message": "CUDA error: unspecified launch failure"}}).encode()
    async with dialect_server(body, 500, {"/health": 503}) as url:
        runtime = OpenAIImagesRuntime(RuntimeOptions(base_url=url))
        told = await runtime.ready()
        await runtime.aclose()
    assert isinstance(told, Readiness)
    assert told.state == "sick"


async def test_nobody_listening_is_unavailable() -> None:
    async with dialect_server(b"") as url:
        pass
    with pytest.raises(Unavailable, match="cannot be reached"):
        await run(url)
