"""The adapter of ComfyUI, against the fake ComfyUI in a process of its own."""

import asyncio
import base64
import io
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image
from pydantic import JsonValue
from structlog.testing import capture_logs

from fakes import fake_runtime
from harness import PATIENCE
from media_files import OTHERS
from queue_agent.media.facts import media_type_of
from queue_agent.outputs import describe
from queue_agent.runtime import Asset, Output, Progress, Readiness, Runtime, RuntimeOptions
from queue_agent.testing import FaultProxy, RuntimeContract, ServerProcess, eventually, sample_png
from queue_agent.testing.fault_proxy import Reset, on_path
from queue_agent.testing.runtime_contract.hooks import contents, ignore
from queue_agent.wire.errors import Rejected, RunLost, RuntimeAway, Unavailable
from queue_agent.wire.job import Job, parse_job
from queue_agent.wire.layout import ResultKeys
from queue_agent_runtimes.comfyui import ComfyUIRuntime, watch
from queue_agent_runtimes.comfyui.adapter import prompt_id_of
from queue_agent_runtimes.comfyui.execution import ComfyUIPrepared

PNG = base64.b64encode(sample_png()).decode()
URL = "https://images.example.com/cat.png"
OF_SOMEBODY_ELSE = "0a1b2c3d-0000-4000-8000-000000000000"
Json = dict[str, JsonValue]


def comfyui_server(*flags: str) -> ServerProcess:
    return fake_runtime("comfyui", *flags)


def new_job(task_type: str, content: Json, job_id: str = "job-1", **metadata: JsonValue) -> Job:
    return Job.model_validate(
        {"metadata": {"id": job_id, "tasktype": task_type, **metadata}, "content": content}
    )


def node(class_type: str, **inputs: JsonValue) -> Json:
    return {"class_type": class_type, "inputs": inputs}


def generation(**sampling: JsonValue) -> Json:
    """The classic workflow of seven nodes."""
    settings: Json = {
        "latent_image": ["4", 0],
        "seed": 7,
        "steps": 4,
        "cfg": 7.0,
        "sampler_name": "euler",
        "scheduler": "normal",
        "denoise": 1.0,
        **sampling,
    }
    return {
        "1": node("CheckpointLoaderSimple", ckpt_name="sd_xl_turbo_1.0.safetensors"),
        "2": node("CLIPTextEncode", text="http://example.com/ is a prompt", clip=["1", 1]),
        "3": node("CLIPTextEncode", text="https://example.com/no.png", clip=["1", 1]),
        "4": node("EmptyLatentImage", width=64, height=64, batch_size=1),
        "5": node(
            "KSampler",
            model=["1", 0],
            positive=["2", 0],
            negative=["3", 0],
            **settings,
        ),
        "6": node("VAEDecode", samples=["5", 0], vae=["1", 2]),
        "7": node("SaveImage", images=["6", 0], filename_prefix="ComfyUI"),
    }


def pipeline(content: Json | None = None, job_id: str = "job-1", **metadata: JsonValue) -> Job:
    return new_job("pipeline", generation() if content is None else content, job_id, **metadata)


def empty_image(**extra: Json) -> Json:
    """A workflow without sampling."""
    return {
        "1": node("EmptyImage", width=64, height=64, batch_size=1, color=255),
        "2": node("SaveImage", images=["1", 0], filename_prefix="x"),
        **extra,
    }


def text_to_image(**content: JsonValue) -> Job:
    asked: Json = {"prompt": "a lighthouse", "steps": 4, "seed": 7, "width": 64, "height": 64}
    return new_job("text-to-image", {**asked, **content})


def image_to_image(**content: JsonValue) -> Job:
    return new_job("image-to-image", {**text_to_image().content, "init_images": [PNG], **content})


class TestComfyUIContract(RuntimeContract):
    adapter = ComfyUIRuntime

    @classmethod
    def new_server(cls) -> ServerProcess:
        return comfyui_server("--step-seconds", "0.02", "--cache-none", "--disable-metadata")

    def jobs(self) -> list[Job]:
        return [
            pipeline(),
            text_to_image(),
            image_to_image(mask=PNG),
            new_job("extra-single-image", {"image": PNG, "upscaler_1": "R-ESRGAN 4x+"}),
        ]

    def slow_job(self) -> Job:
        return pipeline(generation(steps=10_000))

    def two_jobs(self, seconds: float = 1.0) -> tuple[Job, Job]:
        steps = int(25 * seconds)
        return pipeline(generation(steps=2 * steps)), text_to_image(steps=steps, seed=8, n_iter=2)

    def bad_job(self) -> tuple[Job, str]:
        return pipeline(generation(steps=0)), "Value 0 smaller than min of 1"

    def job_with_references(self) -> tuple[Job, set[str]]:
        image, mask = URL, "s3://inputs/mask.png"
        workflow = generation()
        workflow["4"] = node("VAEEncode", pixels=["8", 0], vae=["1", 2])
        workflow["8"] = node("LoadImage", image=image)
        workflow["9"] = node("LoadImageMask", image=mask, channel="red")
        workflow["10"] = node("SetLatentNoiseMask", samples=["4", 0], mask=["9", 0])
        workflow["11"] = node("PreviewAny", source="a text")
        workflow["5"] = generation(latent_image=["10", 0])["5"]
        return pipeline(workflow), {image, mask}

    async def jobs_held(self, server: ServerProcess) -> int:
        return await jobs_held(server)


async def ask(server: ServerProcess, path: str) -> Json:
    async with httpx.AsyncClient(base_url=server.url, timeout=PATIENCE) as client:
        answer: Json = (await client.get(path)).json()
    return answer


async def jobs_held(server: ServerProcess) -> int:
    queue = await ask(server, "/queue")
    running, pending = queue["queue_running"], queue["queue_pending"]
    assert isinstance(running, list)
    assert isinstance(pending, list)
    return len(running) + len(pending)


