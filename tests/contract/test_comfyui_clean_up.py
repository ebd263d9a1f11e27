"""What jobs leave in ComfyUI's folders and history, against the fake with real folders."""

import base64
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
from pydantic import JsonValue

from fakes import fake_runtime
from harness import PATIENCE
from queue_agent.runtime import Asset, Output, Prepared, Runtime, RuntimeOptions
from queue_agent.testing import FaultProxy, ServerProcess, eventually, sample_png
from queue_agent.testing.fault_proxy import Status, on_path
from queue_agent.testing.runtime_contract.hooks import ignore
from queue_agent.wire.errors import Rejected, SettingsError, Unavailable
from queue_agent.wire.job import Job
from queue_agent_runtimes.comfyui import ComfyUIRuntime

URL = "https://images.example.com/cat.png"
PNG = base64.b64encode(sample_png()).decode()
Json = dict[str, JsonValue]


def node(class_type: str, **inputs: JsonValue) -> Json:
    return {"class_type": class_type, "inputs": inputs}


def pipeline(workflow: Json, job_id: str = "job-1", **metadata: JsonValue) -> Job:
    return Job.model_validate(
        {"metadata": {"id": job_id, "tasktype": "pipeline", **metadata}, "content": workflow}
    )


def saving(**more: Json) -> Json:
    """An image, saved."""
    return {
        "1": node("EmptyImage", width=64, height=64, batch_size=1, color=255),
        "2": node("SaveImage", images=["1", 0], filename_prefix="x"),
        **more,
    }


def sampling() -> Json:
    """An image that is sampled and previewed."""
    return {
        "1": node("CheckpointLoaderSimple", ckpt_name="sd_xl_turbo_1.0.safetensors"),
        "2": node("CLIPTextEncode", text="a cat", clip=["1", 1]),
        "4": node("EmptyLatentImage", width=64, height=64, batch_size=1),
        "5": node(
            "KSampler",
            model=["1", 0],
            positive=["2", 0],
            negative=["2", 0],
            latent_image=["4", 0],
            seed=7,
            steps=4,
            cfg=7.0,
            denoise=1.0,
            sampler_name="euler",
            scheduler="normal",
        ),
        "6": node("VAEDecode", samples=["5", 0], vae=["1", 2]),
        "7": node("SaveImage", images=["6", 0], filename_prefix="ComfyUI"),
        "9": node("PreviewImage", images=["6", 0]),
    }


PREVIEW = {"3": node("PreviewImage", images=["1", 0])}


def empty(folder: Path) -> None:
    for name in files_in(folder):
        (folder / name).unlink()


@pytest.fixture(scope="module")
def module_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("comfyui")


@pytest.fixture(scope="module")
def shared_server(module_folder: Path) -> Iterator[ServerProcess]:
    with fake_runtime("comfyui", "--folder", str(module_folder)) as server:
        yield server


@pytest.fixture
async def server(shared_server: ServerProcess, module_folder: Path) -> AsyncIterator[ServerProcess]:
    yield shared_server
    await tell(shared_server, "/fake/reset", {})
    empty(module_folder)


@pytest.fixture
def folder(server: ServerProcess, module_folder: Path) -> Path:
    """The server's own, which the agent shares."""
    return module_folder


@pytest.fixture
async def runtime(server: ServerProcess, folder: Path) -> AsyncIterator[Runtime]:
    runtime = ComfyUIRuntime(RuntimeOptions(base_url=server.url, files=folder))
    yield runtime
    await runtime.aclose()


def files_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


async def prepared(runtime: Runtime, job: Job) -> Prepared:
    assets = {found.url: Asset(sample_png(), "image/png") for found in runtime.references(job)}
    return await runtime.prepare(job, assets)


async def run(runtime: Runtime, job: Job) -> Output:
    return await runtime.run(await prepared(runtime, job), ignore)


