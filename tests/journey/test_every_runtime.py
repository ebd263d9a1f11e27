"""The same portable job on every bundled adapter; workflows on ComfyUI."""

import base64
import io
import json
import secrets
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from cog_servers import real_cog
from diffusers_servers import tiny_server, upscaling_options
from fakes import fake_runtime
from harness import JsonObject, Scene, comfyui_process, scene, webui_process
from queue_agent.testing import sample_png
from queue_agent.testing.aws import EmbeddedCloud
from queue_agent.testing.process import ServerProcess
from triton_servers import fake_triton

MESSAGES = Path(__file__).parent.parent / "messages"

RUNTIMES: dict[str, Callable[[], ServerProcess]] = {
    "webui": webui_process,
    "comfyui": comfyui_process,
    "diffusers": tiny_server,
    "openai": tiny_server,
    "cog": real_cog,
    "http": lambda: fake_runtime("http_apis", "fooocus"),
    "triton": fake_triton,
}
OPTIONS = {
    "http": {"QUEUE_AGENT_RUNTIME_OPTIONS": '{"adapter": "fooocus"}'},
    "triton": {"QUEUE_AGENT_RUNTIME_OPTIONS": '{"model": "painter"}'},
}
"""Settings without which an adapter is none."""


def message(name: str, runtime: str) -> JsonObject:
    """A sample message, addressed to a runtime."""
    body: JsonObject = json.loads((MESSAGES / f"{name}.json").read_text())
    job: JsonObject = body.get("task", body)
    job["metadata"]["runtime"] = runtime
    return job


def settings(adapter: str, server: ServerProcess) -> dict[str, str]:
    place = {"QUEUE_AGENT_RUNTIME": adapter, "QUEUE_AGENT_RUNTIME_URL": server.url}
    return place | OPTIONS.get(adapter, {})


def shape(value: object) -> object:
    """The names in a JSON value, without the values."""
    if isinstance(value, dict):
        return {name: shape(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return None


async def picture(stage: Scene, url: str) -> tuple[int, int]:
    with Image.open(io.BytesIO(await stage.read(url))) as image:
        image.load()
        return image.size


async def answer_of(
    embedded_cloud: EmbeddedCloud, folder: Path, adapter: str, server: ServerProcess
) -> JsonObject:
    name = f"{adapter}-{secrets.token_hex(4)}"
    async with scene(embedded_cloud, name, folder, settings(adapter, server)) as stage:
        stage.start_agent()
        job = message("portable", name)
        job["content"] |= {"width": 128, "height": 64, "steps": 2}
        await stage.publish(job)
        answer = await stage.answer("portable-1")
        assert answer["status"] == "completed", answer
        assert [await picture(stage, url) for url in answer["image_url"]] == [(128, 64)] * 2
        assert answer["images"][0]["seed"] == 7
        await stage.emptied()
        return answer


@pytest.mark.parametrize("adapter", [name for name in RUNTIMES if name != "webui"])
async def test_one_portable_job_gives_the_same_notification_on(
    embedded_cloud: EmbeddedCloud, tmp_path: Path, adapter: str
) -> None:
    folders = [tmp_path / "webui", tmp_path / adapter]
    for folder in folders:
        folder.mkdir()
    with webui_process() as server:
        expected = await answer_of(embedded_cloud, folders[0], "webui", server)
    with RUNTIMES[adapter]() as server:
        answer = await answer_of(embedded_cloud, folders[1], adapter, server)
    expected.pop("warnings", None)
    warnings = answer.pop("warnings", [])
    assert shape(answer) == shape(expected)
    assert all(isinstance(warning, str) for warning in warnings)


async def test_the_bundled_runtime_makes_an_image_larger(
    embedded_cloud: EmbeddedCloud, tmp_path: Path
) -> None:
    name = f"diffusers-{secrets.token_hex(4)}"
    image = base64.b64encode(sample_png(48, 32)).decode()
    content: JsonObject = {"image": image, "upscaling_resize": 3, "steps": 2}
    upscalers = {"plain": "Lanczos", "model": "large", "unknown": "R-ESRGAN 4x+"}
    with tiny_server(*upscaling_options()) as server:
        async with scene(embedded_cloud, name, tmp_path, settings("diffusers", server)) as stage:
            stage.start_agent()
            for one, upscaler in upscalers.items():
                asked = {**content, "upscaler_1": upscaler}
                await stage.publish(stage.job(one, asked, tasktype="extra-single-image"))
            for one in ("plain", "model"):
                answer = await stage.answer(one)
                assert answer["status"] == "completed", answer
                assert [await picture(stage, url) for url in answer["image_url"]] == [(144, 96)]
            answer = await stage.answer("unknown")
            assert answer["error"]["type"] == "runtime_rejected"
            assert "there are 'lanczos', 'large'" in answer["error"]["message"]


async def test_a_workflow_without_a_model_yields_every_saved_image(
    embedded_cloud: EmbeddedCloud, tmp_path: Path
) -> None:
    name = f"comfyui-{secrets.token_hex(4)}"
    with comfyui_process() as server:
        async with scene(embedded_cloud, name, tmp_path, settings("comfyui", server)) as stage:
            stage.start_agent()
            await stage.publish(message("comfyui-no-model", name))
            answer = await stage.answer("no-model-1")
            assert answer["status"] == "completed", answer
            assert [await picture(stage, url) for url in answer["image_url"]] == [(64, 64)] * 2


async def test_a_workflow_that_is_refused_names_the_node_and_the_input(
    embedded_cloud: EmbeddedCloud, tmp_path: Path
) -> None:
    name = f"comfyui-{secrets.token_hex(4)}"
    with comfyui_process() as server:
        async with scene(embedded_cloud, name, tmp_path, settings("comfyui", server)) as stage:
            stage.start_agent()
            job = message("guidance-pipeline", name)
            del job["content"]["5"]["inputs"]["seed"]
            await stage.publish(job)
            error = (await stage.answer("pipeline-1"))["error"]
            assert error["type"] == "invalid_workflow"
            assert "KSampler" in error["message"]
            assert "seed" in error["message"]