async def tell(server: ServerProcess, path: str, value: JsonValue) -> Json:
    async with httpx.AsyncClient(base_url=server.url, timeout=PATIENCE) as client:
        response = await client.post(path, json=value)
        response.raise_for_status()
        answer: Json = response.json() if response.content else {}
    return answer


async def runs(server: ServerProcess) -> list[Json]:
    """What the server has executed since it started, oldest first."""
    executed = (await ask(server, "/fake/state"))["runs"]
    assert isinstance(executed, list)
    return [run for run in executed if isinstance(run, dict)]


async def files(server: ServerProcess) -> list[Json]:
    """What lies in the server's folders, oldest first."""
    stored = (await ask(server, "/fake/state"))["files"]
    assert isinstance(stored, list)
    return [record for record in stored if isinstance(record, dict)]


async def run(runtime: Runtime, job: Job, progress: list[Progress] | None = None) -> Output:
    assets = {found.url: Asset(sample_png(), "image/png") for found in runtime.references(job)}
    prepared = await runtime.prepare(job, assets)
    return await runtime.run(prepared, ignore if progress is None else progress.append)


@asynccontextmanager
async def opened(url: str, options: RuntimeOptions | None = None) -> AsyncIterator[Runtime]:
    runtime = ComfyUIRuntime(replace(options or RuntimeOptions(), base_url=url))
    try:
        yield runtime
    finally:
        await runtime.aclose()


@pytest.fixture(scope="module")
def shared_server() -> Iterator[ServerProcess]:
    with comfyui_server() as server:
        yield server


@pytest.fixture
async def server(shared_server: ServerProcess) -> AsyncIterator[ServerProcess]:
    """The server of all tests below, without a past."""
    yield shared_server
    await tell(shared_server, "/fake/reset", {})


@pytest.fixture
async def runtime(server: ServerProcess) -> AsyncIterator[Runtime]:
    async with opened(server.url) as runtime:
        yield runtime


async def test_the_same_workflow_of_two_jobs_yields_outputs_for_each(
    runtime: Runtime, server: ServerProcess
) -> None:
    outputs = [await run(runtime, pipeline(job_id=name)) for name in ("first", "second")]
    assert [len(output.artifacts) for output in outputs] == [1, 1]
    first, second = await runs(server)
    assert (first["steps"], second["steps"]) == (4, 0), "the second was served from the cache"
    names = {str(output.response["outputs"]) for output in outputs}
    assert len(names) == 2


@pytest.mark.parametrize(
    ("sample", "count"),
    [("guidance-pipeline.json", 1), ("comfyui-no-model.json", 2), ("portable.json", 2)],
)
async def test_the_sample_messages_run(runtime: Runtime, sample: str, count: int) -> None:
    path = Path(__file__).parents[1] / "messages" / sample
    output = await run(runtime, parse_job(path.read_text()))
    assert len(output.artifacts) == count
    assert output.warnings == ()


async def test_the_same_job_run_again_yields_its_outputs_again(runtime: Runtime) -> None:
    for _ in range(2):
        assert len((await run(runtime, pipeline())).artifacts) == 1


async def test_file_names_are_unique_and_keep_the_folder_that_was_asked_for(
    runtime: Runtime, server: ServerProcess
) -> None:
    workflow = empty_image(
        **{"3": node("SaveImage", images=["1", 0], filename_prefix="sub/deep/x")}
    )
    await run(runtime, pipeline(workflow))
    await run(runtime, pipeline(workflow))
    records = await files(server)
    assert [record["subfolder"] for record in records] == ["", "sub/deep", "", "sub/deep"]
    assert all(str(record["filename"]).endswith("_00001_.png") for record in records)
    assert len({(record["subfolder"], record["filename"]) for record in records}) == 4


@pytest.mark.parametrize("socket", ["silent", "flood", "refuse", "drop"])
async def test_a_job_is_finished_whatever_the_websocket_does(
    runtime: Runtime, server: ServerProcess, socket: str
) -> None:
    await tell(server, "/fake/faults", {"socket": socket, "previews": True, "late_events": True})
    reports: list[Progress] = []
    output = await run(runtime, pipeline(), reports)
    assert len(output.artifacts) == 1
    assert reports[-1].fraction == 1.0
    assert [executed["outcome"] for executed in await runs(server)] == ["success"]


async def test_late_events_of_another_prompt_end_nothing(
    runtime: Runtime, server: ServerProcess
) -> None:
    await tell(server, "/fake/faults", {"late_events": True})
    for seed in (1, 2):
        output = await run(runtime, pipeline(generation(seed=seed)))
        assert len(output.artifacts) == 1


async def test_progress_tells_the_node_and_the_step(runtime: Runtime) -> None:
    reports: list[Progress] = []
    await run(runtime, pipeline(), reports)
    steps = [report for report in reports if report.steps == 4]
    assert [report.step for report in steps] == [1, 2, 3, 4]
    assert {report.node for report in steps} == {"5"}
    assert steps[0].fraction < steps[-1].fraction < 1.0


async def test_a_dropped_part_of_the_workflow_is_a_warning(runtime: Runtime) -> None:
    output = await run(runtime, pipeline(empty_image(**{"3": node("SaveImage", images=["1", 0])})))
    assert len(output.artifacts) == 1
    (warning,) = output.warnings
    assert "node 3 (SaveImage), input filename_prefix: Required input is missing" in warning


async def test_a_dropped_part_of_the_workflow_is_rejected_where_the_job_is_strict(
    runtime: Runtime, server: ServerProcess
) -> None:
    job = pipeline(empty_image(**{"3": node("SaveImage", images=["1", 0])}), strict=True)
    with pytest.raises(Rejected, match="Required input is missing") as caught:
        await run(runtime, job)
    assert caught.value.type == "invalid_workflow"
    await eventually(lambda: is_idle(server))


async def is_idle(server: ServerProcess) -> bool:
    return await jobs_held(server) == 0


