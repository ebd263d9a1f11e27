"""What the engines do differently, each by its fake."""

import asyncio
import base64
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from pydantic import JsonValue

from fakes import fake_runtime
from queue_agent.outputs import describe
from queue_agent.runtime import Output, Prepared, Progress, RuntimeOptions
from queue_agent.testing import sample_png
from queue_agent.testing.fault_proxy import FaultProxy, Status
from queue_agent.testing.process import ServerProcess
from queue_agent.testing.runtime_contract.hooks import task_of
from queue_agent.testing.waiting import eventually
from queue_agent.wire.errors import (
    QueueAgentError,
    Rejected,
    RunLost,
    RuntimeSick,
    Unavailable,
)
from queue_agent.wire.job import Job
from queue_agent_runtimes.openai_videos import OpenAIRuntime, adapter

pytestmark = pytest.mark.asyncio

ENGINES = ("vllm-omni", "sglang", "tensorrt-llm", "dynamo")
PNG = base64.b64encode(sample_png()).decode()
LARGE = 3 * 2**20


@pytest.fixture(scope="module")
def servers() -> Iterator[Mapping[str, ServerProcess]]:
    """One of each engine, whose outputs are large."""
    made = {
        name: fake_runtime("openai", "--engine", name, "--large", str(LARGE)) for name in ENGINES
    }
    try:
        for server in made.values():
            server.start()
        yield made
    finally:
        for server in made.values():
            server.stop()


@pytest.fixture(autouse=True)
def _asks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter, "POLL_INTERVAL", 0.02)


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[OpenAIRuntime]:
    runtime = OpenAIRuntime(RuntimeOptions(base_url=url))
    try:
        yield runtime
    finally:
        await runtime.aclose()


def job(task_type: str = "text-to-video", job_id: str = "job-1", **content: JsonValue) -> Job:
    metadata = {"id": job_id, "tasktype": task_type}
    whole = {"prompt": "waves", "frames": 4, "fps": 8, "steps": 1, **content}
    return Job.model_validate({"metadata": metadata, "content": whole})


async def run(runtime: OpenAIRuntime, asked: Job) -> tuple[Output, list[Progress]]:
    reports: list[Progress] = []
    prepared = await runtime.prepare(asked, {})
    return await runtime.run(prepared, reports.append), reports


async def got(server: ServerProcess, path: str) -> httpx.Response:
    async with httpx.AsyncClient(timeout=60) as client:
        return await client.get(server.url + path)


async def told(method: str, url: str) -> None:
    async with httpx.AsyncClient(timeout=60) as client:
        await client.request(method, url)


async def created(server: ServerProcess, **wanted: Any) -> list[dict[str, Any]]:
    """The requests that the server has had with these fields."""
    seen = (await got(server, "/fake/requests")).json()
    return [entry for entry in seen if wanted.items() <= entry.items()]


@pytest.mark.parametrize("engine", ENGINES)
async def test_a_video_of_each_engine_is_a_whole_one_that_lies_on_disk(
    servers: Mapping[str, ServerProcess], engine: str
) -> None:
    async with opened(servers[engine].url) as runtime:
        asked = job("image-to-video", first_frame=PNG, seed=7)
        output, reports = await run(runtime, asked)
    (artifact,) = output.artifacts
    assert (artifact.media_type, artifact.seed, artifact.is_a_file) == ("video/mp4", 7, True)
    assert artifact.size > LARGE
    await describe(artifact, "The video")
    assert [report.fraction for report in reports][-1] == 1.0
    assert base64.b64encode(artifact.data[:64]).decode() not in str(output.response)
    output.close()


async def test_a_mesh_is_a_glb(servers: Mapping[str, ServerProcess]) -> None:
    async with opened(servers["sglang"].url) as runtime:
        output, _ = await run(runtime, job("image-to-3d", image=PNG))
    assert [artifact.media_type for artifact in output.artifacts] == ["model/gltf-binary"]
    output.close()


async def test_an_engine_without_meshes_refuses_them_by_their_kind(
    servers: Mapping[str, ServerProcess],
) -> None:
    async with opened(servers["vllm-omni"].url) as runtime:
        with pytest.raises(Rejected) as caught:
            await run(runtime, job("image-to-3d", image=PNG))
    assert caught.value.type == "unknown_task_type"


async def test_the_request_is_in_each_engines_own_form(
    servers: Mapping[str, ServerProcess],
) -> None:
    for engine in ENGINES:
        async with opened(servers[engine].url) as runtime:
            output, _ = await run(
                runtime, job("image-to-video", prompt="its form", first_frame=PNG)
            )
            output.close()
    files = [["input_reference", len(sample_png())]]
    (form,) = await created(servers["vllm-omni"], prompt="its form")
    assert (form["num_frames"], form["fps"], form["files"]) == ("4", "8", files)
    (body,) = await created(servers["tensorrt-llm"], prompt="its form")
    assert (body["num_frames"], body["fps"], body["files"]) == (4, 8, files)
    (body,) = await created(servers["dynamo"], prompt="its form")
    assert (body["model"], body["response_format"]) == ("tiny-video", "b64_json")
    assert body["nvext"] == {"fps": 8, "num_frames": 4, "num_inference_steps": 1}
    assert await created(servers["dynamo"], prefix="data:image/png;base64,")
    assert await created(servers["tensorrt-llm"], prefix="")