async def ask(server: ServerProcess, path: str) -> Json:
    async with httpx.AsyncClient(base_url=server.url, timeout=PATIENCE) as client:
        answer: Json = (await client.get(path)).json()
    return answer


async def tell(server: ServerProcess, path: str, value: JsonValue) -> None:
    async with httpx.AsyncClient(base_url=server.url, timeout=PATIENCE) as client:
        (await client.post(path, json=value)).raise_for_status()


async def runs(server: ServerProcess) -> list[Json]:
    """What the server has executed, oldest first."""
    executed = (await ask(server, "/fake/state"))["runs"]
    assert isinstance(executed, list)
    return [run for run in executed if isinstance(run, dict)]


async def history(server: ServerProcess) -> list[str]:
    return list(await ask(server, "/history"))


def with_everything(job_id: str = "job-1", **metadata: JsonValue) -> Job:
    """A workflow with an upload, two outputs, one of them deep, and a preview."""
    return pipeline(
        {
            "1": node("LoadImage", image=URL),
            "2": node("SaveImage", images=["1", 0], filename_prefix="x"),
            "4": node("SaveImage", images=["1", 0], filename_prefix="sub/deep/y"),
            **PREVIEW,
        },
        job_id,
        **metadata,
    )


async def test_nothing_of_a_job_that_was_handed_over_stays(
    runtime: Runtime, server: ServerProcess, folder: Path
) -> None:
    job = with_everything()
    output = await run(runtime, job)
    assert len(files_in(folder)) == 4
    await runtime.clean_up(job, again=False)
    assert files_in(folder) == []
    assert await history(server) == []
    assert [len(artifact.data) > 0 for artifact in output.artifacts] == [True, True]


async def test_files_of_others_and_of_other_jobs_stay(
    runtime: Runtime, folder: Path, server: ServerProcess
) -> None:
    first, second = with_everything("first"), with_everything("second")
    await run(runtime, first)
    own = files_in(folder)
    await run(runtime, second)
    others = {"output/cat.png", "output/sub/deep/cat.png", "temp/a.png", "input/cat.png"}
    for name in others:
        (folder / name).write_bytes(b"somebody's")
    await runtime.clean_up(second, again=False)
    assert set(files_in(folder)) == {*own, *others}
    await runtime.clean_up(first, again=False)
    assert set(files_in(folder)) == others


async def test_a_job_that_was_refused_while_it_was_prepared_leaves_no_upload(
    runtime: Runtime, folder: Path
) -> None:
    job = pipeline(
        {
            "1": node("LoadImage", image=URL),
            "5": node("LoadVideo", file=f"data:image/png;base64,{PNG}"),
            "2": node("SaveImage", images=["1", 0], filename_prefix="x"),
        }
    )
    with pytest.raises(Rejected):
        await prepared(runtime, job)
    assert len(files_in(folder)) == 1
    await runtime.clean_up(job, again=False)
    assert files_in(folder) == []


async def test_a_failed_prompt_leaves_no_file_and_no_entry(
    runtime: Runtime, server: ServerProcess, folder: Path
) -> None:
    await tell(server, "/fake/faults", {"fail_always": "exception"})
    job = with_everything()
    with pytest.raises(Rejected):
        await run(runtime, job)
    assert files_in(folder) != []
    assert len(await history(server)) == 1
    await runtime.clean_up(job, again=False)
    assert files_in(folder) == []
    assert await history(server) == []


async def test_what_could_not_be_fetched_waits_for_the_next_attempt(
    server: ServerProcess, folder: Path
) -> None:
    job = with_everything()
    async with FaultProxy(server.url) as proxy:
        runtime = ComfyUIRuntime(RuntimeOptions(base_url=proxy.url, files=folder))
        try:
            with proxy.fault(Status(503), on_path("/view")), pytest.raises(Unavailable):
                await run(runtime, job)
            await runtime.clean_up(job, again=True)
            assert len((await run(runtime, job)).artifacts) == 2
            assert len(await runs(server)) == 1, "it was not executed again"
            await runtime.clean_up(job, again=True)  # its result could not be stored
            assert files_in(folder) == []
        finally:
            await runtime.aclose()