@pytest.mark.parametrize(
    ("workflow", "words"),
    [
        (empty_image(**{"2": node("Nonsense")}), "Node 'Nonsense' not found"),
        ({"1": node("EmptyImage", width=1, height=1, batch_size=1, color=0)}, "no outputs"),
        (
            empty_image(**{"1": node("LoadImage", image="none.png")}),
            "node 1 (LoadImage), input image: Custom validation failed for node (image - Inv",
        ),
        (
            empty_image(**{"1": node("CheckpointLoaderSimple", ckpt_name="none")}),
            "Return type mismatch",
        ),
    ],
)
async def test_a_refused_workflow_is_rejected_with_node_input_and_message(
    runtime: Runtime, workflow: Json, words: str
) -> None:
    with pytest.raises(Rejected) as caught:
        await run(runtime, pipeline(workflow))
    assert words in caught.value.message
    assert caught.value.type == "invalid_workflow"
    assert caught.value.details["status"] == 400


async def test_an_exception_in_a_node_rejects_the_job_with_its_words(
    runtime: Runtime, server: ServerProcess
) -> None:
    await tell(server, "/fake/faults", {"fail_next": "exception"})
    with pytest.raises(Rejected) as caught:
        await run(runtime, pipeline())
    assert caught.value.message == (
        "Node 5 (KSampler) raised ValueError: the node does not like this"
    )
    assert caught.value.type == "execution_error"
    assert caught.value.details["node_id"] == "5"
    assert len((await run(runtime, pipeline())).artifacts) == 1, "a new attempt starts afresh"


async def test_an_uploaded_file_that_is_no_image_is_rejected(runtime: Runtime) -> None:
    job = pipeline(empty_image(**{"1": node("LoadImage", image=URL)}))
    prepared = await runtime.prepare(job, {URL: Asset(b"no image", "image/png")})
    with pytest.raises(Rejected, match=r"PIL\.UnidentifiedImageError"):
        await runtime.run(prepared, ignore)


async def test_when_memory_runs_out_it_is_freed_and_the_job_tried_once_more(
    runtime: Runtime, server: ServerProcess
) -> None:
    await tell(server, "/fake/faults", {"fail_next": "oom"})
    assert len((await run(runtime, pipeline())).artifacts) == 1
    assert (await ask(server, "/fake/state"))["frees"] == 1
    assert [executed["outcome"] for executed in await runs(server)] == ["error", "success"]


async def test_a_job_that_never_fits_into_memory_is_given_up_after_two_tries(
    runtime: Runtime, server: ServerProcess
) -> None:
    await tell(server, "/fake/faults", {"fail_always": "oom"})
    with pytest.raises(Unavailable, match="out of memory") as caught:
        await run(runtime, pipeline())
    assert caught.value.type == "out_of_memory"
    assert len(await runs(server)) == 2


async def test_a_prompt_that_somebody_else_interrupts_may_be_tried_again(
    runtime: Runtime, server: ServerProcess
) -> None:
    task = asyncio.create_task(run(runtime, pipeline(generation(steps=1000))))
    await eventually(lambda: is_working(server))
    await tell(server, "/interrupt", {})
    with pytest.raises(Unavailable) as caught:
        await task
    assert caught.value.type == "interrupted"


async def is_working(server: ServerProcess) -> bool:
    return any(run["outcome"] == "running" for run in await runs(server))


async def test_cancelling_leaves_the_prompts_of_others_alone(
    runtime: Runtime, server: ServerProcess
) -> None:
    others: Json = {"prompt": generation(), "prompt_id": OF_SOMEBODY_ELSE}
    async with paused(server):
        await tell(server, "/prompt", others)
        await eventually(lambda: is_working(server))
        task = asyncio.create_task(run(runtime, pipeline()))
        await eventually(lambda: is_waiting(server))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    await eventually(lambda: is_idle(server))
    (only,) = await runs(server)
    assert (only["prompt_id"], only["outcome"]) == (OF_SOMEBODY_ELSE, "success")


@asynccontextmanager
async def paused(server: ServerProcess) -> AsyncIterator[None]:
    """While the server's GPU stands still, whatever it is given."""
    await tell(server, "/fake/faults", {"paused": True})
    yield
    await tell(server, "/fake/faults", {})


async def is_waiting(server: ServerProcess) -> bool:
    return bool((await ask(server, "/fake/state"))["pending"])


async def test_a_prompt_that_left_no_history_is_lost_not_guessed(
    runtime: Runtime, server: ServerProcess
) -> None:
    await tell(server, "/fake/faults", {"history": "empty"})
    with pytest.raises(RunLost) as caught:
        await run(runtime, pipeline())
    assert caught.value.type == "prompt_lost"


async def test_a_connection_that_breaks_before_the_submission_loses_no_run(
    server: ServerProcess,
) -> None:
    async with FaultProxy(server.url) as proxy, opened(proxy.url) as runtime:
        prepared = await runtime.prepare(pipeline(), {})
        with proxy.fault(Reset(), on_path("/history/*")), pytest.raises(RuntimeAway):
            await runtime.run(prepared, ignore)


@pytest.mark.parametrize(
    ("view", "error_type"),
    [("html", "invalid_answer"), ("missing", "output_missing"), ("oversized", "answer_too_large")],
)
async def test_an_output_that_cannot_be_fetched_is_no_output(
    runtime: Runtime, server: ServerProcess, view: str, error_type: str
) -> None:
    await tell(server, "/fake/faults", {"view": view})
    with pytest.raises(Unavailable) as caught:
        await run(runtime, pipeline())
    assert caught.value.type == error_type


async def test_outputs_that_could_not_be_fetched_are_fetched_by_the_next_attempt(
    runtime: Runtime, server: ServerProcess
) -> None:
    await tell(server, "/fake/faults", {"view": "truncated"})
    with pytest.raises(Unavailable):
        await run(runtime, pipeline())
    await tell(server, "/fake/faults", {})
    assert len((await run(runtime, pipeline())).artifacts) == 1
    assert len(await runs(server)) == 1


