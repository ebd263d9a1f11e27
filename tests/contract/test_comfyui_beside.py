"""What stands beside a workflow: honoured, refused with its field's name, or named in a warning."""

import base64
import io
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from PIL import Image
from pydantic import JsonValue

from fakes import fake_runtime
from harness import PATIENCE
from queue_agent.runtime import Output, RuntimeOptions
from queue_agent.testing import ServerProcess
from queue_agent.wire.errors import Rejected
from queue_agent.wire.job import job_of
from queue_agent_runtimes.comfyui import ComfyUIRuntime

Json = dict[str, JsonValue]
OWN = (1, 2, 3)
"""The colour of the server's own `example.png`."""


def png(color: tuple[int, int, int]) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), color).save(file, "PNG")
    return file.getvalue()


def image(name: str, color: tuple[int, int, int]) -> Json:
    return {"name": name, "image": base64.b64encode(png(color)).decode()}


def node(class_type: str, **inputs: JsonValue) -> Json:
    return {"class_type": class_type, "inputs": inputs}


def showing(*names: str) -> Json:
    """A workflow that loads each file and saves it."""
    graph: Json = {}
    for number, name in enumerate(names):
        graph[f"l{number}"] = node("LoadImage", image=name)
        graph[f"s{number}"] = node("SaveImage", images=[f"l{number}", 0], filename_prefix="x")
    return graph


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    with fake_runtime("comfyui") as server:
        yield server


@pytest.fixture
async def runtime(server: ServerProcess) -> AsyncIterator[ComfyUIRuntime]:
    async with httpx.AsyncClient(base_url=server.url, timeout=PATIENCE) as client:
        await client.post("/fake/reset")
        files = {"image": ("example.png", png(OWN))}
        (await client.post("/upload/image", files=files)).raise_for_status()
    runtime = ComfyUIRuntime(RuntimeOptions(base_url=server.url))
    yield runtime
    await runtime.aclose()


async def run(runtime: ComfyUIRuntime, content: Json) -> Output:
    assert await runtime.ready()
    job = job_of({"metadata": {"id": "a", "tasktype": "pipeline"}, "content": content})
    runtime.check_places(job)
    assert list(runtime.references(job)) == []
    return await runtime.run(await runtime.prepare(job, {}), lambda _progress: None)


def colors(output: Output) -> list[Any]:
    found = []
    for artifact in output.artifacts:
        with artifact.open() as file:
            found.append(Image.open(io.BytesIO(file.read())).convert("RGB").getpixel((0, 0)))
    return found


async def test_fifty_images_come_to_the_nodes_that_name_them(runtime: ComfyUIRuntime) -> None:
    names = [f"image {number}.png" for number in range(50)]
    images: list[JsonValue] = [image(name, (number, 9, 9)) for number, name in enumerate(names)]
    output = await run(runtime, {"workflow": showing(*names), "images": images[::-1]})
    assert colors(output) == [(number, 9, 9) for number in range(50)]
    assert output.warnings == ()


@pytest.mark.parametrize(
    "name",
    [
        "../../etc/passwd",
        "/etc/cron.d/x.png",
        "..\\..\\x.png",
        "a/../../../b.png",
        "sub/folder/in.png",
        "mit Leer ü.png",
        "x" * 1000,
        ".",
        "in.png [output]",
    ],
)
async def test_a_name_is_a_name_and_no_path(
    runtime: ComfyUIRuntime, server: ServerProcess, name: str
) -> None:
    output = await run(runtime, {"workflow": showing(name), "images": [image(name, (7, 8, 9))]})
    assert colors(output) == [(7, 8, 9)]
    async with httpx.AsyncClient(base_url=server.url, timeout=PATIENCE) as client:
        files = (await client.get("/fake/state")).json()["files"]
    ours = [file for file in files if file["type"] == "input" and file["subfolder"]]
    assert [file["subfolder"].split("/")[0] for file in ours] == ["queue-agent"]


async def test_a_name_of_a_file_of_the_servers_own_means_the_jobs_for_this_job_only(
    runtime: ComfyUIRuntime,
) -> None:
    with_image: Json = {
        "workflow": showing("example.png"),
        "images": [image("example.png", (9, 9, 9))],
    }
    assert colors(await run(runtime, with_image)) == [(9, 9, 9)]
    assert colors(await run(runtime, {"workflow": showing("example.png")})) == [OWN]


async def test_one_image_may_be_named_twice_and_used_twice(runtime: ComfyUIRuntime) -> None:
    same = image("a.png", (5, 5, 5))
    output = await run(runtime, {"workflow": showing("a.png", "a.png"), "images": [same, same]})
    assert colors(output) == [(5, 5, 5)] * 2


