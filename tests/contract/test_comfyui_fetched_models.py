"""Models that come into the folder of a fake ComfyUI while it runs."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
from pydantic import JsonValue

from fakes import fake_runtime
from model_site import model_bytes
from queue_agent.runtime import ModelFile, Runtime, RuntimeOptions
from queue_agent.testing import FaultProxy, ServerProcess
from queue_agent.testing.fault_proxy import Request, Status, on_path
from queue_agent.testing.runtime_contract.hooks import ignore
from queue_agent.wire.errors import Rejected, Unavailable
from queue_agent.wire.job import Job
from queue_agent_runtimes.comfyui import ComfyUIRuntime

NAME = "new.safetensors"
MODEL = ModelFile(NAME, "checkpoints")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "models"


@pytest.fixture
def server(folder: Path) -> Iterator[ServerProcess]:
    with fake_runtime("comfyui", "--models", str(folder)) as server:
        yield server


@pytest.fixture
async def runtime(server: ServerProcess) -> AsyncIterator[Runtime]:
    runtime = ComfyUIRuntime(RuntimeOptions(base_url=server.url))
    yield runtime
    await runtime.aclose()


def put(folder: Path, kind: str = "checkpoints", name: str = NAME) -> None:
    path = folder / kind / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model_bytes())


def portable(**content: JsonValue) -> Job:
    return Job.model_validate(
        {
            "metadata": {"id": "a", "tasktype": "text-to-image"},
            "content": {"prompt": "a cat", "steps": 2, "width": 64, "height": 64, **content},
        }
    )


async def test_the_server_is_asked_which_models_it_has(runtime: Runtime, folder: Path) -> None:
    assert not await runtime.has_model(MODEL)
    put(folder)
    put(folder, "loras", f"a/b/{NAME}")
    assert await runtime.has_model(MODEL)
    assert await runtime.has_model(ModelFile(f"a/b/{NAME}", "loras"))
    assert await runtime.has_model(ModelFile("details.safetensors", "loras"))
    assert not await runtime.has_model(ModelFile(NAME, "a_kind_of_custom_nodes"))


async def test_a_job_finds_a_model_that_came_after_it_was_missing(
    runtime: Runtime, folder: Path
) -> None:
    job = portable(model="new")
    with pytest.raises(Rejected):
        await runtime.run(await runtime.prepare(job, {}), ignore)
    put(folder)
    await runtime.models_came([MODEL])
    prepared = await runtime.prepare(job, {})
    (await runtime.run(prepared, ignore)).close()
    assert NAME in str(prepared.request)


async def test_a_model_is_waited_for_until_the_server_lists_it(
    server: ServerProcess, folder: Path
) -> None:
    looks, looked_twice = 0, asyncio.Event()

    def look(request: Request) -> bool:
        nonlocal looks
        looks += request.path == "/models/checkpoints"
        if looks == 2:
            looked_twice.set()
        return False  # nothing is done to it

    async with FaultProxy(server.url) as proxy:
        runtime = ComfyUIRuntime(RuntimeOptions(base_url=proxy.url))
        with proxy.fault(Status(500), look):
            coming = asyncio.create_task(runtime.models_came([MODEL]))
            await looked_twice.wait()
            assert not coming.done()
            put(folder)
            await coming
        await runtime.aclose()


async def test_kinds_that_the_server_does_not_list_are_not_waited_for(runtime: Runtime) -> None:
    await runtime.models_came([ModelFile("a.gguf", "diffusion_models"), ModelFile(NAME, "odd")])


async def test_of_files_that_were_replaced_the_server_forgets_what_it_loaded(
    runtime: Runtime, server: ServerProcess
) -> None:
    await runtime.models_replaced([MODEL])
    state = (await asyncio.to_thread(httpx.get, f"{server.url}/fake/state")).json()
    assert state["frees"] == 1


async def test_a_server_that_fails_when_it_is_asked_is_unavailable(server: ServerProcess) -> None:
    async with FaultProxy(server.url) as proxy:
        runtime = ComfyUIRuntime(RuntimeOptions(base_url=proxy.url))
        with (
            proxy.fault(Status(500), on_path("/models/checkpoints")),
            pytest.raises(Unavailable),
        ):
            await runtime.has_model(MODEL)
        await runtime.aclose()
