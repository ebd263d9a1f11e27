"""Jobs in the editor's format, against the fake ComfyUI in a process of its own."""

from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
from pydantic import JsonValue

from fakes import fake_runtime
from harness import PATIENCE
from queue_agent.runtime import Asset, Output, Progress, RuntimeOptions
from queue_agent.testing import ServerProcess, sample_png
from queue_agent.wire.errors import Rejected, Unavailable
from queue_agent.wire.job import Job
from queue_agent_runtimes.comfyui import ComfyUIRuntime

Json = dict[str, JsonValue]
URL = "https://images.example.com/cat.png"


@pytest.fixture(scope="module")
def shared_server() -> Iterator[ServerProcess]:
    with fake_runtime("comfyui") as server:
        yield server


@pytest.fixture
async def server(shared_server: ServerProcess) -> AsyncIterator[ServerProcess]:
    yield shared_server
    await post(shared_server, "/fake/reset", {})


@pytest.fixture
async def runtime(server: ServerProcess) -> AsyncIterator[ComfyUIRuntime]:
    made = ComfyUIRuntime(RuntimeOptions(base_url=server.url))
    yield made
    await made.aclose()


async def post(server: ServerProcess, path: str, value: Json) -> None:
    async with httpx.AsyncClient(base_url=server.url, timeout=PATIENCE) as client:
        (await client.post(path, json=value)).raise_for_status()


def job(content: Json) -> Job:
    return Job.model_validate(
        {"metadata": {"id": "job-1", "tasktype": "pipeline"}, "content": content}
    )


def inverted(image: str, *, mode: int = 0) -> Json:
    """An image that is loaded, inverted in a subgraph, and saved."""
    image_slot: Json = {"name": "image", "type": "IMAGE", "link": 1}
    inner: Json = {
        "id": "invert",
        "inputs": [{"name": "image", "type": "IMAGE"}],
        "outputs": [{"name": "IMAGE", "type": "IMAGE"}],
        "nodes": [
            {
                "id": 8,
                "type": "ImageInvert",
                "inputs": [image_slot],
                "outputs": [{"name": "IMAGE", "type": "IMAGE"}],
            }
        ],
        "links": [
            {"id": 1, "origin_id": -10, "origin_slot": 0, "target_id": 8, "target_slot": 0},
            {"id": 2, "origin_id": 8, "origin_slot": 0, "target_id": -20, "target_slot": 0},
        ],
    }
    return {
        "nodes": [
            {"id": 1, "type": "LoadImage", "widgets_values": [image, "image"]},
            {
                "id": 2,
                "type": "invert",
                "mode": mode,
                "inputs": [image_slot],
                "outputs": [{"name": "IMAGE", "type": "IMAGE"}],
            },
            {
                "id": 3,
                "type": "SaveImage",
                "inputs": [{"name": "images", "type": "IMAGE", "link": 2}],
                "widgets_values": ["inverted"],
            },
            {"id": 4, "type": "Note", "widgets_values": [URL]},
        ],
        "links": [[1, 1, 0, 2, 0, "IMAGE"], [2, 2, 0, 3, 0, "IMAGE"]],
        "definitions": {"subgraphs": [inner]},
    }


async def run(runtime: ComfyUIRuntime, content: Json) -> Output:
    asked = job(content)
    runtime.check_places(asked)
    assets = {found.url: Asset(sample_png(), "image/png") for found in runtime.references(asked)}
    return await runtime.run(await runtime.prepare(asked, assets), _ignore)


def _ignore(_: Progress) -> None:
    pass


async def test_a_saved_workflow_runs_with_what_it_loads(runtime: ComfyUIRuntime) -> None:
    output = await run(runtime, inverted(URL))
    assert [artifact.media_type for artifact in output.artifacts] == ["image/png"]
    assert output.warnings == ()


async def test_what_was_left_out_is_told_with_the_output(runtime: ComfyUIRuntime) -> None:
    content = inverted(URL)
    nodes = content["nodes"]
    assert isinstance(nodes, list)
    nodes.append({"id": 5, "type": "EmptyImage", "widgets_values": [64, 64, 1, 0], "mode": 2})
    save = nodes[2]
    assert isinstance(save, dict)
    slots = save["inputs"]
    assert isinstance(slots, list)
    slots.append({"name": "more", "type": "IMAGE", "link": 3})
    links = content["links"]
    assert isinstance(links, list)
    links.append([3, 5, 0, 3, 1, "IMAGE"])
    output = await run(runtime, content)
    assert len(output.artifacts) == 1
    assert output.warnings == (
        "node 3 (SaveImage): more was linked to node 5 (EmptyImage), which is muted",
    )


async def test_inputs_of_inner_nodes_are_changed_by_their_whole_id(
    runtime: ComfyUIRuntime,
) -> None:
    content: Json = {"workflow": inverted("a.png"), "inputs": {"1.image": URL}}
    assert len((await run(runtime, content)).artifacts) == 1
    with pytest.raises(Rejected, match=r"node 2:8 has no input 'x'; it has: image"):
        await runtime.prepare(job({"workflow": inverted(URL), "inputs": {"2:8.x": 1}}), {})


async def test_a_url_that_was_not_fetched_is_never_sent(runtime: ComfyUIRuntime) -> None:
    with pytest.raises(Rejected) as caught:
        await runtime.prepare(job(inverted(URL)), {})
    assert caught.value.type == "reference_forbidden"


async def test_a_class_that_the_server_does_not_have_is_named(runtime: ComfyUIRuntime) -> None:
    content = inverted(URL)
    nodes = content["nodes"]
    assert isinstance(nodes, list)
    nodes.append({"id": 9, "type": "FooSampler", "title": "Mine"})
    with pytest.raises(Rejected) as caught:
        await runtime.prepare(job(content), {})
    assert caught.value.type == "invalid_workflow"
    assert caught.value.message.startswith('node 9 (FooSampler, "Mine"): this server has no such')


async def test_the_classes_are_asked_for_once_and_again_after_the_server_was_away(
    server: ServerProcess, runtime: ComfyUIRuntime
) -> None:
    await run(runtime, inverted(URL))
    await post(server, "/fake/faults", {"object_info": "missing"})
    assert len((await run(runtime, inverted(URL))).artifacts) == 1
    await post(server, "/fake/faults", {"status": 503})
    assert not await runtime.ready()
    await post(server, "/fake/faults", {"object_info": "missing"})
    with pytest.raises(Unavailable):
        await run(runtime, inverted(URL))