async def test_words_that_are_also_a_name_stay_words(runtime: ComfyUIRuntime) -> None:
    graph = {**showing("cat"), "s0": node("SaveImage", images=["l0", 0], filename_prefix="cat")}
    output = await run(runtime, {"workflow": graph, "images": [image("cat", (5, 6, 7))]})
    assert colors(output) == [(5, 6, 7)]
    outputs = str(output.response["outputs"])
    assert "-cat_00001_.png" in outputs
    assert "queue-agent" not in outputs


SECRET = "c2VjcmV0" * 50


@pytest.mark.parametrize(
    ("images", "words"),
    [
        ([{"name": "a.png", "image": "!" + SECRET}], "images (a.png)"),
        ([{"name": "a.png", "image": SECRET}], "images (a.png)"),
        ([{"name": "a.png", "image": f"data:image/png;base64,{SECRET}"}], "images (a.png)"),
        ([{"name": "a.png", "image": ""}], "images[0] must be an object"),
        ([{"name": "", "image": SECRET}], "images[0] must be an object"),
        ([{"name": 5, "image": SECRET}], "images[0] must be an object"),
        ([{"image": SECRET}], "images[0] must be an object"),
        ([SECRET], "images[0] must be an object"),
        (SECRET, "images[0] must be an object"),
        ([image("a.png", (1, 1, 1)), image("a.png", (2, 2, 2))], "images[1]: another has the name"),
        ([image("a.png", (1, 1, 1)), image("b.png", (2, 2, 2))], "no node has an input b.png"),
    ],
)
async def test_images_that_cannot_be_used_are_refused_by_their_names(
    runtime: ComfyUIRuntime, images: JsonValue, words: str
) -> None:
    with pytest.raises(Rejected) as caught:
        await run(runtime, {"workflow": showing("a.png"), "images": images})
    assert words in caught.value.message
    assert SECRET not in caught.value.message + str(caught.value.details)


@pytest.mark.parametrize("wrapped", [False, True])
async def test_what_has_no_effect_is_named_and_null_is_nothing(
    runtime: ComfyUIRuntime, wrapped: bool
) -> None:
    content: Json = {
        "workflow": showing("example.png"),
        "front": True,
        "number": -5,
        "prompt_id": "x",
        "convert_output": {"format": "webp", "options": {"quality": 60, "effort": 6}},
        "webhook_v2": "on",
        "client_id": "me",
        "images": None,
        "inputs": None,
        "extra_data": None,
        "partial_execution_targets": None,
    }
    output = await run(runtime, {"input": content} if wrapped else content)
    assert colors(output) == [OWN]
    assert [words.partition(":")[0] for words in output.warnings] == [
        "convert_output.options.effort",
        "front",
        "number",
        "prompt_id",
        "webhook_v2",
    ]


async def test_of_the_output_nodes_only_the_targets_are_executed(runtime: ComfyUIRuntime) -> None:
    graph = showing("example.png", "a.png")
    content: Json = {
        "prompt": graph,
        "images": [image("a.png", (4, 4, 4))],
        "partial_execution_targets": ["s1"],
    }
    assert colors(await run(runtime, content)) == [(4, 4, 4)]


@pytest.mark.parametrize("targets", [["s9"], [], ["l0"], "s0", [5], {"s0": True}])
async def test_targets_that_name_no_output_node_are_refused(
    runtime: ComfyUIRuntime, targets: JsonValue
) -> None:
    content: Json = {"prompt": showing("example.png"), "partial_execution_targets": targets}
    with pytest.raises(Rejected) as caught:
        await run(runtime, content)
    assert caught.value.type == "invalid_workflow"


@pytest.mark.parametrize("key", ["workflow", "prompt", None])
async def test_all_of_it_stands_beside_an_editors_workflow_too(
    runtime: ComfyUIRuntime, key: str | None
) -> None:
    """`None`: within an `input`."""
    slot: Json = {"name": "images", "type": "IMAGE", "link": 1}
    made: Json = {"name": "IMAGE", "type": "IMAGE", "links": [1, 2]}
    other: Json = {**slot, "link": 2}
    document: Json = {
        "nodes": [
            {
                "id": 1,
                "type": "LoadImage",
                "widgets_values": ["in.png", "image"],
                "outputs": [made],
            },
            {"id": 2, "type": "SaveImage", "inputs": [slot], "widgets_values": ["x"]},
            {"id": 3, "type": "SaveImage", "inputs": [other], "widgets_values": ["y"]},
        ],
        "links": [[1, 1, 0, 2, 0, "IMAGE"], [2, 1, 0, 3, 0, "IMAGE"]],
    }
    beside: Json = {
        "images": [image("in.png", (6, 5, 4))],
        "partial_execution_targets": ["3"],
        "front": True,
    }
    inner: Json = {"workflow": document, **beside}
    output = await run(runtime, {"input": inner} if key is None else {key: document, **beside})
    assert colors(output) == [(6, 5, 4)]
    assert [words.partition(":")[0] for words in output.warnings] == ["front"]
