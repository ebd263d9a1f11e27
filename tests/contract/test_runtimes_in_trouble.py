"""What adapters say of servers that answer and do not work, or that fail whatever they are asked.

The fakes' dead worker, and the words of their broken context, are those recorded of ComfyUI 0.33.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import httpx
import pytest
from pydantic import JsonValue

from fakes import fake_runtime
from harness import PATIENCE
from queue_agent.runtime import Prepared, Runtime, RuntimeOptions
from queue_agent.testing import ServerProcess, eventually
from queue_agent.testing.runtime_contract.hooks import ignore, task_of
from queue_agent.wire.errors import RuntimeSick, RuntimeStuck
from queue_agent.wire.job import Job
from queue_agent_runtimes.comfyui import ComfyUIRuntime, watch
from queue_agent_runtimes.comfyui.api import client_id_of
from queue_agent_runtimes.comfyui.execution import ComfyUIPrepared
from queue_agent_runtimes.webui import WebUIRuntime

LONG = 1000


def drawing(steps: int = 3) -> Job:
    content: dict[str, JsonValue] = {"prompt": "a cat", "steps": steps, "width": 64, "height": 64}
    return Job.model_validate(
        {"metadata": {"id": "job-1", "tasktype": "text-to-image"}, "content": content}
    )


@pytest.fixture
def comfyui() -> Iterator[ServerProcess]:
    with fake_runtime("comfyui", "--step-seconds", "0.02", "--cache-none") as server:
        yield server


@pytest.fixture
def webui() -> Iterator[ServerProcess]:
    with fake_runtime("webui") as server:
        yield server


@asynccontextmanager
async def opened(adapter: type[Runtime], server: ServerProcess) -> AsyncIterator[Runtime]:
    runtime = adapter(RuntimeOptions(base_url=server.url))
    try:
        yield runtime
    finally:
        await runtime.aclose()


async def order(server: ServerProcess, path: str, **body: JsonValue) -> None:
    async with httpx.AsyncClient(base_url=server.url, timeout=PATIENCE) as client:
        (await client.post(path, json=body)).raise_for_status()


async def comfyui_queue(server: ServerProcess) -> tuple[int, int]:
    """How many prompts run, and how many wait."""
    async with httpx.AsyncClient(base_url=server.url, timeout=PATIENCE) as client:
        queue = (await client.get("/queue")).json()
    return len(queue["queue_running"]), len(queue["queue_pending"])


async def cancelled(runtime: Runtime, job: Job, server: ServerProcess, path: str) -> Prepared:
    """A job whose run was cancelled while the server worked on it, or seemed to."""
    prepared = await runtime.prepare(job, {})
    task = asyncio.create_task(runtime.run(prepared, ignore))
    await eventually(lambda: works(server, path))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled()
    return prepared


async def works(server: ServerProcess, path: str) -> bool:
    async with httpx.AsyncClient(base_url=server.url, timeout=PATIENCE) as client:
        state = (await client.get(path)).json()
    return bool(state.get("queue_running") or state.get("working"))


@pytest.mark.parametrize("worker", ["dead", "deaf"])
async def test_a_prompt_that_stays_after_its_interrupt_still_runs(
    comfyui: ServerProcess, worker: str
) -> None:
    await order(comfyui, "/fake/faults", worker=worker)
    async with opened(ComfyUIRuntime, comfyui) as runtime:
        prepared = await cancelled(runtime, drawing(LONG), comfyui, "/queue")
        assert await runtime.still_runs(prepared) is True
        if worker == "deaf":  # which hears the next one
            await order(comfyui, "/fake/faults")
            await eventually(lambda: is_over(runtime, prepared))
        assert await runtime.ready()


async def test_a_job_that_comes_again_waits_for_its_prompt_that_was_given_up(
    comfyui: ServerProcess,
) -> None:
    await order(comfyui, "/fake/faults", worker="deaf")
    async with opened(ComfyUIRuntime, comfyui) as runtime:
        given_up = await cancelled(runtime, drawing(LONG), comfyui, "/queue")
        again = await runtime.prepare(drawing(LONG), {})
        async with task_of(runtime, again):
            await eventually(lambda: still_runs(runtime, given_up))
            await order(comfyui, "/fake/faults")
            await eventually(lambda: is_over(runtime, given_up))
            await eventually(lambda: works(comfyui, "/queue"))
            assert not await runtime.still_runs(given_up), "this one is another"
            assert await comfyui_queue(comfyui) == (1, 0), "and is not stopped in its place"


async def still_runs(runtime: Runtime, prepared: Prepared) -> bool:
    return await runtime.still_runs(prepared) is True


async def is_over(runtime: Runtime, prepared: Prepared) -> bool:
    return await runtime.still_runs(prepared) is False


async def test_a_prompt_that_waits_while_nothing_runs_shows_a_dead_worker(
    comfyui: ServerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "SILENCE", 0.05)
    monkeypatch.setattr(watch, "STRANDED", 0.2)
    await order(comfyui, "/fake/faults", worker="idle")
    async with opened(ComfyUIRuntime, comfyui) as runtime:
        prepared = await runtime.prepare(drawing(), {})
        with pytest.raises(RuntimeStuck):
            await runtime.run(prepared, ignore)
        told = await runtime.ready()
        assert not isinstance(told, bool)
        assert told.state == "stuck"
        assert await comfyui_queue(comfyui) == (0, 1), "by which it is seen when it works again"
        await order(comfyui, "/queue", delete=[prepared.prompt_id])  # type: ignore[attr-defined]
        assert await runtime.ready()


async def test_a_prompt_that_waits_behind_anothers_is_not_stranded(
    comfyui: ServerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "SILENCE", 0.01)
    monkeypatch.setattr(watch, "STRANDED", 0.0)
    async with opened(ComfyUIRuntime, comfyui) as first, opened(ComfyUIRuntime, comfyui) as second:
        long = await first.prepare(drawing(40), {})
        running = asyncio.create_task(first.run(long, ignore))
        await eventually(lambda: works(comfyui, "/queue"))
        short = Job.model_validate(
            {**drawing().model_dump(), "metadata": {"id": "job-2", "tasktype": "text-to-image"}}
        )
        prepared = await second.prepare(short, {})
        assert (await second.run(prepared, ignore)).artifacts
        assert (await running).artifacts


async def left_running(runtime: Runtime, server: ServerProcess, steps: int) -> ComfyUIPrepared:
    """A job whose prompt an earlier process has submitted, and that is under way."""
    prepared = await runtime.prepare(drawing(steps), {})
    assert isinstance(prepared, ComfyUIPrepared)
    ours: dict[str, JsonValue] = {
        "prompt_id": prepared.prompt_id,
        "client_id": client_id_of(prepared.prompt_id),
    }
    await order(server, "/prompt", **{**prepared.request, **ours})
    await eventually(lambda: works(server, "/queue"))
    return prepared


async def outcomes(server: ServerProcess) -> list[str]:
    async with httpx.AsyncClient(base_url=server.url, timeout=PATIENCE) as client:
        return [run["outcome"] for run in (await client.get("/fake/state")).json()["runs"]]


async def test_a_worker_that_died_before_the_agent_came_is_found_by_its_silence(
    comfyui: ServerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SILENCE", "SILENT", "SILENT_STILL"):
        monkeypatch.setattr(watch, name, 0.1)
    await order(comfyui, "/fake/faults", worker="dead")
    async with opened(ComfyUIRuntime, comfyui) as runtime:
        prepared = await left_running(runtime, comfyui, LONG)
        with pytest.raises(RuntimeStuck, match="told to stop"):
            await runtime.run(prepared, ignore)
        for _ in range(2):
            told = await runtime.ready()
            assert not isinstance(told, bool)
            assert told.state == "stuck"
        await asyncio.to_thread(comfyui.kill)
        assert not await runtime.ready()
        await asyncio.to_thread(comfyui.start)
        assert await runtime.ready()


async def test_a_silent_prompt_that_heeds_its_interrupt_is_executed_again(
    comfyui: ServerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "SILENCE", 0.05)
    monkeypatch.setattr(watch, "SILENT", 0.1)
    await order(comfyui, "/fake/faults", paused=True)
    async with opened(ComfyUIRuntime, comfyui) as runtime:
        prepared = await left_running(runtime, comfyui, 3)
        async with task_of(runtime, prepared) as task:
            await eventually(lambda: were(comfyui, ["interrupted", "running"]))
            await order(comfyui, "/fake/faults")
            assert (await task).artifacts
    assert await outcomes(comfyui) == ["interrupted", "success"]


@pytest.mark.parametrize("socket", ["normal", "refuse"])
async def test_a_prompt_of_before_that_is_heard_of_or_cannot_be_heard_is_left_alone(
    comfyui: ServerProcess, monkeypatch: pytest.MonkeyPatch, socket: str
) -> None:
    monkeypatch.setattr(watch, "SILENCE", 0.05)
    monkeypatch.setattr(watch, "SILENT", 5.0 if socket == "normal" else 0.0)
    await order(comfyui, "/fake/faults", socket=socket)
    async with opened(ComfyUIRuntime, comfyui) as runtime:
        prepared = await left_running(runtime, comfyui, 40)
        assert (await runtime.run(prepared, ignore)).artifacts
    assert await outcomes(comfyui) == ["success"]


async def were(server: ServerProcess, expected: list[str]) -> bool:
    return await outcomes(server) == expected


async def test_a_web_ui_that_goes_on_after_an_interrupt_still_runs(webui: ServerProcess) -> None:
    await order(webui, "/fake/faults", kind="hang")
    async with opened(WebUIRuntime, webui) as runtime:
        prepared = await cancelled(runtime, drawing(), webui, "/fake/state")
        assert await runtime.still_runs(prepared) is True
        await asyncio.to_thread(webui.kill)
        await eventually(lambda: is_over(runtime, prepared))
        assert not await runtime.ready()


async def test_a_broken_context_makes_a_runtime_sick_whatever_it_is_asked(
    comfyui: ServerProcess, webui: ServerProcess
) -> None:
    await order(comfyui, "/fake/faults", fail_always="cuda")
    await order(webui, "/fake/faults", kind="cuda")
    for adapter, server in ((ComfyUIRuntime, comfyui), (WebUIRuntime, webui)):
        async with opened(adapter, server) as runtime:
            for _ in range(2):
                with pytest.raises(RuntimeSick, match="device-side assert triggered"):
                    await runtime.run(await runtime.prepare(drawing(), {}), ignore)
