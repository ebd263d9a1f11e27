"""Workflows that the operator gave a name, run by the adapter on the fake ComfyUI."""

import base64
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import cast

import httpx
import pytest
from pydantic import JsonValue

from fakes import fake_runtime
from harness import PATIENCE
from queue_agent.media.facts import facts_of
from queue_agent.runtime import Asset, Output, Prepared, Runtime, RuntimeOptions
from queue_agent.testing import ServerProcess, sample_png
from queue_agent.testing.runtime_contract.hooks import ignore
from queue_agent.wire.errors import Rejected
from queue_agent.wire.job import Job
from queue_agent_runtimes.comfyui import ComfyUIRuntime
from queue_agent_runtimes.comfyui.workflow import Node, inputs_of

Json = dict[str, JsonValue]
URL = "https://images.example.com/cat.png"


def node(class_type: str, **inputs: JsonValue) -> Json:
    return {"class_type": class_type, "inputs": inputs}


DRAW: Json = {
    "1": node("CheckpointLoaderSimple", ckpt_name="sd_xl_turbo_1.0.safetensors"),
    "2": node("CLIPTextEncode", text="the operator's", clip=["1", 1]),
    "3": node("CLIPTextEncode", text="blurry", clip=["1", 1]),
    "4": node("EmptyLatentImage", width=64, height=32, batch_size=1),
    "5": node(
        "KSampler",
        model=["1", 0],
        positive=["2", 0],
        negative=["3", 0],
        latent_image=["4", 0],
        seed=3,
        steps=4,
        cfg=1.0,
        sampler_name="euler",
        scheduler="simple",
        denoise=1.0,
    ),
    "6": node("VAEDecode", samples=["5", 0], vae=["1", 2]),
    "7": node("SaveImage", images=["6", 0], filename_prefix="flux"),
}
DRAW_INPUTS: Json = {
    "prompt": "2.text",
    "seed": "5.seed",
    "steps": "5.steps",
    "sampler_name": "5.sampler_name",
    "width": "4.width",
    "model": "1.ckpt_name",
    "guidance": "5.cfg",
}
COPY: Json = {
    "1": node("LoadImage", image="example.png"),
    "3": node("SaveImage", images=["1", 0], filename_prefix="copy"),
}
COPY_INPUTS: Json = {"image": {"to": "1.image", "required": True}}


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    with fake_runtime("comfyui") as server:
        yield server


@pytest.fixture
async def runtime(server: ServerProcess, tmp_path: Path) -> AsyncIterator[Runtime]:
    draw = {"workflow": DRAW, "inputs": DRAW_INPUTS, "answers": ["text-to-image"]}
    copy = {"workflow": COPY, "inputs": COPY_INPUTS, "answers": ["image-to-image"]}
    (tmp_path / "draw.json").write_text(json.dumps(draw))
    (tmp_path / "copy.json").write_text(json.dumps(copy))
    runtime = ComfyUIRuntime(RuntimeOptions(base_url=server.url, workflows=tmp_path))
    yield runtime
    await runtime.aclose()
    async with httpx.AsyncClient(timeout=PATIENCE) as client:
        await client.post(f"{server.url}/fake/reset", json={})


def asking(name: str, inputs: Json | None = None, **beside: JsonValue) -> Job:
    return job("pipeline", {"workflow": name, "inputs": inputs or {}, **beside})


def job(task_type: str, content: Json) -> Job:
    return Job.model_validate(
        {"metadata": {"id": "job-1", "tasktype": task_type}, "content": content}
    )


async def prepared(runtime: Runtime, job: Job) -> Prepared:
    runtime.check_places(job)
    assets = {found.url: Asset(sample_png(), "image/png") for found in runtime.references(job)}
    return await runtime.prepare(job, assets)


async def run(runtime: Runtime, job: Job) -> Output:
    return await runtime.run(await prepared(runtime, job), ignore)


def sent(prepared: Prepared, node_id: str) -> Json:
    """What a node is given."""
    graph = prepared.request["prompt"]
    assert isinstance(graph, dict)
    return inputs_of(cast("Node", graph[node_id]))


async def test_a_job_asks_for_a_workflow_by_name_with_inputs_by_name(runtime: Runtime) -> None:
    output = await run(runtime, asking("draw", {"prompt": "a cat", "seed": 11, "width": 128}))
    (image,) = output.artifacts
    assert image.seed == 11
    facts = facts_of(image)
    assert (facts.width, facts.height) == (128, 32)
    assert output.warnings == ()