async def test_what_could_not_be_fetched_goes_when_nobody_tries_again(
    server: ServerProcess, folder: Path
) -> None:
    job = with_everything()
    async with FaultProxy(server.url) as proxy:
        runtime = ComfyUIRuntime(RuntimeOptions(base_url=proxy.url, files=folder))
        try:
            with proxy.fault(Status(503), on_path("/view")), pytest.raises(Unavailable):
                await run(runtime, job)
            await runtime.clean_up(job, again=False)
            assert files_in(folder) == []
            assert await history(server) == []
        finally:
            await runtime.aclose()


async def test_a_preview_that_is_gone_and_remembered_is_made_again(
    runtime: Runtime, server: ServerProcess, folder: Path
) -> None:
    workflow = saving(**PREVIEW)
    for name in ("first", "second", "third"):
        job = pipeline(workflow, name, include_temp=True)
        output = await run(runtime, job)
        assert len(output.artifacts) == 2
        assert not output.missing
        await runtime.clean_up(job, again=False)
        assert files_in(folder) == []
    executed = [run["executed"] for run in await runs(server)]
    assert ["1"] not in executed[1:], "the other nodes are remembered"
    assert executed[2] == ["3"]


async def test_sampling_is_not_done_again_for_a_preview_that_is_gone(
    runtime: Runtime, server: ServerProcess
) -> None:
    for name in ("first", "second"):
        job = pipeline(sampling(), name, include_temp=True)
        assert len((await run(runtime, job)).artifacts) == 2
        await runtime.clean_up(job, again=False)
    assert [run["steps"] for run in await runs(server)] == [4, 0, 0]


async def test_a_job_cleans_up_after_itself_although_another_agent_left_it(
    runtime: Runtime, server: ServerProcess, folder: Path
) -> None:
    """As after kill -9: nothing is known of what the other has prepared."""
    job = pipeline(saving())
    other = ComfyUIRuntime(RuntimeOptions(base_url=server.url, files=folder))
    await run(other, job)
    await other.aclose()
    assert len(files_in(folder)) == 1
    await runtime.clean_up(job, again=False)
    assert files_in(folder) == []


async def test_what_was_left_behind_is_looked_for_once_the_server_is_ready(
    runtime: Runtime, server: ServerProcess, folder: Path
) -> None:
    job = with_everything()
    held = await prepared(runtime, job)
    old = folder / "output" / "0123456789abcdef-00000001-x_00001_.png"
    old.parent.mkdir(exist_ok=True)
    old.write_bytes(b"1")
    upload = next((folder / "input").rglob("1.png"))
    for path in (old, upload):
        os.utime(path, (1, 1))
    await eventually(runtime.ready)
    await eventually(lambda: not old.exists())
    assert upload.exists(), "a job under way has it"
    assert len((await runtime.run(held, ignore)).artifacts) == 2


async def test_without_shared_folders_only_the_history_is_cleaned(
    server: ServerProcess, folder: Path
) -> None:
    runtime = ComfyUIRuntime(RuntimeOptions(base_url=server.url))
    try:
        job = with_everything()
        await run(runtime, job)
        await runtime.clean_up(job, again=False)
        assert len(files_in(folder)) == 4
        assert await history(server) == []
    finally:
        await runtime.aclose()


async def test_files_that_may_not_be_removed_are_told(
    runtime: Runtime, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    job = pipeline(saving())
    await run(runtime, job)
    monkeypatch.setattr(os, "unlink", refuse)
    with pytest.raises(Unavailable, match="cannot be removed: Operation not permitted"):
        await runtime.clean_up(job, again=False)


def test_a_shared_folder_that_is_not_there_is_a_wrong_setting(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="QUEUE_AGENT_RUNTIME_FILES"):
        ComfyUIRuntime(RuntimeOptions(files=tmp_path / "nothing"))
