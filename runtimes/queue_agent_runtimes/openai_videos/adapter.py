"""The adapter: images as its parent has them, videos and meshes as jobs of the server."""

import asyncio
import secrets
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import ClassVar, Final

from cachetools import LRUCache

from queue_agent.runtime import (
    Artifact,
    Asset,
    Assets,
    Output,
    Prepared,
    Progress,
    ProgressCallback,
    Reference,
    RuntimeOptions,
    Spools,
    is_url,
    not_yet_submitted,
    submitted,
)
from queue_agent.runtime.images import image_asset
from queue_agent.runtime.places import refuse_unfetched
from queue_agent.wire.errors import QueueAgentError
from queue_agent.wire.job import Job
from queue_agent.wire.video_and_mesh import IMAGE_TO_3D, VIDEO_TASKS
from queue_agent_runtimes.openai_images.adapter import OpenAIImagesRuntime
from queue_agent_runtimes.openai_images.fields import Dialect
from queue_agent_runtimes.openai_videos.engines import UNKNOWN, EngineFacts, Server, read_server
from queue_agent_runtimes.openai_videos.fields import file_fields, translate
from queue_agent_runtimes.openai_videos.jobs import RemoteJobs
from queue_agent_runtimes.openai_videos.records import EngineRecord, JobForgotten, failure_of

POLL_INTERVAL: Final = 0.5
"""Seconds between two questions for a job."""
STOP_TIMEOUT: Final = 5.0
"""Seconds that the server has to take note of a cancellation."""
_REMEMBERED: Final = 256

JobKey = tuple[str, str]
"""A job's id and digest."""


@dataclass(frozen=True)
class PreparedVideo(Prepared):
    """A request for a video or a mesh, with the images that go along with it."""

    files: tuple[tuple[str, Asset], ...] = ()
    engine: EngineFacts = UNKNOWN


@dataclass(eq=False)
class GivenUp:
    """A run that was cancelled, and that the server may go on with."""

    prepared: PreparedVideo
    job_id: str


