"""Why a runtime is not ready: what adapters, the agent's log and its probe say of it."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from structlog.testing import capture_logs

from queue_agent.runtime import (
    Output,
    Prepared,
    ProgressCallback,
    Readiness,
    Runtime,
    RuntimeOptions,
)
from queue_agent.wire.errors import Unavailable
from queue_agent_runtimes.cog import CogRuntime
from queue_agent_runtimes.comfyui import ComfyUIRuntime
from queue_agent_runtimes.openai_images import DiffusersRuntime, OpenAIImagesRuntime
from queue_agent_runtimes.triton import TritonRuntime
from queue_agent_runtimes.webui import WebUIRuntime
from tls_servers import certified
from worker_bench import Bench, ScriptedRuntime, drawing

ADAPTERS = (
    ComfyUIRuntime,
    WebUIRuntime,
    OpenAIImagesRuntime,
    DiffusersRuntime,
    CogRuntime,
    TritonRuntime,
)
LOGIN = "https://user:pw@login.example.com/start?token=secret"
PAGE = "<!doctype html><title>Sign in</title>" + "<p>long</p>" * 1000


async def told_by(adapter: type[Runtime], url: str, **options: object) -> Readiness:
    runtime = adapter(RuntimeOptions(base_url=url, **options))  # type: ignore[arg-type]
    try:
        return Readiness.of(await runtime.ready())
    finally:
        await runtime.aclose()


@asynccontextmanager
async def answering(
    status: int, body: str, headers: Mapping[str, str], tls: ssl.SSLContext | None = None
) -> AsyncIterator[str]:
    """The address of a server that answers everything alike."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status, text=body, headers=headers)

    application = web.Application()
    application.add_routes([web.route("*", "/{path:.*}", answer)])
    server = TestServer(application, scheme="https" if tls else "http", host="localhost")
    await server.start_server(ssl=tls)
    try:
        yield f"{'https' if tls else 'http'}://localhost:{server.port}"
    finally:
        await server.close()


HTML = {"content-type": "text/html; charset=utf-8"}
TEXT = {"content-type": "text/plain"}


@pytest.mark.asyncio
@pytest.mark.parametrize("adapter", ADAPTERS)
@pytest.mark.parametrize(
    ("status", "body", "headers", "state", "words"),
    [
        (401, "who are you?", TEXT, "misconfigured", ["credentials", "401", "who are you?"]),
        (403, "go away", TEXT, "misconfigured", ["credentials", "403", "go away"]),
        (302, "", {"location": LOGIN}, "misconfigured", ["302", "login.example.com/start"]),
        (307, "", {"location": "/login?next=x"}, "misconfigured", ["307", "to /login"]),
        (200, PAGE, HTML, "misconfigured", ["web page"]),
        (418, "teapot", TEXT, "misconfigured", ["teapot"]),
        (502, PAGE, HTML, "away", ["502"]),
        (503, "loading", TEXT, "away", ["loading"]),
    ],
)
async def test_an_answer_that_is_no_yes_is_told_with_its_reason(
    adapter: type[Runtime],
    status: int,
    body: str,
    headers: dict[str, str],
    state: str,
    words: list[str],
) -> None:
    async with answering(status, body, headers) as url:
        told = await told_by(adapter, url)
    assert told.state == state, told
    assert all(word in told.reason for word in words), told.reason
    assert len(told.reason) <= 500
    assert "\n" not in told.reason
    assert not {"secret", "pw@", "next="} & {*told.reason.split("?")}
    assert "secret" not in told.reason
    assert "pw" not in told.reason


LOADING = '{"error": {"message": "The model is still loading.", "code": "not_ready"}}'
JSON = {"content-type": "application/json", "retry-after": "1"}


@pytest.mark.asyncio
@pytest.mark.parametrize("adapter", [OpenAIImagesRuntime, DiffusersRuntime])
async def test_a_runtime_that_says_that_it_still_loads_is_starting(adapter: type[Runtime]) -> None:
    async with answering(503, LOADING, JSON) as url:
        told = await told_by(adapter, url)
    assert told.state == "starting"
    assert "The model is still loading." in told.reason


