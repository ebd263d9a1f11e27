"""What a gateway does for its callers: takes jobs, says how they stand, calls them off."""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote

import structlog
from pydantic import JsonValue

from queue_agent.client import Client
from queue_agent.client.listener import Listener
from queue_agent.cloud import Cloud
from queue_agent.estimates.estimator import JobEstimator, with_estimate
from queue_agent.gateway.files import StoredFile
from queue_agent.gateway.keys import Caller
from queue_agent.gateway.pauses import KnownPauses
from queue_agent.gateway.previews import PreviewCache
from queue_agent.gateway.problems import no_such_job
from queue_agent.gateway.quota import IsOver, Quota
from queue_agent.gateway.records import Record, Records
from queue_agent.gateway.requests import Requests
from queue_agent.gateway.result_cache import CachedResult, ResultCache
from queue_agent.gateway.schemas import ImageView, JobPage, JobStatus, JobView, VariantView
from queue_agent.gateway.search import Wanted, search
from queue_agent.gateway.statistics import Statistics
from queue_agent.settings.gateway import GatewaySettings
from queue_agent.tasks import together
from queue_agent.wire.errors import ObjectNotFound, QueueAgentError, Unanswered
from queue_agent.wire.estimate import JobEstimate
from queue_agent.wire.job import Job
from queue_agent.wire.layout import DEFAULT_PREFIX
from queue_agent.wire.notification import Image, ImageVariant, Notification
from queue_agent.wire.problems import Problem
from queue_agent.wire.result import Result
from queue_agent.wire.submission import Terms, complete, placed

log = structlog.get_logger()

_ESTIMATING: Final = 2.0
"""Seconds that an estimate may hold up a job."""
_NEWEST: Final = 50
"""Jobs that are looked at for those that are unfinished."""