async def test_outputs_that_are_gone_are_made_again_by_the_next_attempt(
    runtime: Runtime, server: ServerProcess
) -> None:
    await tell(server, "/fake/faults", {"view": "missing"})
    with pytest.raises(Unavailable):
        await run(runtime, pipeline())
    await tell(server, "/fake/faults", {})
    assert len((await run(runtime, pipeline())).artifacts) == 1
    assert len(await runs(server)) == 2


async def test_what_is_there_of_several_outputs_is_handed_over_with_what_is_missing(
    runtime: Runtime, server: ServerProcess
) -> None:
    await tell(server, "/fake/faults", {"gone": "other"})
    workflow = empty_image(**{"3": node("SaveImage", images=["1", 0], filename_prefix="other")})
    output = await run(runtime, pipeline(workflow))
    assert len(output.artifacts) == 1
    (words,) = output.missing
    assert "does not hand out its output" in words
    await tell(server, "/fake/faults", {})
    whole = await run(runtime, pipeline(workflow))
    assert (len(whole.artifacts), whole.missing) == (2, ())


async def test_a_failing_server_is_no_missing_output(
    runtime: Runtime, server: ServerProcess
) -> None:
    await tell(server, "/fake/faults", {"view": "html"})
    workflow = empty_image(**{"3": node("PreviewAny", source="a text")})
    with pytest.raises(Unavailable) as caught:
        await run(runtime, pipeline(workflow))
    assert caught.value.type == "invalid_answer"


async def test_an_agent_that_restarts_joins_the_prompt_under_way(server: ServerProcess) -> None:
    job = pipeline()
    reports: list[Progress] = []
    async with opened(server.url) as after:
        async with paused(server):
            async with FaultProxy(server.url) as proxy, opened(proxy.url) as before:
                task = asyncio.create_task(run(before, job))
                await eventually(lambda: is_working(server))
                with proxy.fault(Reset()):
                    task.cancel()
                    await asyncio.gather(task, return_exceptions=True)
            assert await is_working(server), "the agent vanished without stopping its prompt"
            known = await sockets_opened(server)
            joined = asyncio.create_task(run(after, job, reports))
            await eventually(lambda: has_more_sockets(server, known))
        output = await joined
    assert len(output.artifacts) == 1
    assert any(report.step for report in reports)
    assert [executed["prompt_id"] for executed in await runs(server)] == [prompt_id_of(job)]


async def sockets_opened(server: ServerProcess) -> int:
    opened = (await ask(server, "/fake/state"))["sockets_opened"]
    assert isinstance(opened, int)
    return opened


async def has_more_sockets(server: ServerProcess, known: int) -> bool:
    return await sockets_opened(server) > known


async def test_a_job_that_was_cancelled_can_be_run_again_at_once(
    runtime: Runtime, server: ServerProcess
) -> None:
    job = pipeline()
    async with paused(server):
        task = asyncio.create_task(run(runtime, job))
        await eventually(lambda: is_working(server))
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert len((await run(runtime, job)).artifacts) == 1
    assert [executed["outcome"] for executed in await runs(server)] == ["interrupted", "success"]


async def test_the_servers_version_and_devices_are_logged_once(runtime: Runtime) -> None:
    with capture_logs() as logs:
        for _ in range(2):
            assert await runtime.ready()
    assert [(entry["version"], entry["devices"]) for entry in logs] == [("0.8.0", ["cpu"])]


async def test_a_workflow_of_5000_nodes_runs(runtime: Runtime, server: ServerProcess) -> None:
    workflow = empty_image()
    for number in range(3, 5001):
        source = number - 1 if 4 <= number <= 103 else 1
        workflow[str(number)] = node("ImageInvert", image=[str(source), 0])
    workflow["2"] = node("SaveImage", images=["103", 0], filename_prefix="x")
    output = await run(runtime, pipeline(workflow))
    assert len(output.artifacts) == 1
    (executed,) = await runs(server)
    assert isinstance(executed["executed"], list)
    assert len(executed["executed"]) == 103


async def test_outputs_of_every_kind_become_artifacts(runtime: Runtime) -> None:
    workflow = empty_image(
        **{
            "3": node("SaveAnimatedWEBP", images=["1", 0], filename_prefix="a"),
            "4": node("VHS_VideoCombine", images=["1", 0], filename_prefix="b"),
            "5": node("PreviewAny", source="a text"),
            "6": node("PreviewImage", images=["1", 0]),
        }
    )
    output = await run(runtime, pipeline(workflow))
    kinds = [artifact.media_type for artifact in output.artifacts]
    assert kinds == ["image/png", "image/webp", "image/gif", "text/plain"]
    assert output.artifacts[-1].data == b"a text"
    assert output.warnings == ()


@pytest.mark.parametrize(
    ("extension", "data", "media_type"),
    [
        ("flac", b"fLaC\0\0\0\x22", "audio/x-flac"),
        ("mkv", OTHERS["matroska"][0], "video/x-matroska"),
        ("mka", b"sound without a signature", "audio/x-matroska"),
        ("glb", OTHERS["glb"][0], "model/gltf-binary"),
        ("gltf", b'{"asset": {"version": "2.0"}}', "model/gltf+json"),
        ("ply", OTHERS["ply"][0], "model/ply"),
        ("splat", bytes(32), "model/splat"),
        ("fbx", b"; FBX 7.3.0 project file", "model/fbx"),
        ("usdz", OTHERS["zip"][0], "model/vnd.usdz+zip"),
        ("npz", OTHERS["zip"][0], "application/zip"),
        ("ksplat", bytes(32), "application/octet-stream"),
        ("latent", bytes(32), "application/octet-stream"),
        ("safetensors", bytes(32), "application/octet-stream"),
        ("txt", b"a text", "text/plain"),
        ("ppm", b"P6 1 1 255 abc", "application/octet-stream"),
    ],
)
async def test_a_file_keeps_its_type_and_its_extension(
    runtime: Runtime, extension: str, data: bytes, media_type: str
) -> None:
    workflow: Json = {
        "1": node("SaveBytes", data=data.hex(), extension=extension, filename_prefix="x")
    }
    job = pipeline(workflow)
    (artifact,) = (await run(runtime, job)).artifacts
    assert (artifact.data, artifact.media_type) == (data, media_type)
    key = ResultKeys.of(job).artifact(1, artifact.media_type, own=artifact.extension)
    assert key.endswith(f"-1.{extension}")
    await describe(artifact, "it")


