"""The adapter keeps the contract at servers of the dialect that make videos and meshes."""

import asyncio
import base64
from collections.abc import Sequence
from typing import ClassVar

import httpx
import pytest
from pydantic import JsonValue

from fakes import fake_runtime
from queue_agent.testing import RuntimeContract, sample_png
from queue_agent.testing.process import ServerProcess
from queue_agent.wire.job import Job
from queue_agent.wire.video_and_mesh import VIDEO_TASKS
from queue_agent_runtimes.openai_videos import OpenAIRuntime, adapter

STEP_SECONDS = 0.2
PNG = base64.b64encode(sample_png()).decode()


class VideosOnly(OpenAIRuntime):
    """What the adapter does where the server makes no images."""

    task_types: ClassVar[frozenset[str]] = VIDEO_TASKS


def job(task_type: str, **content: JsonValue) -> Job:
    metadata = {"id": "job-1", "tasktype": task_type}
    return Job.model_validate({"metadata": metadata, "content": {"prompt": "a cat", **content}})


def video(**content: JsonValue) -> Job:
    return job("text-to-video", **{"frames": 4, "steps": 1, **content})


def held(server: ServerProcess) -> int:
    return int(httpx.get(f"{server.url}/fake/held", timeout=60).json())


class VideoContract(RuntimeContract):
    """What all engines have in common."""

    adapter: ClassVar[type[OpenAIRuntime]] = VideosOnly
    engine: ClassVar[str]

    @pytest.fixture(autouse=True)
    def _asks_often(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(adapter, "POLL_INTERVAL", 0.05)

    @classmethod
    def new_server(cls) -> ServerProcess:
        return fake_runtime("openai", "--engine", cls.engine, "--step-seconds", str(STEP_SECONDS))

    def jobs(self) -> Sequence[Job]:
        return [video(), job("image-to-video", frames=4, steps=1, first_frame=PNG)]

    def slow_job(self) -> Job:
        return video(steps=1000)

    def two_jobs(self, seconds: float = 1.0) -> tuple[Job, Job]:
        steps = int(seconds / STEP_SECONDS)
        return video(steps=steps, seed=1), video(steps=steps, seed=2)

    def bad_job(self) -> tuple[Job, str]:
        return video(short_edge=0), "Input should be greater than or equal to 1"

    def job_with_references(self) -> tuple[Job, set[str]]:
        image = "https://example.com/photo.png"
        content: dict[str, JsonValue] = {
            "prompt": "https://example.com/prompt.png",
            "negative_prompt": "s3://bucket/negative.png",
            "first_frame": image,
        }
        return job("image-to-video", frames=4, steps=1, **content), {image}

    async def jobs_held(self, server: ServerProcess) -> int:
        return await asyncio.to_thread(held, server)


class TestVLLMOmni(VideoContract):
    engine = "vllm-omni"


class TestSGLang(VideoContract):
    """Of the adapter's task types all, since this engine has routes for all."""

    adapter = OpenAIRuntime
    engine = "sglang"
    stops_cancelled = False

    def jobs(self) -> Sequence[Job]:
        return [
            *super().jobs(),
            job("image-to-3d", steps=1, image=PNG),
            job("text-to-image", steps=1),
            job("image-to-image", steps=1, init_images=[PNG]),
        ]

    def bad_job(self) -> tuple[Job, str]:
        return job("image-to-video", prompt="", first_frame=PNG), "prompt is required"

    async def end_work(self, server: ServerProcess) -> None:
        await asyncio.to_thread(httpx.post, f"{server.url}/fake/end", timeout=60)
