"""Portable jobs for videos, done by the operator's workflows on the fake ComfyUI."""

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import cast

import pytest
from pydantic import JsonValue

from fakes import fake_runtime
from queue_agent.runtime import Asset, Output, Prepared, RuntimeOptions
from queue_agent.testing import ServerProcess, sample_png
from queue_agent.testing.runtime_contract.hooks import ignore
from queue_agent.wire.errors import Rejected
from queue_agent.wire.job import Job
from queue_agent_runtimes.comfyui import ComfyUIRuntime
from queue_agent_runtimes.comfyui.workflow import Node, inputs_of

Json = dict[str, JsonValue]
URL = "https://images.example.com/sea.png"
VIDEO: Json = {
    "1": {"class_type": "LoadImage", "inputs": {"image": "example.png"}},
    "2": {"class_type": "LoadImage", "inputs": {"image": "example.png"}},
    "3": {"class_type": "CreateVideo", "inputs": {"images": ["1", 0], "fps": 8.0}},
    "4": {
        "class_type": "SaveVideo",
        "inputs": {
            "video": ["3", 0],
            "filename_prefix": "clip",
            "format": "auto",
            "codec": "auto",
        },
    },
    "5": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "last"}},
}
FROM_IMAGES: Json = {
    "workflow": VIDEO,
    "inputs": {"first_frame": "1.image", "last_frame": "2.image", "fps": "3.fps"},
    "answers": ["image-to-video"],
}


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    with fake_runtime("comfyui") as server:
        yield server


@pytest.fixture
async def runtime(server: ServerProcess, tmp_path: Path) -> AsyncIterator[ComfyUIRuntime]:
    (tmp_path / "clip.json").write_text(json.dumps(FROM_IMAGES))
    runtime = ComfyUIRuntime(RuntimeOptions(base_url=server.url, workflows=tmp_path))
    yield runtime
    await runtime.aclose()


def job(task_type: str = "image-to-video", **content: JsonValue) -> Job:
    metadata = {"id": "job-1", "tasktype": task_type}
    return Job.model_validate({"metadata": metadata, "content": content})


async def prepared(runtime: ComfyUIRuntime, job: Job) -> Prepared:
    runtime.check_places(job)
    assets = {found.url: Asset(sample_png(), "image/png") for found in runtime.references(job)}
    return await runtime.prepare(job, assets)


async def run(runtime: ComfyUIRuntime, job: Job) -> Output:
    return await runtime.run(await prepared(runtime, job), ignore)


def sent(prepared: Prepared, node_id: str) -> Json:
    graph = prepared.request["prompt"]
    assert isinstance(graph, dict)
    return inputs_of(cast("Node", graph[node_id]))


async def test_the_task_types_are_those_that_the_operators_workflows_answer(
    runtime: ComfyUIRuntime,
) -> None:
    assert runtime.task_types == ComfyUIRuntime.task_types | {"image-to-video"}
    assert "image-to-video" not in ComfyUIRuntime(RuntimeOptions()).task_types


async def test_a_video_is_made_of_its_frames(runtime: ComfyUIRuntime) -> None:
    asked = job(first_frame=URL, last_frame=URL + "?2", fps=4)
    found = {(reference.url, reference.path) for reference in runtime.references(asked)}
    assert found == {(URL, ("first_frame",)), (URL + "?2", ("last_frame",))}
    ready = await prepared(runtime, asked)
    assert sent(ready, "3")["fps"] == 4
    assert "example.png" not in {sent(ready, "1")["image"], sent(ready, "2")["image"]}
    output = await runtime.run(ready, ignore)
    assert "video/mp4" in {artifact.media_type for artifact in output.artifacts}


async def test_the_first_frame_has_another_name_and_what_is_not_taken_is_a_warning(
    runtime: ComfyUIRuntime,
) -> None:
    output = await run(runtime, job(image=URL, prompt="waves", steps=9))
    said = [words.partition(":")[0] for words in output.warnings]
    assert said[:2] == ["prompt", "steps"]


@pytest.mark.parametrize(
    ("task_type", "content", "kind"),
    [
        ("image-to-video", {"prompt": "waves"}, "invalid_content"),
        ("image-to-video", {"first_frame": URL, "prompt": URL, "x": URL}, "reference_forbidden"),
        ("text-to-video", {"prompt": "waves"}, "unknown_task_type"),
    ],
)
async def test_what_cannot_be_done_is_refused(
    runtime: ComfyUIRuntime, task_type: str, content: Json, kind: str
) -> None:
    with pytest.raises(Rejected) as caught:
        await prepared(runtime, job(task_type, **content))
    assert caught.value.type == kind
