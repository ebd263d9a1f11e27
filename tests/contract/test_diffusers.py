"""The bundled runtime's adapter keeps the contract at the real server with the tiny model."""

import asyncio
import base64
import io
from collections.abc import Iterator, Sequence
from typing import ClassVar

import pytest
from PIL import Image, ImageChops
from pydantic import JsonValue

from diffusers_servers import conditioning_options, jobs_held, painting_server, tiny_server
from queue_agent.runtime import Output, Progress, Runtime
from queue_agent.testing import FaultProxy, RuntimeContract, eventually, sample_png
from queue_agent.testing.process import ServerProcess
from queue_agent.wire.job import Job
from queue_agent.wire.video_and_mesh import VIDEO_TASKS
from queue_agent_runtimes.bundled import BundledRuntime

PNG = base64.b64encode(sample_png()).decode()
EDGES: dict[str, JsonValue] = {"name": "edges", "image": PNG, "scale": 0.5, "end": 0.9}
FACE: dict[str, JsonValue] = {"name": "face", "image": PNG}


def job(task_type: str, **content: JsonValue) -> Job:
    metadata = {"id": "job-1", "tasktype": task_type}
    return Job.model_validate({"metadata": metadata, "content": {"prompt": "a cat", **content}})


def difference(one: Output, other: Output) -> int:
    """The largest one between two outputs' first pictures, of 255."""
    pictures = [Image.open(io.BytesIO(output.artifacts[0].data)) for output in (one, other)]
    return max(ImageChops.difference(*pictures).tobytes())


class ImagesOnly(BundledRuntime):
    """What the adapter does where the server's models make images."""

    task_types: ClassVar[frozenset[str]] = BundledRuntime.task_types - VIDEO_TASKS


class TestDiffusers(RuntimeContract):
    adapter = ImagesOnly

    @pytest.fixture(scope="class")
    @classmethod
    def server(cls) -> Iterator[ServerProcess]:
        with tiny_server(*conditioning_options()) as server:
            yield server

    @classmethod
    def new_server(cls) -> ServerProcess:
        """For tests that end one: the same server, spared the seconds that torch takes to load."""
        return painting_server()

    def jobs(self) -> Sequence[Job]:
        return [
            job("text-to-image", steps=4, width=64, height=64),
            job("image-to-image", steps=4, width=64, height=64, init_images=[PNG]),
            job("text-to-image", steps=4, controls=[EDGES], ip_adapters=[FACE]),
            job("extra-single-image", image=PNG, upscaler_1="Lanczos", upscaling_resize=1.5),
        ]

    def slow_job(self) -> Job:
        return job("text-to-image", steps=500, n=8, seed=1, width=512, height=512)

    def two_jobs(self, seconds: float = 1.0) -> tuple[Job, Job]:
        """Of two sizes: jobs of one size share passes, where rounding may differ in a bit."""
        steps = min(500, int(60 * seconds))
        first, second = (
            job("text-to-image", steps=steps, seed=1, width=width, height=64) for width in (64, 72)
        )
        return first, second

    def bad_job(self) -> tuple[Job, str]:
        return job("text-to-image", n=17), "n: Input should be less than or equal to 16"

    def job_with_references(self) -> tuple[Job, set[str]]:
        image, mask = "https://example.com/photo.png", "s3://bucket/mask.png"
        edges, face = "https://example.com/edges.png", "s3://bucket/face.png"
        content: dict[str, JsonValue] = {
            "prompt": "https://example.com/prompt.png",
            "negative_prompt": "s3://bucket/negative.png",
            "steps": 4,
            "width": 64,
            "height": 64,
            "init_images": [image],
            "mask": mask,
            "controls": [EDGES, {**EDGES, "image": edges}],
            "ip_adapters": [{**FACE, "image": face}],
        }
        return job("image-to-image", **content), {image, mask, edges, face}

    async def jobs_held(self, server: ServerProcess) -> int:
        return await asyncio.to_thread(jobs_held, server)

    async def test_progress_follows_the_steps(self, runtime: Runtime) -> None:
        reports: list[Progress] = []
        slow_enough = job("text-to-image", steps=20, seed=1, width=512, height=512)
        await runtime.run(await runtime.prepare(slow_enough, {}), reports.append)
        *between, last = reports
        assert between
        assert all(report.steps == 20 and report.step for report in between)
        assert last.fraction == 1.0

    async def test_two_jobs_that_share_steps_give_each_its_own_outputs(
        self, runtime: Runtime
    ) -> None:
        jobs = [job("text-to-image", steps=20, seed=seed, width=64, height=64) for seed in (1, 2)]
        alone = [await self.prepare_and_run(runtime, one) for one in jobs]
        together = await asyncio.gather(*(self.prepare_and_run(runtime, one) for one in jobs))
        for one, other in zip(alone, together, strict=True):
            assert difference(one, other) <= 1
        assert difference(*together) > 20

    async def test_its_concurrency_is_what_the_server_batches(self, runtime: Runtime) -> None:
        assert runtime.concurrency == 1
        assert await runtime.ready()
        assert runtime.concurrency == 4

    async def test_cancelling_asks_the_server_to_stop_the_job(self, server: ServerProcess) -> None:
        async with FaultProxy(server.url) as proxy, self.opened(proxy.url) as runtime:
            run = asyncio.create_task(
                runtime.run(await runtime.prepare(self.slow_job(), {}), lambda _: None)
            )
            await eventually(lambda: self.busy(server))
            run.cancel()
            await asyncio.wait({run})
            assert proxy.count(lambda request: request.method == "DELETE") == 1
        await eventually(lambda: self.idle(server))