class OpenAIRuntime(OpenAIImagesRuntime):
    """Any server of the dialect, for images, videos and meshes, as far as its model makes them.

    A run whose connection fails goes on with the job that the server has, if it is run again in
    this process. Where a server only forgets what it is told to delete, a cancelled job is asked
    for until it has ended by itself, and deleted then.
    """

    name: ClassVar[str] = "openai"
    task_types: ClassVar[frozenset[str]] = (
        OpenAIImagesRuntime.task_types | VIDEO_TASKS | {IMAGE_TO_3D}
    )
    tells_of_the_start: ClassVar[bool] = True

    def __init__(self, options: RuntimeOptions) -> None:
        super().__init__(options)
        self._given_up_videos: list[GivenUp] = []
        self._under_way: LRUCache[JobKey, str] = LRUCache(_REMEMBERED)
        """The server's id of each job whose outcome is not here yet."""

    def references(self, job: Job) -> Iterable[Reference]:
        """URLs in the fields of the portable form that hold images."""
        if _is_of_images(job):
            yield from super().references(job)
            return
        for name, value in file_fields(job.content, job.task_type):
            if is_url(value):
                yield Reference(value, (name,))

    def check_places(self, job: Job) -> None:
        """Any text of the content, except the references, the prompts and the model's name."""
        if _is_of_images(job):
            super().check_places(job)
            return
        content = {name: value for name, value in job.content.items() if name != "model"}
        refuse_unfetched(content, fetched=self.references(job))

    async def prepare(self, job: Job, assets: Assets) -> Prepared:
        """Translate the fields, as the engine that answers wants them; sends no job."""
        if _is_of_images(job):
            return await super().prepare(job, assets)
        with not_yet_submitted():
            server = await self._server()
        request = translate(job.content, job.task_type, server, switch_models=self._switch_models)
        values = dict(file_fields(job.content, job.task_type))
        files = tuple(
            (sent_as, image_asset(values[name], assets, field=name))
            for sent_as, name in request.files
        )
        return PreparedVideo(job, request.fields, tuple(request.warnings), files, server.engine)

    async def run(self, prepared: Prepared, progress: ProgressCallback) -> Output:
        """Have the server make it, and fetch what it made."""
        if not isinstance(prepared, PreparedVideo):
            if self.tells_of_the_start:
                progress(Progress(0.0))
            return await super().run(prepared, progress)
        warnings: tuple[str, ...] = prepared.warnings
        steps_saved = 0
        with Spools() as spools:
            if prepared.engine.answers_when_done:
                progress(Progress(0.0))
                artifacts, response = await self._jobs(prepared).answered(
                    prepared.request, prepared.files, prepared.engine, _run_id(prepared), spools
                )
            else:
                artifacts, record = await self._made(prepared, progress, spools)
                response = dict(record.fields)
                warnings += record.warnings
                steps_saved = record.steps_saved
            spools.keep(artifacts)
        progress(Progress(1.0))
        return Output(tuple(artifacts), response, warnings, steps_saved=steps_saved)

    async def still_runs(self, prepared: Prepared) -> bool | None:
        """By the job's record, as long as the server has it."""
        if not isinstance(prepared, PreparedVideo) or prepared.engine.answers_when_done:
            return await super().still_runs(prepared)
        for entry in [*self._given_up_videos]:
            if entry.prepared is prepared and not await self._goes_on(entry):
                self._given_up_videos.remove(entry)
        return any(entry.prepared is prepared for entry in self._given_up_videos)

    async def _dialect_for(self, job: Job) -> Dialect:
        if not job.content.get("loras"):
            return self.dialect
        with not_yet_submitted():
            server = await self._server()
        return replace(self.dialect, one_lora=server.engine.loras)

    def _jobs(self, prepared: Prepared) -> RemoteJobs:
        kind = "meshes" if prepared.job.task_type == IMAGE_TO_3D else "videos"
        return RemoteJobs(self._client, self._outputs, f"/v1/{kind}")

    async def _server(self) -> Server:
        answer = await self._ask("GET", "/v1/models")
        return read_server(answer.json_object()) if answer.ok else Server()

    async def _made(
        self, prepared: PreparedVideo, progress: ProgressCallback, spools: Spools
    ) -> tuple[list[Artifact], EngineRecord]:
        """The files of the job once it is completed, and its record.

        It is the server's job that an earlier run left there, if there is one.
        """
        key = _key(prepared)
        earlier = self._under_way.get(key)
        job_id = earlier or await self._create(prepared)
        self._under_way[key] = job_id
        artifacts: list[Artifact] = []
        try:
            with submitted():
                record = await self._follow(prepared, job_id, progress)
            if record.status == "completed":
                seed = prepared.request.get("seed", record.fields.get("seed"))
                artifacts = await self._jobs(prepared).fetch(
                    record, spools, seed if isinstance(seed, int) else None
                )
        except JobForgotten:
            self._under_way.pop(key, None)
            if earlier is None:
                raise
            return await self._made(prepared, progress, spools)
        except asyncio.CancelledError:
            self._under_way.pop(key, None)
            await asyncio.shield(self._give_up(prepared, job_id))
            raise
        self._under_way.pop(key, None)
        await self._forget(prepared, job_id)
        if record.status != "completed":
            raise failure_of(record)
        return artifacts, record

    async def _create(self, prepared: PreparedVideo) -> str:
        """Hand the job over; one that is cancelled meanwhile is not left to the server."""
        run_id = _run_id(prepared)
        await self._hand_over(prepared, run_id)
        creating = asyncio.create_task(
            self._jobs(prepared).create(prepared.request, prepared.files, prepared.engine, run_id)
        )
        try:
            return (await asyncio.shield(creating)).id
        except asyncio.CancelledError:
            with suppress(TimeoutError, QueueAgentError):
                async with asyncio.timeout(STOP_TIMEOUT):
                    record = await asyncio.shield(creating)
                    await self._give_up(prepared, record.id)
            raise
        finally:
            creating.cancel()
            await asyncio.gather(creating, return_exceptions=True)

    async def _hand_over(self, prepared: PreparedVideo, run_id: str) -> None:
        """Give the server what goes before the job of that id; the dialect itself has nothing."""

    async def _follow(
        self, prepared: PreparedVideo, job_id: str, progress: ProgressCallback
    ) -> EngineRecord:
        """The record of the job once it has ended; reports progress until then."""
        reached, looks = -1.0, 0
        while True:
            record = await self._jobs(prepared).find(job_id)
            if not record.under_way:
                return record
            preview = None
            if record.previews > looks:
                preview, looks = await self._preview_of(prepared, record), record.previews
            starts = record.begun or not prepared.engine.tells_of_the_start
            if starts and (record.fraction > reached or preview):
                reached = max(reached, record.fraction)
                progress(Progress(reached, record.step, record.steps, preview=preview))
            await asyncio.sleep(POLL_INTERVAL)

    async def _preview_of(self, prepared: PreparedVideo, record: EngineRecord) -> bytes | None:
        """How the video looks by now; the dialect itself has nothing of the kind."""
        del prepared, record
        return None

    async def _forget(self, prepared: PreparedVideo, job_id: str) -> None:
        """Have the server remove a job that has ended, and its files as far as it does."""
        with suppress(QueueAgentError):
            await self._jobs(prepared).delete(job_id)

    async def _give_up(self, prepared: PreparedVideo, job_id: str) -> None:
        """Stop the work, where the server can; in any case remember that it may go on."""
        entry = GivenUp(prepared, job_id)
        self._given_up_videos.append(entry)
        with suppress(TimeoutError, QueueAgentError):
            async with asyncio.timeout(STOP_TIMEOUT):
                await self._goes_on(entry)

    async def _goes_on(self, entry: GivenUp) -> bool:
        """Whether the server works on; told to stop once more where it does."""
        jobs, stops = self._jobs(entry.prepared), entry.prepared.engine.stops
        if stops:
            answer = await jobs.delete(entry.job_id)
            return not (answer.ok or answer.status == 404)  # 409: vLLM-Omni is still at it
        try:
            record = await jobs.find(entry.job_id)
        except JobForgotten:
            return False
        if record.under_way:
            return True
        await self._forget(entry.prepared, entry.job_id)
        return False


def _is_of_images(job: Job) -> bool:
    return job.task_type not in VIDEO_TASKS | {IMAGE_TO_3D}


def _key(prepared: Prepared) -> JobKey:
    return prepared.job.id, prepared.job.digest


def _run_id(prepared: Prepared) -> str:
    return f"{prepared.job.id}.{secrets.token_hex(4)}"
