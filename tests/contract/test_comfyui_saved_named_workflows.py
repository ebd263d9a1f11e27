"""Workflows by name whose files are in the editor's format, run by the adapter on the fake."""

import io
import json
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image
from pydantic import JsonValue

from fakes import fake_runtime
from harness import PATIENCE
from queue_agent.runtime import Output, Readiness, RuntimeOptions
from queue_agent.testing import ServerProcess
from queue_agent.wire.errors import Rejected, SettingsError, Unavailable
from queue_agent.wire.job import Job, job_of
from queue_agent_runtimes.comfyui import ComfyUIRuntime

Json = dict[str, JsonValue]
Made = Callable[..., ComfyUIRuntime]


def painting(class_type: str = "EmptyImage") -> Json:
    """A colour that is made in a subgraph, and saved."""
    inner: Json = {
        "id": "made",
        "inputs": [],
        "outputs": [{"name": "IMAGE", "type": "IMAGE"}],
        "links": [{"id": 2, "origin_id": 8, "origin_slot": 0, "target_id": -20, "target_slot": 0}],
        "nodes": [
            {
                "id": 8,
                "type": class_type,
                "widgets_values": [16, 16, 1, 5],
                "outputs": [{"name": "IMAGE", "type": "IMAGE", "links": [2]}],
            }
        ],
    }
    instance: Json = {"id": 57, "type": "made", "outputs": [{"name": "IMAGE", "type": "IMAGE"}]}
    images: Json = {"name": "images", "type": "IMAGE", "link": 1}
    saving: Json = {"id": 2, "type": "SaveImage", "inputs": [images], "widgets_values": ["x"]}
    return {
        "nodes": [instance, saving],
        "links": [[1, 57, 0, 2, 0, "IMAGE"]],
        "definitions": {"subgraphs": [inner]},
    }


def file_of(workflow: Json, **more: JsonValue) -> Json:
    inputs: Json = {"shade": {"to": "57:8.color", "default": 9}, "width": ["57:8.width"]}
    return {"workflow": workflow, "inputs": inputs, **more}


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    with fake_runtime("comfyui") as server:
        yield server


@pytest.fixture
async def make(server: ServerProcess, tmp_path: Path) -> AsyncIterator[Made]:
    made: list[ComfyUIRuntime] = []

    def of(**files: Json) -> ComfyUIRuntime:
        for name, file in files.items():
            (tmp_path / f"{name}.json").write_text(json.dumps(file))
        made.append(ComfyUIRuntime(RuntimeOptions(base_url=server.url, workflows=tmp_path)))
        return made[-1]

    yield of
    for runtime in made:
        await runtime.aclose()
    async with httpx.AsyncClient(base_url=server.url, timeout=PATIENCE) as client:
        await client.post("/fake/reset")


async def told(server: ServerProcess, **faults: Any) -> None:
    async with httpx.AsyncClient(base_url=server.url, timeout=PATIENCE) as client:
        await client.post("/fake/faults", json=faults)


def job(inputs: Json, name: str = "paint") -> Job:
    metadata: Json = {"id": "a", "tasktype": "pipeline"}
    return job_of({"metadata": metadata, "content": {"workflow": name, "inputs": inputs}})


async def run(runtime: ComfyUIRuntime, asked: Job) -> Output:
    runtime.check_places(asked)
    assert list(runtime.references(asked)) == []
    return await runtime.run(await runtime.prepare(asked, {}), lambda _progress: None)


def picture(output: Output) -> tuple[int, tuple[int, ...]]:
    """Its width, and its first pixel."""
    (artifact,) = output.artifacts
    with artifact.open() as file:
        image = Image.open(io.BytesIO(file.read())).convert("RGB")
    pixel = image.getpixel((0, 0))
    assert isinstance(pixel, tuple)
    return image.width, pixel