@pytest.mark.parametrize(
    ("engine", "prompt", "error"),
    [
        ("vllm-omni", "fails: 400 no such size", Rejected),
        ("vllm-omni", "fails: 0 no such luck", Unavailable),
        ("vllm-omni", "fails: 0 an illegal memory access", RuntimeSick),
        ("sglang", "fails: 400 no such size", Unavailable),
        ("tensorrt-llm", "fails: 0 no such luck", Unavailable),
        ("dynamo", "fails: 0 no such luck", Unavailable),
    ],
)
async def test_a_failed_job_is_whose_fault_its_code_says(
    servers: Mapping[str, ServerProcess], engine: str, prompt: str, error: type[QueueAgentError]
) -> None:
    async with opened(servers[engine].url) as runtime:
        with pytest.raises(error) as caught:
            await run(runtime, job(prompt=prompt))
    assert type(caught.value) is error
    assert prompt.partition(" ")[2].partition(" ")[2] in caught.value.message


async def test_a_job_that_the_server_has_forgotten_is_lost(
    servers: Mapping[str, ServerProcess],
) -> None:
    server = servers["sglang"]
    async with opened(server.url) as runtime:
        prepared = await runtime.prepare(job(steps=500), {})
        async with task_of(runtime, prepared) as task:
            job_id = await _id_of_the_only_one(runtime)
            await told("DELETE", f"{server.url}/v1/videos/{job_id}")
            with pytest.raises(RunLost):
                await task
    await told("POST", f"{server.url}/fake/end")


async def _id_of_the_only_one(runtime: OpenAIRuntime) -> str:
    await eventually(lambda: len(runtime._under_way) == 1)
    (job_id,) = runtime._under_way.values()
    return job_id


async def test_a_run_that_is_repeated_goes_on_with_the_servers_job(
    servers: Mapping[str, ServerProcess],
) -> None:
    server = servers["vllm-omni"]
    async with FaultProxy(server.url) as proxy, opened(proxy.url) as runtime:
        prepared = await runtime.prepare(job(prompt="once", steps=20), {})
        async with task_of(runtime, prepared) as task:
            await _id_of_the_only_one(runtime)
            with proxy.fault(Status(500)), pytest.raises(Unavailable):
                await task
        again = await runtime.prepare(job(prompt="once", steps=20), {})
        (await runtime.run(again, lambda _: None)).close()
        assert len(await created(server, prompt="once")) == 1
        (await runtime.run(again, lambda _: None)).close()
        assert len(await created(server, prompt="once")) == 2, "what has been fetched is over"


async def test_what_a_restarted_server_has_lost_is_made_anew(
    servers: Mapping[str, ServerProcess],
) -> None:
    server = servers["vllm-omni"]
    async with FaultProxy(server.url) as proxy, opened(proxy.url) as runtime:
        prepared = await runtime.prepare(job(prompt="anew", steps=20), {})
        async with task_of(runtime, prepared) as task:
            job_id = await _id_of_the_only_one(runtime)
            with proxy.fault(Status(500)), pytest.raises(Unavailable):
                await task
        await told("DELETE", f"{server.url}/v1/videos/{job_id}")
        (await runtime.run(prepared, lambda _: None)).close()
    assert len(await created(server, prompt="anew")) == 2


async def test_where_nothing_stops_a_job_it_is_asked_for_until_it_has_ended(
    servers: Mapping[str, ServerProcess],
) -> None:
    for engine in ("sglang", "tensorrt-llm"):
        server = servers[engine]
        async with opened(server.url) as runtime:
            prepared = await runtime.prepare(job(steps=500), {})
            job_id = await _cancelled(runtime, prepared)
            path = f"/v1/videos/{job_id}"
            assert await runtime.still_runs(prepared) is True
            assert (await got(server, path)).status_code == 200, "else nobody could ask for it"
            await told("POST", f"{server.url}/fake/end")
            await eventually(lambda: _is_over(runtime, prepared))  # noqa: B023
            assert (await got(server, path)).status_code == 404


async def test_a_job_of_vllm_omni_is_stopped_by_its_deletion(
    servers: Mapping[str, ServerProcess],
) -> None:
    server = servers["vllm-omni"]
    async with opened(server.url) as runtime:
        prepared = await runtime.prepare(job(steps=500), {})
        job_id = await _cancelled(runtime, prepared)
        assert (await got(server, f"/v1/videos/{job_id}")).status_code == 404
        await eventually(lambda: _is_over(runtime, prepared))


async def _cancelled(runtime: OpenAIRuntime, prepared: Prepared) -> str:
    async with task_of(runtime, prepared):
        return await _id_of_the_only_one(runtime)


async def _is_over(runtime: OpenAIRuntime, prepared: Prepared) -> bool:
    return not await runtime.still_runs(prepared)


async def test_the_time_of_a_job_that_waits_at_vllm_omni_does_not_run(
    servers: Mapping[str, ServerProcess],
) -> None:
    reports: list[Progress] = []
    async with opened(servers["vllm-omni"].url) as runtime:
        first = await runtime.prepare(job(job_id="first", steps=500), {})
        second = await runtime.prepare(job(job_id="second"), {})
        async with task_of(runtime, first):
            await _id_of_the_only_one(runtime)
            async with task_of(runtime, second, reports.append) as waiting:
                await eventually(lambda: len(runtime._under_way) == 2)
                await asyncio.sleep(0.2)
                assert reports == []
                waiting.cancel()


async def test_a_server_that_shares_no_jobs_among_its_processes_is_no_jobs_fault() -> None:
    with fake_runtime("openai", "--api-servers", "2") as server:
        async with opened(server.url) as runtime:
            with pytest.raises(Unavailable, match="as it was started") as caught:
                await run(runtime, job())
    assert caught.value.type == "runtime_misconfigured"
