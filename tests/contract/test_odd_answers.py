"""Answers of success that are none: each adapter against a server that says just that."""

import base64
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from pydantic import JsonValue

from queue_agent.runtime import Output, Runtime, RuntimeOptions
from queue_agent.testing import sample_png
from queue_agent.wire.errors import Rejected, Unavailable
from queue_agent.wire.job import Job
from queue_agent_runtimes.openai_images import DiffusersRuntime, OpenAIImagesRuntime
from queue_agent_runtimes.webui import WebUIRuntime

pytestmark = pytest.mark.asyncio

PNG = sample_png(8, 8)
ENCODED = base64.b64encode(PNG).decode()
LARGE = base64.b64encode(PNG + bytes(3 * 2**20)).decode()

Images = Sequence[JsonValue]


@asynccontextmanager
async def saying(body: str) -> AsyncIterator[str]:
    """The address of a server that gives every question this answer."""

    async def answer(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(body=body.encode(), content_type="application/json")

    app = web.Application(client_max_size=2**30)
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def run(adapter: type[Runtime], body: str, count: int = 1, **content: JsonValue) -> Output:
    asked: dict[str, JsonValue] = {"prompt": "a cat", "batch_size": count, **content}
    metadata = {"id": "job-1", "tasktype": "text-to-image"}
    async with saying(body) as url:
        runtime = adapter(RuntimeOptions(base_url=url))
        try:
            prepared = await runtime.prepare(
                Job.model_validate({"metadata": metadata, "content": asked}), {}
            )
            return await runtime.run(prepared, lambda _: None)
        finally:
            await runtime.aclose()


def of_the_webui(images: Images, **fields: Any) -> str:
    seeds = list(range(len(images)))
    info = json.dumps({"all_seeds": seeds, "index_of_first_image": 0, **fields.pop("info", {})})
    return json.dumps({"images": images, "parameters": {}, "info": info, **fields})


def of_the_dialect(images: Images, **fields: Any) -> str:
    entries = [{"b64_json": image} for image in images]
    return json.dumps({"created": 1, "data": entries, **fields})


ANSWERS = {
    WebUIRuntime: of_the_webui,
    OpenAIImagesRuntime: of_the_dialect,
    DiffusersRuntime: of_the_dialect,
}
each = pytest.mark.parametrize("adapter", ANSWERS, ids=lambda adapter: adapter.name)


@each
@pytest.mark.parametrize(
    "images",
    [
        [ENCODED] * 3,
        [ENCODED, ENCODED, ENCODED, None],
        [ENCODED, "", ENCODED, ENCODED],
        [ENCODED, ENCODED, 7, ENCODED],
        [ENCODED, ENCODED[:-3], ENCODED, ENCODED],
        [ENCODED, ENCODED[:50] + "*" + ENCODED[51:], ENCODED, ENCODED],
        [ENCODED, "data:image/png;base64,", ENCODED, ENCODED],
        [ENCODED, LARGE, LARGE[:-3], ENCODED],
        [ENCODED, LARGE, LARGE],
        [],
    ],
)
async def test_fewer_images_than_were_asked_for_are_a_failed_attempt(
    adapter: type[Runtime], images: Images
) -> None:
    with pytest.raises(Unavailable) as caught:
        await run(adapter, ANSWERS[adapter](images), 4)
    assert caught.value.type == "invalid_answer"


@each
async def test_images_of_any_size_come_from_one_answer(adapter: type[Runtime]) -> None:
    output = await run(adapter, ANSWERS[adapter]([ENCODED, LARGE, f"data:x;base64,{LARGE}"]), 3)
    assert [artifact.data for artifact in output.artifacts] == [
        PNG,
        PNG + bytes(3 * 2**20),
        PNG + bytes(3 * 2**20),
    ]
    output.close()
    assert LARGE not in json.dumps(output.response)


@each
async def test_an_image_for_which_the_disk_has_no_room_is_a_failed_attempt(
    adapter: type[Runtime], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/nowhere")
    with pytest.raises(Unavailable, match="An output cannot be kept on disk: ") as caught:
        await run(adapter, ANSWERS[adapter]([LARGE]))
    assert caught.value.type == "disk_full"


@each
@pytest.mark.parametrize("flags", [[False, True], True])
async def test_an_image_that_the_runtime_says_it_withheld_is_a_warning(
    adapter: type[Runtime], flags: JsonValue
) -> None:
    body = ANSWERS[adapter]([ENCODED, None], nsfw_content_detected=flags)
    output = await run(adapter, body, 2)
    assert len(output.artifacts) == 1
    assert output.warnings[-1:] != ()


@each
@pytest.mark.parametrize("images", [[None], [None, None]])
async def test_a_job_all_of_whose_images_are_withheld_fails_as_withheld(
    adapter: type[Runtime], images: list[JsonValue]
) -> None:
    body = ANSWERS[adapter](images, nsfw_content_detected=True)
    with pytest.raises(Rejected) as caught:
        await run(adapter, body, len(images))
    assert caught.value.type == "withheld"


@each
async def test_an_image_that_was_blackened_is_an_image(adapter: type[Runtime]) -> None:
    body = ANSWERS[adapter]([ENCODED, ENCODED], nsfw_content_detected=[False, True])
    assert len((await run(adapter, body, 2)).artifacts) == 2


@each
async def test_numbers_that_json_does_not_have_are_null(adapter: type[Runtime]) -> None:
    numbers = {"loss": float("nan"), "scores": [float("inf"), {"a": -float("inf")}]}
    output = await run(adapter, ANSWERS[adapter]([ENCODED], **numbers))
    assert output.response["loss"] is None
    assert output.response["scores"] == [None, {"a": None}]


async def test_numbers_that_json_does_not_have_are_null_in_the_web_uis_info() -> None:
    info = {"cfg_scale": float("nan"), "all_seeds": [7], "sigmas": [float("inf"), 1.5]}
    output = await run(WebUIRuntime, of_the_webui([ENCODED], info=info))
    told = output.response["info"]
    assert isinstance(told, dict)
    assert (told["cfg_scale"], told["sigmas"]) == (None, [None, 1.5])
    assert output.artifacts[0].seed == 7


async def test_a_script_of_the_web_ui_makes_as_many_images_as_it_likes() -> None:
    info = {"all_seeds": [1, 2, 3, 4]}
    output = await run(WebUIRuntime, of_the_webui([ENCODED], info=info), script_name="loopback")
    assert len(output.artifacts) == 1
    assert output.warnings == ("The runtime made 1 of 4 images.",)