async def test_audio_and_latents_keep_their_extensions(runtime: Runtime) -> None:
    workflow: Json = {
        "1": node("EmptyAudio", duration=1.0, sample_rate=44100, channels=2),
        "2": node("SaveAudio", audio=["1", 0], filename_prefix="audio/ComfyUI"),
        "3": node("EmptyLatentImage", width=64, height=64, batch_size=1),
        "4": node("SaveLatent", samples=["3", 0], filename_prefix="latents/ComfyUI"),
    }
    output = await run(runtime, pipeline(workflow))
    assert [(artifact.media_type, artifact.extension) for artifact in output.artifacts] == [
        ("audio/x-flac", "flac"),
        ("application/octet-stream", "latent"),
    ]


@pytest.mark.parametrize("prefix", ["folder\\x", "a\\b\\c", "\\x", "sub/folder\\x"])
async def test_an_output_with_a_backslash_in_its_name_is_delivered(
    runtime: Runtime, prefix: str
) -> None:
    workflow = empty_image(**{"2": node("SaveImage", images=["1", 0], filename_prefix=prefix)})
    assert len((await run(runtime, pipeline(workflow))).artifacts) == 1


@pytest.mark.parametrize("prefix", ["p" * 200, "p" * 300, "sub/" + "ä" * 150])
async def test_no_file_name_is_too_long_whatever_job_and_prefix_are_called(
    runtime: Runtime, server: ServerProcess, prefix: str
) -> None:
    workflow = empty_image(
        **{
            "1": node("LoadImage", image=URL),
            "2": node("SaveImage", images=["1", 0], filename_prefix=prefix),
        }
    )
    assert (await run(runtime, pipeline(workflow, "j" * 128))).artifacts
    for record in await files(server):
        for name in [str(record["filename"]), *str(record["subfolder"]).split("/")]:
            assert len(name.encode()) <= 255


async def test_previews_are_handed_out_only_where_the_job_asks(runtime: Runtime) -> None:
    workflow: Json = {**empty_image(), "2": node("PreviewImage", images=["1", 0])}
    nothing = await run(runtime, pipeline(workflow))
    assert nothing.artifacts == ()
    assert "include_temp" in nothing.warnings[0]
    asked = await run(runtime, pipeline(workflow, include_temp=True))
    assert len(asked.artifacts) == 1


def modelling(**nodes: JsonValue) -> Json:
    """A workflow whose node 1 loads a 3D model."""
    return {"1": node("Load3D", model_file="s3://inputs/a.glb"), **nodes}


async def run_modelling(runtime: Runtime, workflow: Json, **metadata: Any) -> Output:
    assert await runtime.ready()
    assets = {"s3://inputs/a.glb": Asset(OTHERS["glb"][0], "model/gltf-binary")}
    prepared = await runtime.prepare(pipeline(workflow, **metadata), assets)
    return await runtime.run(prepared, ignore)


async def test_a_model_that_a_node_saved_and_reports_by_its_name_alone_is_delivered(
    runtime: Runtime,
) -> None:
    saving = node("Save3DAdvanced", model_3d=["1", 0], filename_prefix="3d/adv")
    output = await run_modelling(runtime, modelling(**{"2": saving}))
    (model,) = output.artifacts
    assert (model.content, model.media_type) == (OTHERS["glb"][0], "model/gltf-binary")
    assert output.warnings == () == output.missing


async def test_models_that_are_only_shown_are_previews(runtime: Runtime) -> None:
    workflow = modelling(
        **{
            "2": node("Preview3D", model_file=["1", 0]),
            "3": node("Preview3DAdvanced", model_3d=["1", 0]),
        }
    )
    nothing = await run_modelling(runtime, workflow)
    assert nothing.artifacts == ()
    assert "only previews (2)" in nothing.warnings[0]
    asked = await run_modelling(runtime, workflow, include_temp=True)
    assert [artifact.content for artifact in asked.artifacts] == [OTHERS["glb"][0]] * 2


async def test_a_name_of_a_model_that_is_not_there_is_a_warning(runtime: Runtime) -> None:
    workflow: Json = {"2": node("Preview3D", model_file="mesh/nothing.glb")}
    output = await run(runtime, pipeline(workflow))
    assert output.artifacts == ()
    assert "nothing.glb" in output.missing[0]


def sending() -> Json:
    """A workflow that saves an image of a sampler and sends two others."""
    return {
        **generation(),
        "8": node("EmptyImage", width=32, height=32, batch_size=2, color=255),
        "9": node("SaveImageWebsocket", images=["8", 0]),
    }


async def test_images_that_are_sent_over_the_websocket_are_artifacts_and_previews_are_none(
    runtime: Runtime, server: ServerProcess
) -> None:
    await tell(server, "/fake/faults", {"previews": True})
    output = await run(runtime, pipeline(sending()))
    assert [Image.open(io.BytesIO(one.data)).size for one in output.artifacts] == [
        (64, 64),
        (32, 32),
        (32, 32),
    ]
    assert {artifact.media_type for artifact in output.artifacts} == {"image/png"}
    assert output.warnings == ()


async def test_sent_images_are_not_taken_from_an_earlier_attempt_that_heard_them(
    runtime: Runtime, server: ServerProcess
) -> None:
    await tell(server, "/fake/faults", {"view": "truncated"})
    with pytest.raises(Unavailable):
        await run(runtime, pipeline(sending()))
    await tell(server, "/fake/faults", {})
    assert len((await run(runtime, pipeline(sending()))).artifacts) == 3


