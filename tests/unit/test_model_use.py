"""What jobs have runtimes load, what runtimes have loaded, and loading ahead."""

import asyncio
import base64
import threading
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import uvicorn
from pydantic import JsonValue

from queue_agent.runtime import OWN, Loaded, ModelUse, RuntimeOptions
from queue_agent.testing import eventually, sample_png
from queue_agent.wire.job import Job
from queue_agent.wire.work import model_named
from queue_agent_diffusers.engine.engine import Engine
from queue_agent_diffusers.engine.model import OnStep
from queue_agent_diffusers.engine.pool import ModelPool, Served
from queue_agent_diffusers.engine.requests import ImageRequest, Pictures
from queue_agent_diffusers.engine.unbatched import UnbatchedModel
from queue_agent_diffusers.http.app import create_app
from queue_agent_diffusers.options import Options
from queue_agent_runtimes.comfyui.models import use_of as use_of_workflow
from queue_agent_runtimes.openai_images import DiffusersRuntime, OpenAIImagesRuntime

A, B = ModelUse.named(["a"]), ModelUse.named(["b"])


def test_a_model_has_one_name_however_jobs_and_servers_call_it() -> None:
    names = ["dreamy", "dreamy.safetensors", "sd15/dreamy.ckpt [0a1b2c3d4e]", "x\\dreamy.pt"]
    assert {ModelUse.named([name]) for name in names} == {ModelUse.named(["dreamy"])}
    assert ModelUse.named(["v1.5"]) != ModelUse.named(["v1"])


def test_nothing_is_missing_of_what_is_unknown() -> None:
    assert Loaded().lacks(A) == "nothing"
    assert Loaded((A,)).lacks(ModelUse()) == "nothing"
    assert Loaded((A,)).after(ModelUse()) == Loaded((A,))


def test_the_model_that_was_not_used_for_the_longest_time_makes_room() -> None:
    c = ModelUse.named(["c"])
    kept = Loaded(most=2).after(A).after(B).after(A).after(c)
    assert [kept.lacks(use) for use in (A, B, c)] == ["nothing", "model", "nothing"]


def test_other_loras_on_the_same_model_are_less_than_another_model() -> None:
    one, two = ModelUse.named(["a"], ["x"]), ModelUse.named(["a"], ["x", "y"])
    assert Loaded((two,)).lacks(one) == "nothing"
    assert Loaded((one,)).lacks(two) == "loras"
    assert Loaded((one,)).after(two) == Loaded((two,))


@pytest.mark.parametrize("adapter", [OpenAIImagesRuntime, DiffusersRuntime])
@pytest.mark.parametrize(
    ("content", "use"),
    [
        ({}, ModelUse.named([OWN])),
        ({"model": "dreamy.safetensors"}, ModelUse.named(["dreamy"])),
        (
            {"override_settings": {"sd_model_checkpoint": "dreamy [0a1b2c]"}},
            ModelUse.named(["dreamy"]),
        ),
    ],
)
async def test_servers_of_the_dialect_load_the_model_that_a_job_names(
    adapter: type[OpenAIImagesRuntime], content: Mapping[str, JsonValue], use: ModelUse
) -> None:
    prepared = await adapter(RuntimeOptions()).prepare(job(content), {})
    assert prepared.use == use


async def test_the_bundled_runtime_loads_the_loras_of_a_job() -> None:
    asked = job({"model": "a", "loras": [{"name": "x.safetensors"}, {"name": "y"}]})
    prepared = await DiffusersRuntime(RuntimeOptions()).prepare(asked, {})
    assert prepared.use == ModelUse.named(["a"], ["x", "y"])


@pytest.mark.parametrize(
    ("content", "use"),
    [
        ({}, ModelUse()),
        ({"upscaler_1": "Lanczos", "model": "dreamy"}, ModelUse()),
        ({"upscaler_1": "None"}, ModelUse()),
        ({"upscaler_1": "x4", "model": "dreamy"}, ModelUse.named(["x4"])),
    ],
)
async def test_what_makes_an_image_larger_is_the_upscaler_alone(
    content: Mapping[str, JsonValue], use: ModelUse
) -> None:
    told = {"id": "job-1", "tasktype": "extra-single-image"}
    image = base64.b64encode(sample_png()).decode()
    asked = Job.model_validate({"metadata": told, "content": {"image": image, **content}})
    prepared = await DiffusersRuntime(RuntimeOptions()).prepare(asked, {})
    assert prepared.use == use
    assert model_named(asked) == next(iter(use.models), None)


def test_a_workflow_loads_what_its_loaders_name() -> None:
    workflow = {
        "1": node("CheckpointLoaderSimple", ckpt_name="sd15/dreamy.safetensors"),
        "2": node("LoraLoader", lora_name="x.safetensors", model=["1", 0]),
        "3": node("UNETLoader", unet_name="flux.safetensors"),
        "4": node("DualCLIPLoader", clip_name1="t5.safetensors", clip_name2="l.safetensors"),
        "5": node("CLIPTextEncode", text="ckpt_name.safetensors"),
        "6": node("SaveImage", filename_prefix="x.safetensors"),
        "7": node("VAELoader", vae_name="small.safetensors"),
    }
    assert use_of_workflow(workflow) == ModelUse.named(["dreamy", "flux", "t5", "l"], ["x"])