async def test_a_seed_that_nobody_names_is_made_and_told(runtime: Runtime) -> None:
    first, second = [await prepared(runtime, asking("draw")) for _ in range(2)]
    assert sent(first, "5")["seed"] != sent(second, "5")["seed"]
    (image,) = (await runtime.run(second, ignore)).artifacts
    assert image.seed == sent(second, "5")["seed"]


async def test_an_input_by_url_is_fetched_and_uploaded(runtime: Runtime) -> None:
    job = asking("copy", {"image": URL})
    assert [found.url for found in runtime.references(job)] == [URL]
    assert URL not in str((await prepared(runtime, job)).request)
    (image,) = (await run(runtime, job)).artifacts
    assert facts_of(image).width == facts_of(Asset(sample_png(), "image/png")).width


async def test_what_a_workflow_does_not_take_ends_the_job(runtime: Runtime) -> None:
    for bad in (asking("paint"), asking("draw", {"promt": "a cat"}), asking("copy")):
        with pytest.raises(Rejected) as caught:
            await prepared(runtime, bad)
        assert caught.value.type == "invalid_workflow"
    with pytest.raises(Rejected) as caught:
        runtime.check_places(asking("draw", {"sampler_name": URL}))
    assert caught.value.type == "reference_forbidden"


async def test_what_stands_beside_the_name_is_a_warning(runtime: Runtime) -> None:
    output = await run(runtime, asking("draw", front=True))
    assert output.warnings == ("front: has no effect beside a workflow's name",)


async def test_jobs_that_bring_their_workflow_run_beside_those_that_name_one(
    runtime: Runtime,
) -> None:
    own = job("pipeline", {"workflow": DRAW, "inputs": {"2.text": "a cat", "5.seed": 5}})
    assert sent(await prepared(runtime, own), "2")["text"] == "a cat"


async def test_a_portable_job_is_answered_by_the_workflow_that_claims_its_task(
    runtime: Runtime,
) -> None:
    content: Json = {"prompt": "a cat", "seed": 5, "width": 64, "guidance": 2.5, "cfg_scale": 9}
    ready = await prepared(runtime, job("text-to-image", content))
    assert sent(ready, "2")["text"] == "a cat"
    assert sent(ready, "3")["text"] == "blurry", "the operator's"
    assert {name: sent(ready, "5")[name] for name in ("seed", "steps", "cfg")} == {
        "seed": 5,
        "steps": 4,
        "cfg": 2.5,
    }
    output = await runtime.run(ready, ignore)
    assert [image.seed for image in output.artifacts] == [5]
    assert output.warnings == ("cfg_scale: the workflow draw does not take it; it has its own",)


async def test_a_portable_jobs_model_is_the_servers_file_of_that_name(runtime: Runtime) -> None:
    ready = await prepared(
        runtime, job("text-to-image", {"prompt": "", "model": "sd_xl_turbo_1.0"})
    )
    assert sent(ready, "1")["ckpt_name"] == "sd_xl_turbo_1.0.safetensors"


@pytest.mark.parametrize("image", [URL, base64.b64encode(sample_png()).decode()])
async def test_a_portable_jobs_image_is_uploaded_for_the_workflow(
    runtime: Runtime, image: str
) -> None:
    content: Json = {"prompt": "", "init_images": [image], "mask": image}
    output = await run(runtime, job("image-to-image", content))
    assert len(output.artifacts) == 1
    assert output.warnings == ("mask: the workflow copy does not take it",)


async def test_a_portable_job_without_its_image_is_rejected(runtime: Runtime) -> None:
    with pytest.raises(Rejected, match="image that image-to-image needs is missing"):
        await prepared(runtime, job("image-to-image", {"prompt": "a cat"}))


async def test_portable_jobs_that_no_workflow_claims_are_done_as_before(runtime: Runtime) -> None:
    png = base64.b64encode(sample_png()).decode()
    output = await run(runtime, job("extra-single-image", {"image": png}))
    assert len(output.artifacts) == 1


async def test_the_workflows_are_told_with_their_inputs(runtime: Runtime) -> None:
    copy, draw = runtime.workflows()
    assert str(copy) == "copy (image-to-image): image (image, required)"
    assert (draw.name, draw.answers) == ("draw", ("text-to-image",))
    assert [given.kind for given in draw.inputs][:3] == ["text", "number", "number"]


async def test_an_adapter_without_a_folder_knows_no_names() -> None:
    runtime = ComfyUIRuntime(RuntimeOptions())
    try:
        assert list(runtime.workflows()) == []
        with pytest.raises(Rejected, match="known: none by name"):
            list(runtime.references(asking("draw")))
    finally:
        await runtime.aclose()
