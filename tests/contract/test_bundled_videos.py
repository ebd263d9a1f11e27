"""The bundled runtime's adapter keeps the contract where the server makes videos."""

import asyncio
import base64
import io
from collections.abc import Sequence
from typing import ClassVar

import av
import pytest
from pydantic import JsonValue

from diffusers_servers import STEP_SECONDS, filming_server, jobs_held
from queue_agent.runtime import Output, Progress, Runtime, RuntimeOptions
from queue_agent.testing import RuntimeContract, sample_png
from queue_agent.testing.process import ServerProcess
from queue_agent.wire.errors import Rejected
from queue_agent.wire.job import Job
from queue_agent.wire.video_and_mesh import VIDEO_TASKS
from queue_agent_runtimes.bundled import BundledRuntime
from queue_agent_runtimes.openai_videos import adapter as openai_videos

PNG = base64.b64encode(sample_png()).decode()


class VideosOnly(BundledRuntime):
    """What the adapter does where the server's models make videos."""

    task_types: ClassVar[frozenset[str]] = VIDEO_TASKS


def job(task_type: str, **content: JsonValue) -> Job:
    metadata = {"id": "job-1", "tasktype": task_type}
    return Job.model_validate({"metadata": metadata, "content": {"prompt": "a cat", **content}})


def video(**content: JsonValue) -> Job:
    return job("text-to-video", **{"frames": 4, "fps": 8, "steps": 4, **content})


class TestBundledVideos(RuntimeContract):
    adapter = VideosOnly

    @pytest.fixture(autouse=True)
    def _asks_often(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(openai_videos, "POLL_INTERVAL", 0.02)

    @classmethod
    def new_server(cls) -> ServerProcess:
        return filming_server()

    def jobs(self) -> Sequence[Job]:
        return [video(), job("image-to-video", frames=4, steps=4, first_frame=PNG)]

    def slow_job(self) -> Job:
        return video(steps=500, seed=1)

    def two_jobs(self, seconds: float = 1.0) -> tuple[Job, Job]:
        steps = min(500, int(seconds / STEP_SECONDS))
        return video(steps=steps, seed=1), video(steps=steps, seed=2)

    def bad_job(self) -> tuple[Job, str]:
        return video(n=17), "n: Input should be less than or equal to 16"

    def job_with_references(self) -> tuple[Job, set[str]]:
        first, last = "https://example.com/photo.png", "s3://bucket/last.png"
        content: dict[str, JsonValue] = {
            "prompt": "https://example.com/prompt.png",
            "negative_prompt": "s3://bucket/negative.png",
            "first_frame": first,
            "last_frame": last,
        }
        return job("image-to-video", frames=4, steps=1, **content), {first, last}

    async def jobs_held(self, server: ServerProcess) -> int:
        return await asyncio.to_thread(jobs_held, server)

    async def test_a_video_comes_with_its_seed_and_the_servers_warnings(
        self, runtime: Runtime
    ) -> None:
        reports: list[Progress] = []
        prepared = await runtime.prepare(video(seconds=0.6, frames=None, steps=60), {})
        output: Output = await runtime.run(prepared, reports.append)
        [artifact] = output.artifacts
        assert artifact.media_type == "video/mp4"
        assert isinstance(artifact.seed, int), "which the server has chosen"
        with av.open(io.BytesIO(artifact.data), "r") as played:
            assert played.streams.video[0].average_rate == 8
        assert any("as many were made" in warning for warning in output.warnings)
        assert any(0 < report.fraction < 1 for report in reports)
        output.close()

    async def test_what_a_video_is_asked_for_is_sent_in_the_servers_words(self) -> None:
        runtime = VideosOnly(RuntimeOptions())
        asked = video(
            negative_prompt="rain",
            seconds=0.5,
            frames=None,
            width=64,
            height=96,
            guidance_scale=3,
            seed=7,
            model="wan",
            loras=[{"name": "ink", "weight": 0.5}, {"name": "old"}],
        )
        prepared = await runtime.prepare(asked, {})
        assert prepared.request == {
            "prompt": "a cat",
            "negative_prompt": "rain",
            "num_inference_steps": 4,
            "guidance_scale": 3,
            "seed": 7,
            "fps": 8,
            "seconds": 0.5,
            "size": "64x96",
            "model": "wan",
            "loras": [{"name": "ink", "scale": 0.5}, {"name": "old", "scale": 1.0}],
        }
        assert prepared.warnings == ()
        assert prepared.use.models == {"wan"}
        await runtime.aclose()

    async def test_a_video_that_fails_for_a_fault_of_the_jobs_is_refused(
        self, runtime: Runtime
    ) -> None:
        with pytest.raises(Rejected, match="fit"):
            await runtime.run(await runtime.prepare(video(prompt="huge"), {}), lambda _: None)
