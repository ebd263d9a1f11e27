"""The generic adapter keeps the contract at a server of the dialect."""

import asyncio
import base64
from collections.abc import Sequence

from pydantic import JsonValue

from diffusers_servers import jobs_held, painting_server
from queue_agent.testing import RuntimeContract, sample_png
from queue_agent.testing.process import ServerProcess
from queue_agent.wire.job import Job
from queue_agent_runtimes.openai_images import OpenAIImagesRuntime

PNG = base64.b64encode(sample_png()).decode()


def job(task_type: str, **content: JsonValue) -> Job:
    metadata = {"id": "job-1", "tasktype": task_type}
    return Job.model_validate({"metadata": metadata, "content": {"prompt": "a cat", **content}})


class TestOpenAIImages(RuntimeContract):
    adapter = OpenAIImagesRuntime

    @classmethod
    def new_server(cls) -> ServerProcess:
        return painting_server()

    def jobs(self) -> Sequence[Job]:
        return [
            job("text-to-image", steps=4, width=64, height=64),
            job("image-to-image", steps=4, width=64, height=64, init_images=[PNG]),
        ]

    def slow_job(self) -> Job:
        return job("text-to-image", steps=500, n=16, seed=1, width=64, height=64)

    def two_jobs(self, seconds: float = 1.0) -> tuple[Job, Job]:
        steps = min(500, int(50 * seconds))
        first, second = (
            job("text-to-image", steps=steps, seed=seed, width=64, height=64) for seed in (1, 2)
        )
        return first, second

    def bad_job(self) -> tuple[Job, str]:
        return job("text-to-image", n=17), "n: Input should be less than or equal to 16"

    def job_with_references(self) -> tuple[Job, set[str]]:
        image, mask = "https://example.com/photo.png", "s3://bucket/mask.png"
        content: dict[str, JsonValue] = {
            "prompt": "https://example.com/prompt.png",
            "negative_prompt": "s3://bucket/negative.png",
            "steps": 4,
            "width": 64,
            "height": 64,
            "init_images": [image],
            "mask": mask,
        }
        return job("image-to-image", **content), {image, mask}

    async def jobs_held(self, server: ServerProcess) -> int:
        return await asyncio.to_thread(jobs_held, server)
