"""An agent that shares ComfyUI's folders: what is there after jobs of all endings, and a kill."""

import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import JsonObject, Scene, comfyui_process, scene
from queue_agent.testing import eventually, sample_png
from queue_agent.testing.aws import EmbeddedCloud
from queue_agent.testing.process import ServerProcess

FOREIGN = {"output/ComfyUI_00001_.png", "temp/ComfyUI_temp_abcde_00001_.png", "input/cat.png"}


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """ComfyUI's folders, with somebody else's files in them."""
    folder = tmp_path / "comfyui"
    for name in FOREIGN:
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_bytes(sample_png())
    return folder


@pytest.fixture
def server(files: Path) -> Iterator[ServerProcess]:
    with comfyui_process("--folder", str(files), "--step-seconds", "0.01") as server:
        yield server


def found(folder: Path, *, previews: bool = True) -> set[str]:
    every = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    return {name for name in every if previews or name in FOREIGN or not name.startswith("temp/")}


def saving(source: str, prefix: str) -> JsonObject:
    return {
        "class_type": "SaveImage",
        "inputs": {"images": [source, 0], "filename_prefix": prefix},
    }


def job(job_id: str, url: str, **changes: JsonObject) -> JsonObject:
    """A picture that is loaded, saved twice and previewed."""

    def node(class_type: str, **inputs: object) -> JsonObject:
        return {"class_type": class_type, "inputs": inputs}

    content = {
        "1": node("LoadImage", image=url),
        "2": saving("1", "x"),
        "3": saving("1", "sub/y"),
        "4": node("PreviewImage", images=["1", 0]),
        **changes,
    }
    return {"metadata": {"id": job_id, "tasktype": "pipeline", "runtime": ""}, "content": content}


async def publish(stage: Scene, name: str, job: JsonObject) -> None:
    told: JsonObject = json.loads(json.dumps(job))
    told["metadata"]["runtime"] = name
    await stage.publish(told)


async def test_no_file_of_a_job_stays_whatever_became_of_it(
    embedded_cloud: EmbeddedCloud, tmp_path: Path, files: Path, server: ServerProcess
) -> None:
    name = f"comfyui-{secrets.token_hex(4)}"
    settings = {
        "QUEUE_AGENT_RUNTIME": "comfyui",
        "QUEUE_AGENT_RUNTIME_URL": server.url,
        "QUEUE_AGENT_RUNTIME_FILES": str(files),
    }
    async with scene(embedded_cloud, name, tmp_path, settings) as stage:
        bucket = stage.cloud.bucket(stage.deployment.bucket)
        await bucket.write("in/a.png", sample_png(), media_type="image/png")
        url = bucket.url("in/a.png")
        climbing, unknown = saving("1", "../z"), {"class_type": "Nobody", "inputs": {}}
        left = files / "output" / "0123456789abcdef-00000001-x_00001_.png"
        left.write_bytes(b"of an agent that was killed")
        os.utime(left, (1, 1))
        killed = stage.start_agent()
        await eventually(lambda: not left.exists())
        for number in range(3):
            await publish(stage, name, job(f"good-{number}", url))
        await publish(stage, name, job("climbing", url, **{"5": climbing}))
        await publish(stage, name, job("refused", url, **{"5": unknown}))
        await stage.answer("good-0")
        killed.kill()
        stage.start_agent()
        for number in range(3):
            assert (await stage.answer(f"good-{number}"))["status"] == "completed"
        assert (await stage.answer("climbing"))["status"] == "failed"
        assert (await stage.answer("refused"))["status"] == "failed"
        await stage.emptied()
        await eventually(lambda: found(files, previews=False) == FOREIGN)
        assert len(found(files) - FOREIGN) <= 2, "previews of what was under way at the kill"
