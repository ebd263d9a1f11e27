"""A gateway in front of an agent whose runtime makes films and models, on a cloud in memory."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import ClassVar, Final

import pytest
import uvicorn

from gateway_bench import Gateways
from media_files import glb
from queue_agent.gateway import app as gateway_app
from queue_agent.gateway.app import server_config
from queue_agent.runtime import (
    Artifact,
    Assets,
    Output,
    Prepared,
    Progress,
    ProgressCallback,
    Reference,
)
from queue_agent.settings.gateway import GatewaySettings
from queue_agent.testing import sample_png
from queue_agent.wire.job import Job
from queue_agent.wire.layout import offer_key
from queue_agent.wire.offer import Offer
from queue_agent.wire.video_and_mesh import IMAGE_TO_3D, VIDEO_TASKS, parse_mesh, parse_video
from video_files import video
from worker_bench import NAME, Bench, ScriptedRuntime

MP4: Final = video()
WEBM: Final = video("webm", (128, 96))


class Studio(ScriptedRuntime):
    """Makes the same film of each job for one, and the same model or picture of others."""

    task_types: ClassVar[frozenset[str]] = VIDEO_TASKS | {IMAGE_TO_3D, "text-to-image"}
    film: Artifact = Artifact(MP4, "video/mp4", seed=7)

    def references(self, job: Job) -> list[Reference]:
        assert job.content
        return []

    async def prepare(self, job: Job, assets: Assets) -> Prepared:
        del assets
        if job.task_type in VIDEO_TASKS:
            parse_video(job.content, job.task_type)
        elif job.task_type == IMAGE_TO_3D:
            parse_mesh(job.content)
        return Prepared(job, {})

    async def _shoot(self, prepared: Prepared, report: ProgressCallback) -> Output:
        report(Progress(0.5))
        if prepared.job.task_type in VIDEO_TASKS:
            return Output((self.film,))
        if prepared.job.task_type == IMAGE_TO_3D:
            return Output((Artifact(glb(), "model/gltf-binary"),))
        return Output((Artifact(sample_png(64, 48), "image/png"),))

    def opened(self) -> "Studio":
        self.usually = self._shoot
        return self


@asynccontextmanager
async def open_studio(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[Bench, str]]:
    """The bench, on which an agent works, and the address of its gateway, which asks for no key."""
    bench = Bench()
    bench.runtime = Studio().opened()
    monkeypatch.setattr(gateway_app, "connect", lambda *_, **__: bench.cloud)
    offer = Offer(runtime=NAME, adapter="scripted", task_types=tuple(sorted(Studio.task_types)))
    bench.results.put(offer_key(NAME), offer.to_json())
    app = Gateways(folder).app(
        job_topic=bench.deployment.job_topic,
        notification_topic=bench.deployment.notification_topic,
        bucket=bench.deployment.bucket,
        runtimes=(NAME,),
        poll=0.05,
        body_limit=2**20,
    )
    with socket.create_server(("127.0.0.1", 0)) as listening:
        settings = GatewaySettings.model_construct(connections=50, header_seconds=60)
        server = uvicorn.Server(server_config(app, settings))
        serving = asyncio.create_task(server.serve([listening]))
        async with bench.working():
            yield bench, f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        await serving
