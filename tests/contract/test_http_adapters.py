"""The declarations that are shipped keep the contract, each at a server of its API."""

import asyncio
import json
import urllib.request
from collections.abc import Sequence
from typing import ClassVar

from pydantic import JsonValue

from fakes import fake_runtime
from queue_agent.runtime import RuntimeOptions
from queue_agent.testing import RuntimeContract
from queue_agent.testing.process import ServerProcess
from queue_agent.wire.job import Job
from queue_agent_runtimes.http import HttpRuntime


def job(task_type: str = "text-to-image", **content: JsonValue) -> Job:
    metadata = {"id": "job-1", "tasktype": task_type}
    sized = {"prompt": "a cat", "steps": 2, "width": 64, "height": 64, **content}
    return Job.model_validate({"metadata": metadata, "content": sized})


def steps_of(seconds: float) -> int:
    """How many keep the engine of the fakes busy for so long."""
    return int((seconds * 5000) ** 0.5)


class DeclaredServer(RuntimeContract):
    """What the servers have in common."""

    __test__ = False
    adapter = HttpRuntime
    declaration: ClassVar[str]
    most_steps: ClassVar[int] = 1000
    takes_two_jobs: ClassVar[bool] = False
    stops_cancelled: ClassVar[bool] = False

    @classmethod
    def new_server(cls) -> ServerProcess:
        return fake_runtime("http_apis", cls.declaration)

    def options(self, url: str) -> RuntimeOptions:
        return RuntimeOptions(base_url=url, own={"adapter": self.declaration})

    def jobs(self) -> Sequence[Job]:
        return [job()]

    def slow_job(self) -> Job:
        return job(steps=1000, seed=1)

    def two_jobs(self, seconds: float = 1.0) -> tuple[Job, Job]:
        steps = steps_of(seconds)
        return job(steps=steps, seed=1), job(steps=steps, seed=2)

    def job_with_references(self) -> tuple[Job, set[str]]:
        return job(prompt="https://example.com/p.png", negative_prompt="s3://bucket/n.png"), set()

    async def jobs_held(self, server: ServerProcess) -> int:
        return await asyncio.to_thread(ask, f"{server.url}/held")

    async def end_work(self, server: ServerProcess) -> None:
        await asyncio.to_thread(ask, f"{server.url}/end")


def ask(url: str) -> int:
    """What the fake says to its tests: how many jobs it has."""
    with urllib.request.urlopen(url) as answer:  # noqa: S310  loopback
        return int(json.load(answer))


class TestTorchServe(DeclaredServer):
    __test__ = True
    declaration = "torchserve"

    def bad_job(self) -> tuple[Job, str]:
        return job(width=4096), "width: at most 2048"


class TestHuggingFaceToolkit(DeclaredServer):
    __test__ = True
    declaration = "huggingface"

    def bad_job(self) -> tuple[Job, str]:
        return job(width=128), "`height=64` and `width=128`"


class TestXDiT(DeclaredServer):
    __test__ = True
    declaration = "xdit"

    def bad_job(self) -> tuple[Job, str]:
        return job(prompt=""), "Prompt cannot be empty"


class TestFooocus(DeclaredServer):
    __test__ = True
    declaration = "fooocus"
    stops_cancelled = True

    def jobs(self) -> Sequence[Job]:
        return [job(), self.job_with_references()[0]]

    def slow_job(self) -> Job:
        return job(steps=200, seed=1)

    def bad_job(self) -> tuple[Job, str]:
        return job(styles="none"), "body.style_selections: Input should be a valid list"

    def job_with_references(self) -> tuple[Job, set[str]]:
        image = "https://example.com/photo.png"
        prompt = "https://example.com/prompt.png"
        return job("image-to-image", prompt=prompt, init_images=[image]), {image}


class TestInvokeAI(DeclaredServer):
    __test__ = True
    declaration = "invokeai"
    takes_two_jobs = True
    stops_cancelled = True

    def bad_job(self) -> tuple[Job, str]:
        return job(scheduler="slow"), "scheduler: Input should be 'ddim'"