async def test_images_that_were_sent_to_a_broken_connection_are_made_once_more(
    runtime: Runtime, server: ServerProcess
) -> None:
    await tell(server, "/fake/faults", {"socket": "drop"})
    with pytest.raises(Unavailable, match="is gone") as caught:
        await run(runtime, pipeline(sending()))
    assert caught.value.type == "output_missing"
    assert len(await runs(server)) == 2
    await tell(server, "/fake/faults", {})
    assert len((await run(runtime, pipeline(sending()))).artifacts) == 3


async def test_images_that_are_long_in_coming_are_waited_for(
    runtime: Runtime, server: ServerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "SILENCE", 0.02)
    await tell(server, "/fake/faults", {"socket": "busy"})
    task = asyncio.create_task(run(runtime, pipeline(sending())))
    await eventually(lambda: was_told(server))
    assert not task.done()
    await tell(server, "/fake/faults", {})
    assert len((await task).artifacts) == 3
    assert len(await runs(server)) == 1


async def test_images_that_never_come_are_made_once_more(
    runtime: Runtime, server: ServerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "SILENCE", 0.02)
    monkeypatch.setattr(watch, "LAST_FRAMES", 0.1)
    await tell(server, "/fake/faults", {"socket": "busy"})
    with pytest.raises(Unavailable, match="is gone"):
        await run(runtime, pipeline(sending()))
    assert len(await runs(server)) == 2


async def was_told(server: ServerProcess) -> bool:
    """Whether somebody has asked again and again for the history of a prompt that has ended."""
    times = (await ask(server, "/fake/state"))["histories_told"]
    return isinstance(times, int) and times > 5


async def test_images_of_others_that_are_sent_to_everybody_are_not_ours(
    runtime: Runtime, server: ServerProcess
) -> None:
    async with paused(server):
        await tell(server, "/prompt", {"prompt": sending(), "prompt_id": OF_SOMEBODY_ELSE})
        await eventually(lambda: is_working(server))
        task = asyncio.create_task(run(runtime, pipeline(sending())))
        await eventually(lambda: is_waiting(server))
    assert len((await task).artifacts) == 3


async def test_why_a_node_was_blocked_is_a_warning(runtime: Runtime) -> None:
    workflow = empty_image(
        **{
            "3": node("BlockedImage", image=["1", 0], message="no image for you"),
            "4": node("SaveImage", images=["3", 0], filename_prefix="y"),
            "5": node("BlockedImage", image=["1", 0], message=""),
            "6": node("SaveImage", images=["5", 0], filename_prefix="z"),
        }
    )
    output = await run(runtime, pipeline(workflow))
    assert len(output.artifacts) == 1
    assert output.warnings == (
        "Node 4 (SaveImage) did not run: Execution Blocked: no image for you",
    )


async def test_nodes_that_a_node_becomes_count_to_it(runtime: Runtime) -> None:
    workflow = empty_image(
        **{
            "3": node("ExpandingSampler", image=["1", 0], steps=4),
            "4": node("SaveImage", images=["3", 0], filename_prefix="y"),
        }
    )
    reports: list[Progress] = []
    await run(runtime, pipeline(workflow), reports)
    inner = [report for report in reports if report.steps == 4]
    assert {report.node for report in inner} == {"3"}
    assert inner[0].fraction < inner[1].fraction < inner[3].fraction
    fractions = [report.fraction for report in reports]
    assert fractions == sorted(fractions)


async def test_progress_begins_when_the_server_begins_with_the_prompt(
    runtime: Runtime, server: ServerProcess
) -> None:
    reports: list[Progress] = []
    async with paused(server):
        await tell(server, "/prompt", {"prompt": generation(), "prompt_id": OF_SOMEBODY_ELSE})
        await eventually(lambda: is_working(server))
        task = asyncio.create_task(run(runtime, pipeline(generation(seed=8)), reports))
        await eventually(lambda: is_waiting(server))
        assert reports == []
    await task
    assert reports[0].fraction == 0.0


@pytest.mark.parametrize("socket", ["silent", "refuse"])
async def test_that_the_server_has_begun_is_seen_without_the_websocket(
    runtime: Runtime, server: ServerProcess, socket: str
) -> None:
    reports: list[Progress] = []
    await tell(server, "/fake/faults", {"socket": socket, "paused": True})
    task = asyncio.create_task(run(runtime, pipeline(), reports))
    await eventually(lambda: has_reported(reports))
    assert [report.fraction for report in reports] == [0.0]
    await tell(server, "/fake/faults", {})
    await task


async def has_reported(reports: list[Progress]) -> bool:
    return bool(reports)


async def test_only_the_targets_that_a_job_names_are_executed(
    runtime: Runtime, server: ServerProcess
) -> None:
    other = node("SaveImage", images=["1", 0], filename_prefix="not-wanted")
    content: Json = {
        "prompt": empty_image(**{"3": other}),
        "partial_execution_targets": ["2"],
    }
    output = await run(runtime, pipeline(content))
    assert (len(output.artifacts), output.warnings) == (1, ())
    (executed,) = await runs(server)
    assert executed["executed"] == ["1", "2"]


async def test_a_target_that_is_no_output_is_rejected_in_the_servers_words(
    runtime: Runtime,
) -> None:
    content: Json = {"prompt": empty_image(), "partial_execution_targets": ["1"]}
    with pytest.raises(Rejected, match="no outputs"):
        await run(runtime, pipeline(content))


