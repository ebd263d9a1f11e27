"""The contract's jobs for the models of `fakes.triton.served`, on the fake and on a real Triton."""

import asyncio
import base64
from collections.abc import Sequence
from typing import ClassVar

from pydantic import JsonValue

from queue_agent.runtime import Runtime, RuntimeOptions
from queue_agent.testing import RuntimeContract, sample_png
from queue_agent.testing.process import ServerProcess
from queue_agent.testing.waiting import eventually
from queue_agent.wire.job import Job
from queue_agent_runtimes.triton import TritonRuntime

PNG = base64.b64encode(sample_png()).decode()
STEP_SECONDS = 0.4


def triton_job(task_type: str = "text-to-image", **content: JsonValue) -> Job:
    metadata = {"id": "job-1", "tasktype": task_type}
    return Job.model_validate({"metadata": metadata, "content": content})


def painting(task_type: str = "text-to-image", **content: JsonValue) -> Job:
    return triton_job(task_type, **{"prompt": "a cat", **content})


class TritonContract(RuntimeContract):
    adapter: ClassVar[type[Runtime]] = TritonRuntime
    stops_cancelled: ClassVar[bool] = False

    def options(self, url: str) -> RuntimeOptions:
        return RuntimeOptions(base_url=url, own={"model": "painter"})

    def jobs(self) -> Sequence[Job]:
        return [
            painting(model="files", steps=1),
            painting("image-to-image", steps=1, init_images=[PNG]),
            triton_job("pipeline", model="files", inputs={"prompt": "a cat", "steps": 1}),
        ]

    def slow_job(self) -> Job:
        return painting(steps=500, seed=1)

    def two_jobs(self, seconds: float = 1.0) -> tuple[Job, Job]:
        steps = max(1, round(seconds / STEP_SECONDS))
        return painting(steps=steps, seed=1), painting(steps=steps, seed=2)

    def bad_job(self) -> tuple[Job, str]:
        return painting(steps=501), "steps: at most 500"

    def job_with_references(self) -> tuple[Job, set[str]]:
        image = "https://example.com/photo.png"
        content: dict[str, JsonValue] = {
            "prompt": "https://example.com/prompt.png",
            "negative_prompt": "s3://bucket/negative.png",
            "steps": 1,
            "init_images": [image],
        }
        return painting("image-to-image", **content), {image}

    async def cancel_a_run_that_goes_on(self, runtime: Runtime, server: ServerProcess) -> None:
        prepared = await runtime.prepare(self.slow_job(), {})
        async with self.running(runtime, self.slow_job()) as task:
            await eventually(lambda: self.busy(server))
            task.cancel()
            await asyncio.wait({task})
        assert await runtime.still_runs(prepared) is None
        assert await self.busy(server)
