"""The bundled runtime: the dialect with samplers, LoRAs, progress by step, cancellation."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import ClassVar, Final

from queue_agent.runtime import (
    Assets,
    Capabilities,
    Checkpoint,
    Loaded,
    ModelUse,
    Prepared,
    ProgressCallback,
    Reference,
    RuntimeOptions,
    is_url,
)
from queue_agent.runtime.http import READY, Response
from queue_agent.runtime.places import refuse_unfetched
from queue_agent.wire.errors import QueueAgentError
from queue_agent.wire.job import Job
from queue_agent_runtimes.openai_images.adapter import (
    NO_SUCH_ROUTE,
    SMALL,
    OpenAIImagesRuntime,
    PreparedImages,
)
from queue_agent_runtimes.openai_images.answer import (
    failed,
    read_capabilities,
    read_loaded,
    read_progress,
)
from queue_agent_runtimes.openai_images.checkpointing import Checkpointing
from queue_agent_runtimes.openai_images.fields import BUNDLED, Dialect
from queue_agent_runtimes.openai_images.files import image_field
from queue_agent_runtimes.openai_images.upscaling import (
    PATH,
    UPSCALING,
    translate_upscaling,
    upscaler_of,
)

POLL_INTERVAL: Final = 0.25
"""Seconds between two questions for progress."""
STOP_TIMEOUT: Final = 5.0
"""Seconds that the server has to take note of a cancellation."""

_UNDER_WAY: Final = frozenset({"queued", "running"})
_MOST_PLACES: Final = 256
"""Jobs; a server that says that it works on more at a time is not believed."""


class DiffusersRuntime(OpenAIImagesRuntime):
    """The dialect's adapter with what the bundled runtime has beyond it.

    Its `concurrency` follows what the server says in ``/health``: how many jobs share a step.
    """

    name: ClassVar[str] = "diffusers"
    task_types: ClassVar[frozenset[str]] = OpenAIImagesRuntime.task_types | {UPSCALING}
    shows_previews: ClassVar[bool] = True
    preloads: ClassVar[bool] = True
    checkpoints: ClassVar[bool] = True
    dialect: ClassVar[Dialect] = BUNDLED
    backlog: int = 1

    def __init__(self, options: RuntimeOptions) -> None:
        super().__init__(options)
        self._given_up: list[tuple[PreparedImages, str]] = []
        """The runs that were cancelled, by what was prepared and by the ids of their jobs."""
        self._checkpoints = Checkpointing(self._client, options.checkpoint_limit)
        self._served: dict[str, str] = {}
        """The models that the server lists, by the names in what jobs use."""

    def references(self, job: Job) -> Iterable[Reference]:
        """Those of the dialect, and the `image` of a job that makes it larger."""
        if job.task_type != UPSCALING:
            yield from super().references(job)
        elif is_url(image := job.content.get("image")):
            yield Reference(str(image), ("image",))

    def check_places(self, job: Job) -> None:
        """What is sent is looked at, except the prompts."""
        if job.task_type == UPSCALING:
            refuse_unfetched(translate_upscaling(job.content)[0])
        else:
            super().check_places(job)

    async def _prepare(self, job: Job, assets: Assets) -> PreparedImages:
        if job.task_type != UPSCALING:
            return await super()._prepare(job, assets)
        request, warnings = translate_upscaling(job.content)
        image = image_field(job.content, assets)
        return PreparedImages(job, request, tuple(warnings), (image,), path=PATH)

    def _use_of(self, prepared: PreparedImages) -> ModelUse:
        upscales = prepared.job.task_type == UPSCALING
        return upscaler_of(prepared.request) if upscales else super()._use_of(prepared)

    async def checkpoint(self, prepared: Prepared, *, stop: bool) -> Checkpoint | None:
        """By ``/v1/jobs/{id}/checkpoint`` or ``…/suspend``, which older servers do not have."""
        return await self._checkpoints.of(prepared, stop=stop)

    async def still_runs(self, prepared: Prepared) -> bool:
        """By ``/v1/jobs/{id}``; stopped once more if it does."""
        for entry in [*self._given_up]:
            if entry[0] is prepared and not await self._runs(entry[1]):
                self._given_up.remove(entry)
        return any(one is prepared for one, _ in self._given_up)

    async def loaded(self) -> Loaded | None:
        """By ``/v1/models``; the first of the list is what jobs get that name none."""
        answer = await self._ask("GET", "/v1/models")
        if not answer.ok:
            raise failed(answer)
        self._served, loaded = read_loaded(answer.json_object())
        return loaded

    async def preload(self, use: ModelUse) -> None:
        """By ``/v1/models/preload``, which servers older than it do not have."""
        for model in use.models & self._served.keys():
            answer = await self._client.send(
                "POST",
                "/v1/models/preload",
                json={"model": self._served[model]},
                timeout=READY,
                limit=SMALL,
            )
            if not answer.ok and answer.status not in NO_SUCH_ROUTE:
                raise failed(answer)

    async def _runs(self, run_id: str) -> bool:
        answer = await self._ask("DELETE", f"/v1/jobs/{run_id}")
        if answer.status == 404:  # it ended long ago, or the server is another
            return False
        if not answer.ok:
            raise failed(answer)
        status = answer.json_object().get("status")
        return isinstance(status, str) and status in _UNDER_WAY

    async def capabilities(self) -> Capabilities:
        """By ``/v1/capabilities``, which servers older than it do not have."""
        answer = await self._ask("GET", "/v1/capabilities")
        if answer.status in NO_SUCH_ROUTE:
            return await super().capabilities()
        if not answer.ok:
            raise failed(answer)
        return read_capabilities(answer.json_object())

    def _note_health(self, answer: Response) -> None:
        try:
            places = answer.json_object().get("max_batch")
        except QueueAgentError:
            return  # a server older than this field, or none of ours
        if isinstance(places, int) and places > 0:
            self.concurrency = min(places, _MOST_PLACES)

    @asynccontextmanager
    async def _following(
        self, prepared: PreparedImages, run_id: str, progress: ProgressCallback
    ) -> AsyncIterator[None]:
        path = f"/v1/jobs/{run_id}"
        watched = prepared.job.wants_previews
        relay = asyncio.create_task(self._relay(path, progress, watched=watched))
        try:
            with self._checkpoints.running(prepared, run_id):
                await self._checkpoints.hand_over(prepared, run_id)
                yield
        except asyncio.CancelledError:
            self._given_up.append((prepared, run_id))
            await asyncio.shield(self._stop(path))
            raise
        finally:
            relay.cancel()
            await asyncio.gather(relay, return_exceptions=True)

    async def _steps_saved(self, prepared: PreparedImages, run_id: str) -> int:
        return await self._checkpoints.saved(prepared, run_id)

    async def _relay(self, path: str, progress: ProgressCallback, *, watched: bool) -> None:
        """Report each new step, and each look if these are `watched`, until cancelled.

        A question without answer is no matter.
        """
        reached, looks = 0.0, 0
        while True:
            await asyncio.sleep(POLL_INTERVAL)
            try:
                answer = await self._ask("GET", path)
                status = answer.json_object() if answer.ok else {}
                report, number = read_progress(status), status.get("previews")
                preview = None
                if watched and isinstance(number, int) and number > looks:
                    preview, looks = await self._preview(path), number
            except QueueAgentError:
                continue
            if report and (report.fraction > reached or preview):
                reached = max(reached, report.fraction)
                progress(replace(report, fraction=reached, preview=preview))

    async def _preview(self, path: str) -> bytes | None:
        answer = await self._ask("GET", f"{path}/preview")
        return answer.body if answer.ok else None

    async def _stop(self, path: str) -> None:
        try:
            async with asyncio.timeout(STOP_TIMEOUT):
                await self._ask("DELETE", path)
        except (TimeoutError, QueueAgentError):
            return  # closing the connection has told it as well