async def test_what_beside_the_workflow_has_no_effect_is_named(runtime: Runtime) -> None:
    content: Json = {
        "prompt": empty_image(),
        "client_id": "me",
        "front": True,
        "number": 3,
        "prompt_id": "0a1b2c3d-0000-5000-8000-000000000000",
        "convert_output": {"format": "jpg", "options": {"quality": None, "mozjpeg": True}},
        "webhook": None,
        "odd": 1,
    }
    output = await run(runtime, pipeline(content))
    assert len(output.artifacts) == 1
    names = [warning.partition(":")[0] for warning in output.warnings]
    assert names == ["convert_output.options.mozjpeg", "front", "number", "odd", "prompt_id"]


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("head", ["", "data:image/png;base64,"])
async def test_images_beside_the_workflow_stand_for_their_names(
    runtime: Runtime, server: ServerProcess, head: str, wrapped: bool
) -> None:
    content: Json = {
        "workflow": empty_image(**{"1": node("LoadImage", image="in.png")}),
        "images": [{"name": "in.png", "image": head + PNG}],
    }
    output = await run(runtime, pipeline({"input": content} if wrapped else content))
    assert image_of(output).size == Image.open(io.BytesIO(sample_png())).size
    (uploaded,) = [record for record in await files(server) if record["type"] == "input"]
    assert str(uploaded["subfolder"]).startswith("queue-agent/"), "a name is one job's only"


async def test_an_image_beside_the_workflow_that_nothing_names_is_rejected(
    runtime: Runtime,
) -> None:
    content: Json = {"workflow": empty_image(), "images": [{"name": "in.png", "image": PNG}]}
    with pytest.raises(Rejected, match=r"no node has an input in\.png"):
        await run(runtime, pipeline(content))


async def test_a_data_url_is_an_input_like_any_other(runtime: Runtime) -> None:
    data_url = "data:image/png;base64," + base64.b64encode(sample_png(24, 16)).decode()
    job = pipeline(empty_image(**{"1": node("LoadImage", image=data_url)}))
    assert image_of(await run(runtime, job)).size == (24, 16)


@pytest.mark.parametrize(
    ("data_url", "words"),
    [
        ("data:image/png;base64,§", "neither a URL, a data URL nor base64"),
        ("data:audio/flac;base64," + base64.b64encode(b"fLaC" + bytes(40)).decode(), "no image"),
    ],
)
async def test_a_data_url_that_is_no_such_input_is_rejected(
    runtime: Runtime, data_url: str, words: str
) -> None:
    job = pipeline(empty_image(**{"1": node("LoadImage", image=data_url)}))
    with pytest.raises(Rejected, match=words) as caught:
        await runtime.prepare(job, {})
    assert "inputs.image" in caught.value.message
    assert len(caught.value.message) < 200


async def test_no_refusal_repeats_what_the_job_holds(runtime: Runtime) -> None:
    long = "x" * 100_000
    job = pipeline(empty_image(**{"1": node("CheckpointLoaderSimple", ckpt_name=long)}))
    with pytest.raises(Rejected) as caught:
        await run(runtime, job)
    assert len(caught.value.message) < 2000
    assert len(json.dumps(caught.value.details)) < 5000


@pytest.mark.parametrize(
    ("loading", "name", "url", "data"),
    [
        ("LoadAudio", "audio", "s3://inputs/recording.webm", OTHERS["webm"][0]),
        ("LoadAudio", "audio", "https://example.com/a.mp4", OTHERS["mp4"][0]),
        ("LoadLatent", "latent", "s3://inputs/a.latent", bytes(32)),
        ("Load3D", "model_file", "s3://inputs/mesh.obj", b"o mesh"),
        ("LoadAnything", "model_file", "https://example.com/a.splat?x=1", bytes(32)),
    ],
)
async def test_every_input_that_takes_a_file_takes_a_reference(
    runtime: Runtime, server: ServerProcess, loading: str, name: str, url: str, data: bytes
) -> None:
    assert await runtime.ready()
    kind = {"LoadAudio": "audio", "LoadLatent": "latent"}.get(loading, "mesh")
    saving = {"audio": "SaveAudio", "latent": "SaveLatent", "mesh": "SaveGLB"}[kind]
    saved = {"audio": "audio", "latent": "samples", "mesh": "mesh"}[kind]
    workflow: Json = {
        "1": {"class_type": loading, "inputs": {name: url}},
        "2": {"class_type": saving, "inputs": {saved: ["1", 0], "filename_prefix": "x"}},
    }
    job = pipeline(workflow)
    runtime.check_places(job)
    (reference,) = runtime.references(job)
    assert reference.kind == ("audio" if kind == "audio" else "file")
    asset = Asset(data, media_type_of(data))
    assert (await runtime.run(await runtime.prepare(job, {url: asset}), ignore)).artifacts
    (uploaded,) = [record for record in await files(server) if record["type"] == "input"]
    own = url.partition("?")[0].rpartition(".")[2]
    assert str(uploaded["filename"]).endswith(f".{own}")


async def test_classes_are_asked_again_after_the_server_was_away(server: ServerProcess) -> None:
    async with opened(server.url) as runtime:
        await tell(server, "/fake/faults", {"object_info": "missing"})
        assert await runtime.ready()
        job = pipeline({"1": node("LoadAnything", model_file="s3://inputs/a.splat")})
        assert list(runtime.references(job)) == []
        await tell(server, "/fake/faults", {"status": 503})
        assert not await runtime.ready()
        await tell(server, "/fake/faults", {})
        assert await runtime.ready()
        assert [found.kind for found in runtime.references(job)] == ["file"]


MESSAGES = Path(__file__).parents[1] / "messages"
RECORDING = "s3://inputs/recording.webm"


@pytest.mark.parametrize(
    ("message", "extensions"),
    [
        ("audio-from-webm", ["flac"]),
        ("backslash-prefix", ["png"]),
        ("data-url", ["png"]),
        ("flac", ["flac"]),
        ("partial-targets", ["png"]),
        ("runpod-images", ["png"]),
    ],
)
async def test_messages_that_real_servers_do_are_done(
    runtime: Runtime, message: str, extensions: list[str]
) -> None:
    job = parse_job((MESSAGES / f"comfyui-{message}.json").read_text())
    runtime.check_places(job)
    data = OTHERS["webm"][0]
    assets = {url: Asset(data, media_type_of(data)) for url in [RECORDING]}
    output = await runtime.run(await runtime.prepare(job, assets), ignore)
    keys = [
        ResultKeys.of(job).artifact(1, one.media_type, own=one.extension)
        for one in output.artifacts
    ]
    assert [key.rpartition(".")[2] for key in keys] == extensions
    assert output.warnings == ()