@pytest.mark.asyncio
@pytest.mark.parametrize("adapter", [OpenAIImagesRuntime, DiffusersRuntime])
@pytest.mark.parametrize(
    ("status", "body"),
    [
        (500, LOADING),
        (502, LOADING),
        (503, LOADING.replace("not_ready", "overloaded")),
        (503, '{"error": "not_ready"}'),
        (503, '["not_ready"]'),
        (503, "not_ready"),
    ],
)
async def test_any_other_failure_is_away_and_does_not_start(
    adapter: type[Runtime], status: int, body: str
) -> None:
    async with answering(status, body, JSON) as url:
        assert (await told_by(adapter, url)).state == "away"


@pytest.mark.asyncio
@pytest.mark.parametrize("adapter", ADAPTERS)
async def test_a_runtime_that_cannot_be_reached_is_away_with_the_reason(
    adapter: type[Runtime],
) -> None:
    refused = await told_by(adapter, "http://127.0.0.1:1")
    assert refused.state == "away"
    assert "Connect call failed" in refused.reason
    unknown = await told_by(adapter, "http://runtime.invalid:8188")
    assert unknown.state == "away"
    assert "runtime.invalid is not found" in unknown.reason


@pytest.mark.asyncio
@pytest.mark.parametrize("adapter", ADAPTERS)
async def test_a_certificate_is_trusted_by_the_file_of_its_authority(
    adapter: type[Runtime], tmp_path: Path
) -> None:
    tls, authority = certified("localhost", tmp_path)
    ready = '{"status": "READY"}'
    async with answering(200, ready, {"content-type": "application/json"}, tls) as url:
        stranger = await told_by(adapter, url)
        assert stranger.state == "misconfigured"
        assert "certificate is not trusted" in stranger.reason
        assert await told_by(adapter, url, ca_file=authority)
        other = await told_by(adapter, url.replace("localhost", "127.0.0.1"), ca_file=authority)
        assert other.state == "misconfigured", "the name must be right, too"


UNAUTHORIZED = Unavailable("no", type="runtime_unauthorized")


class Closed(ScriptedRuntime):
    """Lets the agent not in until it is told to."""

    told = Readiness("misconfigured", "The runtime refuses the agent's credentials (401): no")

    async def ready(self) -> Readiness:
        return Readiness() if self.up else self.told

    async def run(self, prepared: Prepared, progress: ProgressCallback) -> Output:
        if not self.up:
            raise UNAUTHORIZED
        return await super().run(prepared, progress)


@pytest.mark.asyncio
@pytest.mark.looptime
async def test_the_log_and_the_probe_say_why_the_agent_waits_and_nothing_is_restarted() -> None:
    bench = Bench(runtime=Closed())
    bench.runtime.up = False
    await bench.publish("a")
    agent = bench.agent()
    with capture_logs() as logs:
        async with bench.working(agent):
            await bench.pass_time(600)
            readiness = await agent.readiness()
            assert readiness["runtime"] == f"misconfigured: {Closed.told.reason}"
            assert await agent.health.to_restart() == (False, Closed.told)
            bench.runtime.up = True
            assert (await bench.settled("a")).status == "completed"
    waiting = [entry for entry in logs if entry["event"] == "waiting for the runtime"]
    told = {(entry["state"], entry["reason"]) for entry in waiting}
    assert told == {(Closed.told.state, Closed.told.reason)}
    assert all("QUEUE_AGENT_RUNTIME_URL" in entry["remedy"] for entry in waiting)
    assert [round(entry["seconds"]) for entry in waiting] == [0, 300], "and no line a second"
    (ready,) = [entry for entry in logs if entry["event"] == "runtime ready"]
    assert ready["seconds"] >= 599


@pytest.mark.asyncio
@pytest.mark.looptime
async def test_a_job_that_is_refused_with_the_agent_waits_and_is_no_suspect() -> None:
    bench = Bench(runtime=Closed())

    async def closing(prepared: Prepared, report: ProgressCallback) -> Output:
        bench.runtime.up = False
        asyncio.get_running_loop().call_later(20, lambda: setattr(bench.runtime, "up", True))
        raise UNAUTHORIZED

    bench.runtime.script("a", closing, drawing())
    await bench.publish("a")
    with capture_logs() as logs:
        async with bench.working():
            answer = await bench.answer("a")
    assert (answer.status, answer.attempt) == ("completed", 1)
    assert not [entry for entry in logs if entry["event"] == "suspected"]
