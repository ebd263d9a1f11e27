"""Images that a server of the dialect names instead of sending them."""

import asyncio
import base64
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from aiohttp import web
from pydantic import JsonValue

from queue_agent.runtime import Output, RuntimeOptions
from queue_agent.testing import sample_png
from queue_agent.wire.errors import Rejected, Unavailable
from queue_agent.wire.job import Job
from queue_agent_runtimes.openai_videos import OpenAIRuntime

Json = dict[str, JsonValue]
PHOTO = sample_png()
LARGE = PHOTO + bytes(3 * 2**20)


@asynccontextmanager
async def server(entry: Json, owner: str = "sglang") -> AsyncIterator[tuple[str, list[Json]]]:
    """Its address, and the requests that it was sent."""
    requests: list[Json] = []

    async def generate(request: web.Request) -> web.Response:
        requests.append(await request.json())
        return web.json_response({"created": 1, "data": [entry]})

    async def content(request: web.Request) -> web.Response:
        assert request.headers["authorization"] == "Bearer key"
        return web.Response(body=LARGE, content_type="image/png")

    async def models(_: web.Request) -> web.Response:
        return web.json_response({"data": [{"id": "flux", "owned_by": owner}]})

    app = web.Application()
    app.router.add_post("/v1/images/generations", generate)
    app.router.add_get("/v1/images/a/content", content)
    app.router.add_get("/v1/models", models)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}", requests
    finally:
        await runner.cleanup()


async def run(url: str, files: Path | None = None, **content: JsonValue) -> Output:
    runtime = OpenAIRuntime(RuntimeOptions(base_url=url, files=files, api_key="key"))
    metadata = {"id": "job-1", "tasktype": "text-to-image"}
    asked = Job.model_validate({"metadata": metadata, "content": {"prompt": "a cat", **content}})
    try:
        return await runtime.run(await runtime.prepare(asked, {}), lambda _: None)
    finally:
        await runtime.aclose()


async def test_base64_is_asked_for_and_taken_before_all_else() -> None:
    entry: Json = {"b64_json": base64.b64encode(PHOTO).decode(), "url": "http://10.0.0.1/a.png"}
    async with server(entry) as (url, requests):
        output = await run(url)
    assert [artifact.data for artifact in output.artifacts] == [PHOTO]
    assert requests[0]["response_format"] == "b64_json"


async def test_an_image_at_the_server_itself_is_fetched_with_its_credentials() -> None:
    async with server({"url": "/v1/images/a/content"}) as (url, _):
        output = await run(url)
    (artifact,) = output.artifacts
    assert (artifact.data, artifact.is_a_file) == (LARGE, True)
    assert output.response["data"] == [{"url": "/v1/images/a/content"}]
    output.close()


@pytest.mark.parametrize("address", ["http://10.0.0.1/a.png", "http://169.254.169.254/latest"])
async def test_an_image_elsewhere_comes_under_the_inputs_guard(address: str) -> None:
    async with server({"url": address}) as (url, _):
        with pytest.raises(Unavailable) as caught:
            await run(url)
    assert caught.value.type == "output_forbidden"


async def test_an_image_on_a_shared_volume_is_read_from_there(tmp_path: Path) -> None:
    (tmp_path / "outputs").mkdir()
    (tmp_path / "outputs" / "a.png").write_bytes(LARGE)
    entry: Json = {"file_path": "/sgl/outputs/a.png", "url": "http://10.0.0.1/a.png"}
    async with server(entry) as (url, _):
        output = await run(url, tmp_path)
    assert [artifact.data for artifact in output.artifacts] == [LARGE]
    output.close()


async def test_nothing_outside_of_the_shared_volume_is_read(tmp_path: Path) -> None:
    shared, secret = tmp_path / "shared", tmp_path / "secret.png"
    shared.mkdir()
    secret.write_bytes(PHOTO)
    (shared / "link.png").symlink_to(secret)
    (shared / "folder.png").mkdir()
    for path in ("../secret.png", f"{shared}/../secret.png", str(secret), "link.png", "folder.png"):
        async with server({"file_path": path}) as (url, _):
            with pytest.raises(Unavailable) as caught:
                await run(url, shared)
        assert caught.value.type == "invalid_answer"


async def test_a_pipe_on_the_shared_volume_is_waited_for_by_nobody(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    async with server({"file_path": "a.png"}) as (url, _):
        async with asyncio.timeout(90):
            with pytest.raises(Unavailable):
                await run(url, tmp_path)


@pytest.mark.parametrize(
    ("owner", "sent"), [("vllm", {"name": "ink", "path": "ink", "scale": 0.5}), ("sglang", None)]
)
async def test_a_lora_is_sent_to_servers_that_take_one(owner: str, sent: Json | None) -> None:
    entry: Json = {"b64_json": base64.b64encode(PHOTO).decode()}
    loras: JsonValue = [{"name": "ink", "weight": 0.5}, {"name": "other"}]
    async with server(entry, owner) as (url, requests):
        output = await run(url, loras=loras)
        assert requests[0].get("lora") == sent
        assert [words.partition(":")[0] for words in output.warnings] == ["loras"]
        with suppress(Rejected):
            await run(url, loras=[{"name": "/etc/lora"}])
    assert json.dumps(requests).count("/etc") == 0