async def test_the_answer_tells_what_each_node_has_cost(runtime: Runtime) -> None:
    told = await statistics(runtime, pipeline())
    assert told["nodes"].keys() == generation().keys()
    assert told["nodes"]["5"]["class_type"] == "KSampler"
    assert told["nodes"]["5"]["seconds"] > 0
    assert told["seconds"] > 0
    assert told["cached"] == []
    again = await statistics(runtime, pipeline(job_id="job-2"))
    assert sorted(again["cached"]) == ["1", "2", "3", "4", "5", "6"]
    assert list(again["nodes"]) == ["7"]


async def statistics(runtime: Runtime, job: Job) -> Any:
    return (await run(runtime, job)).response["statistics"]


async def test_references_of_two_jobs_are_not_mixed_up(
    runtime: Runtime, server: ServerProcess
) -> None:
    workflow = empty_image(**{"1": node("LoadImage", image=URL)})
    sizes = []
    for job_id, side in (("first", 32), ("second", 48), ("first", 64)):
        job = pipeline(workflow, job_id)
        asset = Asset(sample_png(side, side), "image/png")
        output = await runtime.run(await runtime.prepare(job, {URL: asset}), ignore)
        sizes.append(image_of(output).width)
    assert sizes == [32, 48, 64]
    folders = {record["subfolder"] for record in await files(server) if record["type"] == "input"}
    assert len(folders) == 2
    assert all(str(folder).startswith("queue-agent/") for folder in folders)


def image_of(output: Output) -> Image.Image:
    return Image.open(io.BytesIO(output.artifacts[0].data))


@pytest.mark.parametrize(
    ("header", "options"),
    [
        ("Bearer secret", RuntimeOptions(api_key="secret")),
        ("Basic bWU6c2VjcmV0", RuntimeOptions(username="me", password="secret")),
    ],
)
async def test_a_server_that_wants_credentials_gets_them(
    header: str, options: RuntimeOptions
) -> None:
    with comfyui_server("--authorization", header) as server:
        async with opened(server.url) as stranger:
            told = Readiness.of(await stranger.ready())
            assert told.state == "misconfigured"
            assert "401" in told.reason
            with pytest.raises(Unavailable) as caught:
                await run(stranger, pipeline())
            assert caught.value.type == "runtime_unauthorized"
        async with opened(server.url, options) as friend:
            assert await friend.ready()
            reports: list[Progress] = []
            assert len((await run(friend, pipeline(), reports)).artifacts) == 1
            assert any(report.step for report in reports), "the WebSocket is let in too"


async def test_fewer_images_than_a_portable_job_asks_for_are_a_failed_attempt(
    runtime: Runtime,
) -> None:
    prepared = await runtime.prepare(text_to_image(batch_size=2, n_iter=2), {})
    assert isinstance(prepared, ComfyUIPrepared)
    assert prepared.images == 4
    one_batch = dict(prepared.graph)
    saves = [name for name, value in one_batch.items() if value["class_type"] == "SaveImage"]
    del one_batch[saves[0]]
    prompt: Json = {**prepared.request, "prompt": {**one_batch}}
    with pytest.raises(Unavailable, match="made 2 of 4 images") as caught:
        await runtime.run(replace(prepared, graph=one_batch, request=prompt), ignore)
    assert caught.value.type == "invalid_answer"


async def test_a_portable_job_gives_as_many_images_as_it_asks_for(runtime: Runtime) -> None:
    output = await run(runtime, text_to_image(batch_size=2, n_iter=2, width=72, height=64))
    assert [artifact.seed for artifact in output.artifacts] == [7, 7, 9, 9]
    assert len(set(contents(output))) == 4
    assert image_of(output).size == (72, 64)


async def test_a_portable_job_without_a_seed_gives_another_image_each_time(
    runtime: Runtime,
) -> None:
    first, second = [await run(runtime, text_to_image(seed=-1)) for _ in range(2)]
    assert first.artifacts[0].seed != second.artifacts[0].seed
    assert contents(first) != contents(second)


async def test_models_are_found_by_the_names_of_other_worlds(runtime: Runtime) -> None:
    job = text_to_image(
        model="v1-5-pruned-emaonly [6ce0161689]", loras=[{"name": "ink", "weight": 0.5}]
    )
    prepared = await runtime.prepare(job, {})
    graph = str(prepared.request["prompt"])
    assert "'v1-5-pruned-emaonly.safetensors'" in graph
    assert "'styles/ink.safetensors'" in graph
    assert (await runtime.run(prepared, ignore)).artifacts


async def test_a_model_that_the_server_does_not_have_is_rejected(runtime: Runtime) -> None:
    with pytest.raises(Rejected, match="'nowhere' not in"):
        await run(runtime, text_to_image(model="nowhere"))


async def test_where_switching_models_is_off_the_warning_says_so(server: ServerProcess) -> None:
    async with opened(server.url, RuntimeOptions(switch_models=False)) as runtime:
        prepared = await runtime.prepare(text_to_image(model="v1-5-pruned-emaonly"), {})
    assert "sd_xl_turbo_1.0.safetensors" in prepared.warnings[0]


@pytest.mark.parametrize("upscaler", ["R-ESRGAN 4x+", "4x-UltraSharp", "Lanczos", "None"])
async def test_upscaling_gives_the_size_that_was_asked_for(runtime: Runtime, upscaler: str) -> None:
    content: Json = {"image": PNG, "upscaling_resize": 1.5, "upscaler_1": upscaler}
    output = await run(runtime, new_job("extra-single-image", content))
    assert image_of(output).size == (96, 96)


async def test_fields_without_counterpart_are_warned_of(runtime: Runtime) -> None:
    job = text_to_image(alwayson_scripts={}, tiling=True, sampler_name="Restart", mask=PNG)
    output = await run(runtime, job)
    assert [warning.partition(":")[0] for warning in output.warnings] == [
        "sampler_name",
        "tiling",
        "mask",
    ]
