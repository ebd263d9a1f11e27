"""The adapter: images as the one for them has it, videos as jobs of the server."""

from contextlib import suppress
from dataclasses import replace
from typing import ClassVar, Final

from queue_agent.runtime import Assets, Prepared, ProgressCallback
from queue_agent.wire.errors import QueueAgentError
from queue_agent.wire.job import Job
from queue_agent.wire.video_and_mesh import VIDEO_TASKS
from queue_agent_runtimes.openai_images import DiffusersRuntime
from queue_agent_runtimes.openai_images.adapter import PREVIEW_INTERVAL
from queue_agent_runtimes.openai_images.fields import use_of
from queue_agent_runtimes.openai_videos import OpenAIRuntime
from queue_agent_runtimes.openai_videos.adapter import PreparedVideo
from queue_agent_runtimes.openai_videos.engines import EngineFacts, Server
from queue_agent_runtimes.openai_videos.records import EngineRecord

SERVER: Final = Server(
    EngineFacts(
        "The bundled runtime",
        whole_seconds=False,
        tells_of_the_start=True,
        last_frames=True,
        lists_loras=True,
    )
)


class BundledRuntime(DiffusersRuntime, OpenAIRuntime):
    """The bundled runtime, for images or videos, as its model makes them.

    A server may have models for either; a job whose model makes the other is refused by it.
    """

    name: ClassVar[str] = "diffusers"
    task_types: ClassVar[frozenset[str]] = DiffusersRuntime.task_types | VIDEO_TASKS
    tells_of_the_start: ClassVar[bool] = False

    async def prepare(self, job: Job, assets: Assets) -> Prepared:
        """As its parents; sends nothing."""
        prepared = await super().prepare(job, assets)
        if not isinstance(prepared, PreparedVideo):
            return prepared
        request = prepared.request
        if job.wants_previews:
            request = {**request, "preview_interval": PREVIEW_INTERVAL}
        return replace(prepared, request=request, use=use_of(request))

    async def still_runs(self, prepared: Prepared) -> bool:
        """By the job's record."""
        if isinstance(prepared, PreparedVideo):
            return bool(await OpenAIRuntime.still_runs(self, prepared))
        return await super().still_runs(prepared)

    async def _hand_over(self, prepared: PreparedVideo, run_id: str) -> None:
        await self._checkpoints.hand_over(prepared, run_id)

    async def _follow(
        self, prepared: PreparedVideo, job_id: str, progress: ProgressCallback
    ) -> EngineRecord:
        with self._checkpoints.running(prepared, job_id):
            return await super()._follow(prepared, job_id, progress)

    async def _preview_of(self, prepared: PreparedVideo, record: EngineRecord) -> bytes | None:
        if not prepared.job.wants_previews:
            return None
        with suppress(QueueAgentError):  # a question without answer is no matter
            return await self._preview(f"/v1/jobs/{record.id}")
        return None

    async def _server(self) -> Server:
        return SERVER