@pytest.mark.parametrize(
    ("outputs", "targets", "models"),
    [
        (["SaveImage", "PreviewImage"], None, ["a", "b"]),
        (["SaveImage"], None, ["a"]),
        (["SaveImage", "PreviewImage"], ["5"], ["b"]),
        (["SaveImage"], ["nobody"], ["a", "b", "c"]),
        (["SaveVideo"], None, ["a", "b", "c"]),
        ([], None, ["a", "b", "c"]),
    ],
)
def test_a_workflow_loads_only_what_its_outputs_need(
    outputs: list[str], targets: list[str] | None, models: list[str]
) -> None:
    workflow = {
        "1": node("CheckpointLoaderSimple", ckpt_name="a.safetensors"),
        "2": node("CheckpointLoaderSimple", ckpt_name="b.safetensors"),
        "3": node("CheckpointLoaderSimple", ckpt_name="c.safetensors"),
        "4": node("SaveImage", images=["6", 0]),
        "5": node("PreviewImage", images=["7", 0]),
        "6": node("KSampler", model=["1", 0], again=["6", 0]),
        "7": node("KSampler", model=["2", 0]),
        "8": node("KSampler", model=["3", 0]),
    }
    assert use_of_workflow(workflow, outputs, targets) == ModelUse.named(models)


def node(class_type: str, **inputs: JsonValue) -> dict[str, JsonValue]:
    return {"class_type": class_type, "inputs": inputs}


def job(content: Mapping[str, JsonValue]) -> Job:
    told = {"id": "job-1", "tasktype": "text-to-image"}
    return Job.model_validate({"metadata": told, "content": {"prompt": "x", **content}})


class Weights(UnbatchedModel):
    """A model of so many bytes that draws nothing."""

    def __init__(self, memory: int) -> None:
        self.memory = memory

    def generate(self, request: ImageRequest, on_step: OnStep) -> Pictures:
        raise NotImplementedError


class Site:
    """A bundled server whose second model is let in when the test says so."""

    def __init__(self, *, size: int, budget: int, second: str = "b") -> None:
        self.may_load = threading.Event()
        self.loads: list[str] = []

        def load_second() -> Weights:
            self.loads.append(second)
            self.may_load.wait(60)
            return Weights(size)

        served = {"a": Served(lambda: Weights(10)), second: Served(load_second, lambda: size)}
        self.engine = Engine(ModelPool(served, budget=lambda: budget))

    @asynccontextmanager
    async def serving(self, **options: Any) -> AsyncIterator[DiffusersRuntime]:
        """The adapter of that server, once its first model is loaded."""
        self.engine.start()
        config = uvicorn.Config(
            create_app(self.engine, options=Options(**options)), port=0, log_level="warning"
        )
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve())
        await eventually(lambda: server.started and self.engine.ready)
        port = server.servers[0].sockets[0].getsockname()[1]
        runtime = DiffusersRuntime(RuntimeOptions(base_url=f"http://127.0.0.1:{port}"))
        try:
            yield runtime
        finally:
            self.may_load.set()
            await runtime.aclose()
            server.should_exit = True
            await serving


async def test_the_bundled_runtime_loads_a_model_ahead_where_it_fits_beside_the_other() -> None:
    site = Site(size=10, budget=25)
    async with site.serving() as runtime:
        assert await runtime.loaded() == Loaded((ModelUse.named(["a", OWN]),))
        await runtime.preload(B)
        await eventually(lambda: site.loads == ["b"])
        site.may_load.set()
        await eventually(lambda: site.engine.pool.state("b") == "loaded")
        assert await runtime.loaded() == Loaded((ModelUse.named(["a", OWN]), B), most=2)


async def test_the_bundled_runtime_loads_an_upscaler_ahead_by_the_name_that_jobs_use() -> None:
    site = Site(size=10, budget=25, second="hub/upscaler")
    x4 = ModelUse.named(["x4"])
    async with site.serving(upscalers={"x4": "hub/upscaler"}) as runtime:
        assert await runtime.loaded() == Loaded((ModelUse.named(["a", OWN]),))
        await runtime.preload(x4)
        site.may_load.set()
        await eventually(lambda: site.engine.pool.state("hub/upscaler") == "loaded")
        assert await runtime.loaded() == Loaded((ModelUse.named(["a", OWN]), x4), most=2)


@pytest.mark.parametrize("size", [16, 0])
async def test_it_loads_none_ahead_that_does_not_fit_or_whose_size_nobody_knows(size: int) -> None:
    site = Site(size=size, budget=25)
    async with site.serving() as runtime:
        await runtime.loaded()
        await runtime.preload(B)
        await runtime.preload(ModelUse.named(["unheard of"]))
        answer = await ask(runtime, site)
        assert [entry["state"] for entry in answer["data"]] == ["loaded", "unloaded"]
        assert site.loads == []


async def ask(runtime: DiffusersRuntime, site: Site) -> dict[str, list[dict[str, str]]]:
    """The server's list, once the engine has done what it was told before."""
    done = asyncio.get_running_loop().run_in_executor(None, site.engine.unload("b").result)
    await done
    transport = httpx.ASGITransport(create_app(site.engine))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        listed: dict[str, list[dict[str, str]]] = (await client.get("/v1/models")).json()
    return listed