async def test_jobs_set_inputs_of_nodes_within_subgraphs(make: Made) -> None:
    runtime = make(paint=file_of(painting()))
    assert await runtime.ready()
    assert picture(await run(runtime, job({}))) == (16, (0, 0, 9))
    assert picture(await run(runtime, job({"shade": 77, "width": 24}))) == (24, (0, 0, 77))
    with pytest.raises(Rejected, match=r"inputs\.shade: must be a number"):
        await run(runtime, job({"shade": "red"}))


async def test_what_they_take_is_told_before_the_server_is_there_and_better_after(
    make: Made,
) -> None:
    runtime = make(paint=file_of(painting(), description="a colour"))
    (before,) = runtime.workflows()
    assert [(given.name, given.kind) for given in before.inputs] == [
        ("shade", "text"),
        ("width", "number"),
    ]
    assert await runtime.ready()
    (after,) = runtime.workflows()
    assert [(given.name, given.kind) for given in after.inputs] == [
        ("shade", "number"),
        ("width", "number"),
    ]
    assert after.description == "a colour"


async def test_a_job_waits_for_the_servers_classes(make: Made, server: ServerProcess) -> None:
    runtime = make(paint=file_of(painting()))
    with pytest.raises(Unavailable):
        runtime.check_places(job({}))
    await told(server, object_info="missing")
    waiting = await runtime.ready()
    assert isinstance(waiting, Readiness)
    assert waiting.state == "starting"
    await told(server)
    assert await runtime.ready()
    assert (await run(runtime, job({}))).artifacts


async def test_without_such_a_file_the_list_of_classes_may_be_missing(
    make: Made, server: ServerProcess
) -> None:
    graph: Json = {"1": {"class_type": "SaveImage", "inputs": {"filename_prefix": "x"}}}
    runtime = make(plain={"workflow": graph})
    await told(server, object_info="missing")
    assert await runtime.ready()


async def test_one_that_the_server_cannot_run_takes_nothing_from_the_others(make: Made) -> None:
    runtime = make(bad=file_of(painting("NoSuchNode")), paint=file_of(painting()))
    assert await runtime.ready()
    assert (await run(runtime, job({}))).artifacts
    with pytest.raises(Rejected, match="'bad' cannot be used on this server: node 57:8") as caught:
        await run(runtime, job({}, "bad"))
    assert caught.value.type == "invalid_workflow"
    assert [own.name for own in runtime.workflows()] == ["bad", "paint"]


async def test_a_task_type_that_one_claims_is_never_answered_by_another(make: Made) -> None:
    file = {
        **file_of(painting("NoSuchNode"), answers=["text-to-image"]),
        "inputs": {"prompt": "57:8.text"},
    }
    runtime = make(bad=file)
    assert await runtime.ready()
    portable = job_of(
        {"metadata": {"id": "a", "tasktype": "text-to-image"}, "content": {"prompt": "a cat"}}
    )
    with pytest.raises(Rejected, match="cannot be used on this server"):
        await runtime.prepare(portable, {})


async def test_an_input_that_no_node_has_is_told_once_the_classes_are_known(make: Made) -> None:
    runtime = make(paint={"workflow": painting(), "inputs": {"shade": "57:8.colour"}})
    assert await runtime.ready()
    with pytest.raises(Rejected, match=r"node 57:8 has no input 'colour'; it has: width, height"):
        await run(runtime, job({}))


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ({"inputs": {"shade": "8.color"}}, "the workflow has no node '8' that runs"),
        ({"inputs": {"shade": "58.x"}, "answers": ["to-dance"]}, "answers: 'to-dance' is none of"),
        ({"answers": ["text-to-image"]}, "an input 'prompt' must be exposed"),
        ({"workflow": {"nodes": [{"id": 1}], "links": []}}, "paint.json: "),
    ],
)
def test_what_is_wrong_without_any_server_is_told_at_the_start(
    tmp_path: Path, file: Json, words: str
) -> None:
    (tmp_path / "paint.json").write_text(json.dumps({"workflow": painting(), **file}))
    with pytest.raises(SettingsError, match=words):
        ComfyUIRuntime(RuntimeOptions(workflows=tmp_path))