class JobService:
    """What a gateway can do for its callers, without a word of HTTP."""

    def __init__(
        self,
        cloud: Cloud,
        settings: GatewaySettings,
        listener: Listener,
        statistics: Statistics,
        pauses: KnownPauses,
    ) -> None:
        self._settings = settings
        self._cloud = cloud
        self._bucket = cloud.bucket(settings.bucket)
        self._client = Client(
            cloud,
            job_topic=settings.job_topic,
            bucket=settings.bucket,
            looks_up=False,  # its terms name the runtimes
            fair=settings.fair,
        )
        self._listener = listener
        self._statistics = statistics
        self._pauses = pauses
        self._records = Records(self._bucket)
        self._requests = Requests(self._bucket)
        self._quota = Quota(self._bucket, self._over)
        self._results = ResultCache(self._bucket, age=settings.poll)
        self._previews = PreviewCache(self._bucket)
        folders = (DEFAULT_PREFIX, *settings.prefixes) if settings.prefixes else ()
        self._estimator = JobEstimator(
            self._bucket,
            now=cloud.now,
            job_seconds=settings.job_seconds,
            pod_start=settings.pod_start,
        )
        self._terms = Terms.among(dict.fromkeys(settings.queues, folders), tenant=settings.tenant)

    def _now(self) -> datetime:
        """The moment by the cloud's clock, which all gateways share."""
        return datetime.fromtimestamp(self._cloud.now(), UTC)

    def job(
        self, caller: Caller, body: Mapping[str, JsonValue], *, own_id: str | None = None
    ) -> Job:
        """The job that a body asks for, under an id that is the caller's alone.

        `own_id` is for one that has no id.

        Raises:
            Rejected: no agent would understand it, or none is there for it.
        """
        return caller.owning(complete(body, self._terms, job_id=own_id))

    async def submit(self, caller: Caller, job: Job, *, traceparent: str | None = None) -> Record:
        """Note the job and publish it; the same again is the same job.

        Raises:
            Problem: 409, another of the caller's jobs has its id; 429, too many unfinished; 503,
                the operator has paused the caller's jobs.
        """
        await self._pauses.admit(job)
        known = caller.jobs_in_flight > 0 and await self._is_known(caller, job.id)
        slot = await self._quota.take(caller, job.id, known=known, now=self._now())
        try:
            return await self._publish(caller, job, traceparent)
        except (Problem, QueueAgentError):
            if slot is not None and not await self._is_known(caller, job.id):
                await self._quota.give_back(slot)
            raise

    async def _publish(self, caller: Caller, job: Job, traceparent: str | None) -> Record:
        job = await self._estimated(job)
        ahead = await self._statistics.ahead(job.metadata.runtime or "")
        record, is_new = await self._records.add(
            Record.of(job, caller.name, now=self._now(), ahead=ahead)
        )
        if not is_new and await self._is_done(record):
            return record
        self._listener.forget(job.id)
        self._results.forget(job.id)
        await self._keep(record, job, is_new=is_new)
        try:
            await self._client.submit(await self._placed(job), traceparent=traceparent)
        except QueueAgentError as error:
            if is_new and not isinstance(error, Unanswered):  # which may be on its way
                await self._remove(record)
            raise
        return record

    async def estimate(self, job: Job) -> JobEstimate:
        """When it would start and end, and what it would cost, were it submitted now.

        Raises:
            Unavailable: the bucket does not answer.
        """
        backlog = await self._statistics.backlog(job.metadata.runtime or "")
        return await self._estimator.estimate(job, backlog)

    async def _estimated(self, job: Job) -> Job:
        """The job with its estimate; without one where the bucket does not answer soon."""
        try:
            async with asyncio.timeout(_ESTIMATING):
                return with_estimate(job, await self.estimate(job))
        except (QueueAgentError, TimeoutError) as error:
            log.debug("not estimated", reason=type(error).__name__)
            return job

    async def _keep(self, record: Record, job: Job, *, is_new: bool) -> None:
        try:
            await self._requests.keep(record, job)
        except QueueAgentError:
            if is_new:
                await self._remove(record)
            raise

    async def _remove(self, record: Record) -> None:
        await self._records.remove(record)
        await self._requests.forget(record)

    async def request(self, record: Record) -> bytes:
        """What the job asked for, whole: JSON that asks for the like once more.

        Raises:
            Problem: 410, it is no longer kept.
        """
        return await self._requests.of(record)

    async def _placed(self, job: Job) -> Job:
        """The job for spot or on demand, where its runtime has queues for both."""
        runtime = job.metadata.runtime or ""
        if job.metadata.deadline is None or runtime not in self._settings.on_demand:
            return job
        spot, backlog = self._settings.spot, await self._statistics.backlog(runtime)
        if (learned := self._statistics.seconds_per_job(runtime)) is not None:
            spot = replace(spot, job=learned)
        if backlog is not None:
            spot = replace(spot, waiting=backlog.waiting, in_flight=backlog.in_flight)
        return placed(job, self._now(), spot)

    async def _is_known(self, caller: Caller, job_id: str) -> bool:
        try:
            await self._records.find(caller.name, job_id)
        except Problem:
            return False
        return True

    async def find(self, caller: Caller, job_id: str) -> Record:
        """The record of one of the caller's jobs.

        Raises:
            Problem: 404, there is none.
        """
        return await self._records.find(caller.name, caller.own_id(job_id))

    async def page(
        self, caller: Caller, wanted: Wanted, *, cursor: str | None, limit: int
    ) -> JobPage:
        """The caller's jobs that are wanted, the newest first.

        Raises:
            Problem: 422, `cursor` is no place to begin.
        """
        if wanted != Wanted():
            return await search(
                self._records, self.view, caller.name, wanted, cursor=cursor, limit=limit
            )
        records, following = await self._records.recent(caller.name, after=cursor, limit=limit)
        return JobPage(jobs=await together(self.view(record) for record in records), next=following)

    async def unfinished(self, caller: Caller, runtime: str) -> list[tuple[Record, JobView]]:
        """The unfinished of the caller's newest jobs that are of a runtime, the oldest first."""
        records, _ = await self._records.recent(caller.name, after=None, limit=_NEWEST)
        ours = [record for record in reversed(records) if record.runtime == runtime]
        views = await together(self.view(record) for record in ours)
        pairs = zip(ours, views, strict=True)
        return [(record, view) for record, view in pairs if not view.finished]

    async def view(self, record: Record) -> JobView:
        """The job as it stands now."""
        cached, heard = await self._look(record)
        ending: Notification | Result | None = cached.result
        if ending is None and heard is not None and record.place.ends_by(heard):
            ending = heard  # its manifest could not be written
        if ending is not None:
            return await self._ended(record, ending)
        status: JobStatus = "running" if heard is not None else "queued"
        return JobView(
            **self._common(record),
            status="cancelling" if cached.cancelled else status,
            progress=heard.progress if heard is not None else None,
            stage=heard.stage if heard is not None else None,
            preview=_preview_path(record, heard),
            queue=await self._statistics.estimate(record.runtime, record.submitted_at, record.ahead)
            if heard is None
            else None,
            images=[],
            error=None,
            warnings=[],
            timings=None,
            output_url=None,
        )

    async def views(self, record: Record) -> AsyncGenerator[JobView | None]:
        """The job as it stands, and again with each change until its end; None: nothing new."""
        shown: JobView | None = None
        while True:
            count = self._listener.count(record.id)
            view = await self.view(record)
            yield view if view != shown else None
            if view.finished:
                return
            shown = view
            await self._listener.changed(record.id, count, patience=self._settings.poll)

    async def wait(self, record: Record, *, seconds: float) -> JobView:
        """The job at its end, or as it stands after so many seconds."""
        try:
            async with asyncio.timeout(seconds), aclosing(self.views(record)) as views:
                async for view in views:
                    if view is not None and view.finished:
                        return view
        except TimeoutError:
            pass
        return await self.view(record)

    async def cancel(self, record: Record) -> JobView:
        """Ask for the job to be given up; as it stands, which may be its end."""
        view = await self.view(record)
        if view.finished:
            return view
        await self._client.cancel(record.id)
        self._results.cancel(record)
        self._listener.nudge(record.id)
        return await self.view(record)

    async def result(self, record: Record) -> Result | None:
        """The manifest, once there is one."""
        return (await self._look(record))[0].result

    async def file(self, record: Record, number: int) -> StoredFile:
        """The `number`-th file of those that the result names, counted from 1.

        Raises:
            Problem: 404, there is none; 410, it lies where the gateway reads nothing.
        """
        result = await self.result(record)
        images = result.images if result else []
        if not 1 <= number <= len(images):
            raise no_such_job()
        return self.stored(images[number - 1])

    async def variant(self, record: Record, number: int, role: str) -> StoredFile:
        """Another file of the same picture as the `number`-th; raises as `file`."""
        result = await self.result(record)
        images = result.images if result else []
        found = images[number - 1].variants if 1 <= number <= len(images) else []
        for variant in found:
            if variant.role == role:
                return self.stored(variant)
        raise no_such_job()

    async def _variant(self, variant: ImageVariant, path: str) -> VariantView:
        return VariantView(
            href=f"{path}/{variant.role}" if variant.url is not None else None,
            presigned_url=await self.presigned(variant),
            **variant.model_dump(exclude={"presigned_url"}),
        )

    def stored(self, image: Image | ImageVariant) -> StoredFile:
        """Where a file of a result lies.

        Raises:
            Problem: 410, not in the bucket of the results.
        """
        key = self._key(image)
        if key is None:
            raise Problem(410, "image_gone", "The file is no longer kept.")
        return StoredFile(key, image.media_type, image.bytes, image.sha256)

    async def preview(self, record: Record) -> bytes | None:
        """The latest image of the work under way, a JPEG; None: there is none, or not any more."""
        heard = self._listener.latest(record.id)
        known = heard.preview if heard is not None else None
        return await self._previews.of(record, known.number if known is not None else 0)

    async def download(self, image: Image) -> bytes:
        """The bytes of an image.

        Raises:
            ObjectNotFound: it is not there, or not in the bucket of the results.
        """
        key = self._key(image)
        if key is None:
            raise ObjectNotFound(f"{image.url} is not in the bucket of the results.")
        return await self._bucket.read(key)

    async def presigned(self, image: Image | ImageVariant) -> str | None:
        """A link to the image that works for a while, where the operator allows them."""
        key = self._key(image)
        if key is None or not self._settings.link_seconds:
            return None
        return await self._bucket.presign(key, seconds=self._settings.link_seconds)

    def _key(self, image: Image | ImageVariant) -> str | None:
        """Where the image lies in the results' bucket; manifests may name any."""
        ours, url = self._bucket.url(""), image.url or ""
        return url.removeprefix(ours) if url.startswith(ours) else None

    async def _look(self, record: Record) -> tuple[CachedResult, Notification | None]:
        """The bucket's word and the last thing heard; the former not older than a heard end."""
        heard = self._listener.latest(record.id)
        ended = heard is not None and record.place.ends_by(heard)
        since = self._listener.heard_at(record.id) if ended else float("-inf")
        return await self._results.of(record, not_before=since), heard

    async def _ended(self, record: Record, ending: Notification) -> JobView:
        status: JobStatus = "failed" if ending.status == "running" else ending.status
        return JobView(
            **self._common(record),
            status=status,
            progress=1.0 if ending.result else None,
            queue=None,
            images=await self._images(record, ending.images),
            error=ending.error,
            warnings=ending.warnings,
            timings=ending.timings,
            gpu_seconds=ending.gpu_seconds,
            cost=ending.cost,
            output_url=ending.output_url,
        )

    async def _images(self, record: Record, images: Sequence[Image]) -> list[ImageView]:
        path = f"/v1/jobs/{quote(record.id)}/images"
        places = {image.url: f"{path}/{number}" for number, image in enumerate(images, start=1)}
        return [
            ImageView(
                href=places[image.url],
                presigned_url=await self.presigned(image),
                poster=places.get(image.poster or ""),
                thumbnail=image.thumbnail and f"{places[image.url]}/thumbnail",
                variants=[
                    await self._variant(variant, places[image.url]) for variant in image.variants
                ],
                **image.model_dump(exclude={"sha256", "presigned_url", "poster", "variants"}),
            )
            for image in images
        ]

    async def _is_done(self, record: Record) -> bool:
        """Whether there is a result that another attempt would not replace."""
        result = (await self._results.of(record)).result
        return result is not None and result.is_final

    def _over(self, caller: Caller) -> IsOver:
        async def is_over(job_id: str) -> bool | None:
            try:
                record = await self._records.find(caller.name, job_id)
            except Problem:
                return None
            return (await self.view(record)).finished or self._records.outlived(record, self._now())

        return is_over

    def _common(self, record: Record) -> dict[str, object]:
        return {
            "id": record.id,
            "runtime": record.runtime,
            "task_type": record.task_type,
            "submitted_at": record.submitted_at,
            "content": record.content,
            "context": record.context,
            "estimate": record.estimate,
            "output_location": self._bucket.url(record.folder),
        }


def _preview_path(record: Record, heard: Notification | None) -> str | None:
    if heard is None or heard.preview is None:
        return None
    return f"/v1/jobs/{quote(record.id)}/preview?number={heard.preview.number}"
