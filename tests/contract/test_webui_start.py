"""A Web UI that starts is left alone: a request at the wrong moment ends its process."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from fakes import fake_runtime
from queue_agent.runtime import Readiness, RuntimeOptions
from queue_agent.testing import ServerProcess, eventually
from queue_agent.testing.runtime_contract.hooks import ignore
from queue_agent.wire.errors import RuntimeAway
from queue_agent.wire.job import Job
from queue_agent_runtimes.webui import WebUIRuntime, start

DRAWING = Job.model_validate(
    {
        "metadata": {"id": "1", "tasktype": "text-to-image"},
        "content": {"prompt": "a cat", "steps": 1, "width": 64, "height": 64},
    }
)


@asynccontextmanager
async def adapter(url: str) -> AsyncIterator[WebUIRuntime]:
    runtime = WebUIRuntime(RuntimeOptions(base_url=url))
    try:
        yield runtime
    finally:
        await runtime.aclose()


async def state_of(runtime: WebUIRuntime) -> str:
    return Readiness.of(await runtime.ready()).state


def starting_server(*, incomplete: float, deadly: float = 0.3) -> ServerProcess:
    flags = ("--incomplete-seconds", str(incomplete), "--deadly-seconds", str(deadly))
    return fake_runtime("webui", *flags)


async def test_the_fake_is_ended_by_a_request_while_it_adds_its_middleware() -> None:
    with starting_server(incomplete=0.0001, deadly=60) as server:
        with pytest.raises(httpx.HTTPError):
            await asyncio.to_thread(httpx.get, f"{server.url}/sdapi/v1/progress")
        await eventually(lambda: has_ended(server))


async def has_ended(server: ServerProcess) -> bool:
    return not server.lives


async def test_a_server_that_starts_is_not_asked_before_it_is_complete() -> None:
    """Asked all the time, by `/readyz` as by jobs, it lives."""
    server = starting_server(incomplete=1.0, deadly=1.0)
    async with adapter(server.url) as runtime:
        states = [await state_of(runtime)]
        with server:
            while states[-1] != "ready":
                states.append(await state_of(runtime))
                if states[-1] == "starting":
                    with contextlib.suppress(RuntimeAway):  # unless the pause has just ended
                        await runtime.run(await runtime.prepare(DRAWING, {}), ignore)
            assert server.lives
            assert (await runtime.run(await runtime.prepare(DRAWING, {}), ignore)).artifacts
    assert list(dict.fromkeys(states)) == ["away", "starting", "ready"]


async def test_one_that_still_has_no_api_is_left_alone_for_longer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(start, "SHORTEST_PAUSE_SECONDS", 0.5)
    server = starting_server(incomplete=1.0, deadly=0.4)
    async with adapter(server.url) as runtime:
        assert await state_of(runtime) == "away"
        with server:
            await eventually(lambda: is_ready(runtime))
            assert server.lives


async def is_ready(runtime: WebUIRuntime) -> bool:
    return await state_of(runtime) == "ready"


async def test_a_server_that_is_found_running_is_asked_at_once() -> None:
    with fake_runtime("webui") as server:
        async with adapter(server.url) as runtime:
            assert await state_of(runtime) == "ready"


async def test_a_server_without_an_api_is_not_thought_to_start_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(start, "SHORTEST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(start, "GIVEN_UP_SECONDS", 0.1)
    server = fake_runtime("webui", "--no-api")
    async with adapter(server.url) as runtime:
        assert await state_of(runtime) == "away"
        with server:
            with contextlib.suppress(TimeoutError):
                await eventually(lambda: is_misconfigured(runtime))
            assert await is_misconfigured(runtime)


async def is_misconfigured(runtime: WebUIRuntime) -> bool:
    return await state_of(runtime) == "misconfigured"
