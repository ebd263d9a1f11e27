"""Nodes that become others while they run: what those put out is their job's, in its order."""

import io
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from PIL import Image
from pydantic import JsonValue

from fakes import fake_runtime
from harness import PATIENCE
from queue_agent.runtime import Output, Runtime, RuntimeOptions
from queue_agent.testing import ServerProcess
from queue_agent.wire.errors import Rejected
from queue_agent.wire.job import job_of
from queue_agent_runtimes.comfyui import ComfyUIRuntime

Json = dict[str, JsonValue]


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    with fake_runtime("comfyui") as server:
        yield server


@pytest.fixture
async def runtime(server: ServerProcess) -> AsyncIterator[Runtime]:
    await asked(server, "POST", "/fake/reset")
    runtime = ComfyUIRuntime(RuntimeOptions(base_url=server.url))
    try:
        yield runtime
    finally:
        await runtime.aclose()


async def asked(server: ServerProcess, method: str, path: str, body: Json | None = None) -> Any:
    async with httpx.AsyncClient(base_url=server.url, timeout=PATIENCE) as client:
        return (await client.request(method, path, json=body)).json()


def node(class_type: str, **inputs: JsonValue) -> Json:
    return {"class_type": class_type, "inputs": inputs}


def empty(color: int = 7) -> Json:
    return node("EmptyImage", width=16, height=16, batch_size=1, color=color)


async def run(runtime: Runtime, workflow: Json, job_id: str = "a", **metadata: Any) -> Output:
    body: Json = {
        "metadata": {"id": job_id, "runtime": "r", "tasktype": "pipeline", **metadata},
        "content": workflow,
    }
    prepared = await runtime.prepare(job_of(body), {})
    return await runtime.run(prepared, lambda _progress: None)


def colors(output: Output) -> list[int]:
    """The blue of each image's first pixel."""
    found = []
    for artifact in output.artifacts:
        with artifact.open() as file:
            pixel = Image.open(io.BytesIO(file.read())).convert("RGB").getpixel((0, 0))
        assert isinstance(pixel, tuple)
        found.append(int(pixel[2]))
    return found


async def test_images_that_inner_nodes_send_come_in_the_order_of_their_ids(
    runtime: Runtime,
) -> None:
    """They are sent from the last to the first, and a preview between is a PNG, too."""
    workflow: Json = {"1": empty(), "5": node("ExpandingSender", image=["1", 0], senders=12)}
    output = await run(runtime, workflow)
    assert colors(output) == list(range(1, 13))
    assert output.warnings == ()


async def test_what_inner_nodes_put_out_stands_where_their_node_stands(runtime: Runtime) -> None:
    workflow: Json = {
        "9": node("SaveImage", images=["0", 0], filename_prefix="first"),
        "57:8": node("ExpandingSender", image=["0", 0], senders=2),
        "3": node("SaveImageWebsocket", images=["4", 0]),
        "5.0": node("ExpandingSender", image=["4", 0], senders=1),
        "2": node("SaveImage", images=["4", 0], filename_prefix="last"),
        "0": empty(50),
        "4": empty(60),
    }
    assert colors(await run(runtime, workflow)) == [50, 1, 2, 60, 1, 60]


async def test_files_of_inner_nodes_are_collected_and_their_previews_left(runtime: Runtime) -> None:
    saving = node("SaveImage", images=["1", 0], filename_prefix="x")
    first: Json = {"1": node("QASubgraph", steps=2, seed=3), "2": saving}
    assert len((await run(runtime, first)).artifacts) == 2
    second: Json = {"1": node("QASubgraph", steps=2, seed=4), "2": saving}
    assert len((await run(runtime, second, include_temp=True)).artifacts) == 3


async def test_a_server_that_remembers_the_node_sends_its_images_again(runtime: Runtime) -> None:
    """It remembers what inner nodes put out for theirs, but sends nothing again by itself."""
    workflow: Json = {"1": empty(), "5": node("ExpandingSender", image=["1", 0], senders=2)}
    assert colors(await run(runtime, workflow, "a")) == [1, 2]
    assert colors(await run(runtime, workflow, "b")) == [1, 2]


async def test_a_workflow_that_shows_nothing_is_done_all_the_same(runtime: Runtime) -> None:
    workflow: Json = {
        "1": empty(),
        "2": node("QABlocker", image=["1", 0], message=""),
        "3": node("PreviewImage", images=["2", 0]),
    }
    for job_id in ("a", "b"):
        output = await run(runtime, workflow, job_id)
        assert (output.artifacts, output.missing) == ((), ())
        assert output.warnings == ("The workflow produced no output.",)


@pytest.mark.parametrize(
    ("how", "missing"),
    [
        ("absolute", ["outside its folder"]),
        ("missing", ["nope.png"]),
        ("backslash", ["a.png"]),
        ("none", []),
        ("tuple", []),
        ("nan", []),
    ],
)
async def test_an_odd_value_of_a_node_takes_nothing_from_the_images_of_others(
    runtime: Runtime, how: str, missing: list[str]
) -> None:
    workflow: Json = {
        "1": empty(),
        "2": node("SaveImage", images=["1", 0], filename_prefix="x"),
        "3": node("QAWinPath", images=["1", 0], how=how),
    }
    output = await run(runtime, workflow)
    assert colors(output) == [7]
    assert len(output.missing) == len(missing)
    for told, words in zip(output.missing, missing, strict=True):
        assert words in told


@pytest.mark.parametrize(
    ("others", "left_out"),
    [
        ({"5": node("ImageInvert", image=["6", 0]), "6": node("ImageInvert", image=["5", 0])}, 0),
        ({"5": node("ImageInvert", image=["99", 0])}, 0),
        ({"5": node("ImageInvert", image=[1, 0])}, 0),
        ({"5": node("SaveImage", images=["99", 0], filename_prefix="y")}, 1),
        ({"5": node("SaveImage", images=[1, 0], filename_prefix="y")}, 1),
    ],
)
async def test_links_that_no_sound_output_needs_are_the_servers_to_leave_out(
    runtime: Runtime, others: Json, left_out: int
) -> None:
    saving = node("SaveImage", images=["1", 0], filename_prefix="x")
    assert await runtime.ready()
    output = await run(runtime, {"1": empty(), "2": saving, **others})
    assert colors(output) == [7]
    assert [words.startswith("ComfyUI left out: node 5") for words in output.warnings] == [
        True
    ] * left_out
    needing: Json = node("SaveImage", images=["5", 0], filename_prefix="x")
    with pytest.raises(Rejected, match=r"circle|links to node 99|instead of \[1, 0\]"):
        await run(runtime, {"1": empty(), **others, "2": needing})
