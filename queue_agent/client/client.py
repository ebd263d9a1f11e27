"""The client: one deployment's topics and bucket, from outside."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import structlog
from pydantic import JsonValue, TypeAdapter

from queue_agent.client.capacity import Capacity
from queue_agent.client.follow import follow
from queue_agent.client.handle import SubmittedJob, save_images
from queue_agent.client.inputs import Input, publication, repeated, upload_files
from queue_agent.client.listener import Listener
from queue_agent.client.outlived import outlived
from queue_agent.client.pauses import held_back, paused_now
from queue_agent.client.queues import bodies_of, matching, redriven
from queue_agent.client.results import ResultLocation, find_result, forget_passing_failure
from queue_agent.client.routes import Routes
from queue_agent.client.traces import Trace, latest_results, trace_of
from queue_agent.client.usage import UsagePeriod, UsageReport, usage_of
from queue_agent.cloud import Backlog, Bucket, Cloud, Topic
from queue_agent.cloud.connect import connect
from queue_agent.estimates.estimator import JobEstimator, with_estimate
from queue_agent.inputs.addresses import ObjectLocation, scheme_of
from queue_agent.settings.client import ClientSettings
from queue_agent.tasks import together
from queue_agent.telemetry.propagation import publishing
from queue_agent.wire.capacity import SpotEstimate
from queue_agent.wire.errors import Rejected, Unavailable
from queue_agent.wire.estimate import USUAL_JOB_SECONDS, USUAL_POD_START, JobEstimate
from queue_agent.wire.job import Job, JobId, Prefix
from queue_agent.wire.layout import DEFAULT_PREFIX, cancel_marker, result_folder
from queue_agent.wire.notification import Image, Notification
from queue_agent.wire.output import OutputOptions
from queue_agent.wire.result import Result
from queue_agent.wire.submission import Terms, admit, make_job

log = structlog.get_logger()

_POLL: Final = 3.0
_PATIENCE: Final = 10.0
_LONGEST_POLL: Final = 20.0
_ID: Final = TypeAdapter[str](JobId)
_PREFIX: Final = TypeAdapter[str](Prefix)


class Client:
    """Publishes jobs, follows them, fetches their images.

    Use it as an asynchronous context manager. What is not given is only missed by what needs
    it: publishing needs the job topic, `notifications` the notification topic, files, results
    and cancelling the bucket.
    """

    def __init__(
        self,
        cloud: Cloud,
        *,
        job_topic: str | None = None,
        notification_topic: str | None = None,
        bucket: str | None = None,
        runtime: str | None = None,
        looks_up: bool = True,
        spot: SpotEstimate | None = None,
        spot_queue: str | Sequence[str] | None = None,
        tenant: str | None = None,
        fair: bool = True,
        poll: float = _POLL,
    ) -> None:
        """`runtime` is what jobs are for that name none, and `tenant` whose they are.

        `fair`: whether queues are told whose jobs are.

        `looks_up`: whether runtimes are looked up before jobs for them are published (by the
        topic's subscriptions and the bucket, where the role may see them); False where the
        caller knows them, and chooses their capacity. `spot`: what is known of spot capacity, by
        which jobs with a deadline go there or on demand, if their runtime has queues for both;
        `spot_queue`: the queue whose length counts for that, and for estimates; all where there
        are several, as by priority. `poll`: seconds
        between two looks into the bucket for a result that was not announced.
        """
        self._cloud = cloud
        self._job_topic = job_topic
        self._notification_topic = notification_topic
        self._bucket = bucket
        self._terms = Terms(runtime, tenant=tenant)
        self._fair = fair
        self._poll = poll
        self._routes = Routes(self._topic, self._maybe_bucket) if looks_up else None
        self._spot = spot or SpotEstimate(USUAL_JOB_SECONDS, USUAL_POD_START)
        self._queues = (spot_queue,) if isinstance(spot_queue, str) else tuple(spot_queue or ())
        self._estimator: JobEstimator | None = None
        self._capacity = None if spot is None else Capacity(cloud, self._topic, spot, self._queues)
        self._stack = AsyncExitStack()
        self._listener: Listener | None = None
        self._opening = asyncio.Lock()

    @classmethod
    def from_env(cls, given: Mapping[str, str | None] | None = None) -> Self:
        """A client of the deployment that the environment names (docs/client.md).

        What is `given` by environment names wins; None is not given.

        Raises:
            SettingsError: a setting is wrong.
        """
        settings = ClientSettings.load(given=given)
        cloud = connect(
            settings.job_topic,
            settings.notification_topic,
            bucket=settings.bucket,
            region=settings.region,
        )
        client = cls(
            cloud,
            job_topic=settings.job_topic,
            notification_topic=settings.notification_topic,
            bucket=settings.bucket,
            runtime=settings.runtime,
            spot=settings.spot,
            spot_queue=settings.counted,
            tenant=settings.tenant,
            fair=settings.fair,
        )
        client._stack.push_async_callback(cloud.aclose)
        return client

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._stack.aclose()

    async def submit(
        self,
        request: Job | str | None = None,
        *,
        runtime: str | None = None,
        task_type: str | None = None,
        id: str | None = None,  # noqa: A002  the wire format's own word
        prefix: str = DEFAULT_PREFIX,
        context: JsonValue = None,
        expires_at: datetime | None = None,
        deadline: datetime | None = None,
        priority: str | None = None,
        tenant: str | None = None,
        output: OutputOptions | Mapping[str, JsonValue] | None = None,
        traceparent: str | None = None,
        estimate: bool = False,
        **content: Input,
    ) -> SubmittedJob:
        """Publish a job and return a handle for it.

        `request` is the prompt, or a whole `Job`, or left out where `content` says it all.
        `content` are the portable fields (`steps=20, width=768, init_images=[Path("cat.png")]`)
        or the runtime's own; files in it are uploaded. With an `id` of your own, submitting the
        same again never generates twice. `context` comes back with every notification. `output`
        says how the images are delivered (`output={"format": "webp", "max_side": 1024}`). With
        `estimate`, the handle has what is expected of the job, and so has the job's end; None
        where the bucket does not answer.

        Raises:
            ValueError: the client lacks the topic or the bucket this needs.
            Rejected: no agent would understand the job, or no queue of the topic gets it
                (type ``unknown_runtime``).
            Unavailable: the topic or the bucket does not answer.
        """
        if isinstance(request, Job):
            job, known = request, True
        else:
            fields: dict[str, Input] = {} if request is None else {"prompt": request}
            uploaded = await upload_files({**fields, **content}, self._maybe_bucket())
            assert isinstance(uploaded, dict)  # noqa: S101  a mapping stays one
            known = id is not None
            job = make_job(
                uploaded,
                runtime=runtime,
                task_type=task_type,
                job_id=id,
                prefix=prefix,
                context=context,
                expires_at=expires_at,
                deadline=deadline,
                priority=priority,
                tenant=tenant,
                output=output,
            )
        job = admit(job, self._terms)
        topic, place = self._topic(), ResultLocation.of(job)
        await self._look_up(job.metadata.runtime)
        if self._capacity is not None:
            job = await self._capacity.chosen(job)
        if known:
            await self._forget_passing_failure(job.id, place)
        told = None
        if estimate:
            try:
                told = await self.estimate(job)
            except Unavailable as error:
                log.info("not estimated", reason=error.message)
            else:
                job = with_estimate(job, told)
        name = str(self._job_topic).rpartition(":")[2]
        with publishing(name, job.id, traceparent) as current:
            message = await publication(
                job, self._maybe_bucket(), limit=topic.size_limit, trace=current, fair=self._fair
            )
            await repeated(
                lambda: topic.publish(message.body, message.attributes, message.ordering)
            )
        return SubmittedJob(self, place, told)

    async def estimate(self, job: Job) -> JobEstimate:
        """When a job would start and end, and what it would cost, were it published now.

        By what agents have told in the bucket, and the length of the queues where
        `spot_queue` names them and the role may ask.

        Raises:
            ValueError: the client lacks the bucket.
            Unavailable: the bucket does not answer, or refuses.
        """
        bucket = self._results()
        if self._estimator is None:
            self._estimator = JobEstimator(
                bucket,
                now=self._cloud.now,
                job_seconds=self._spot.job,
                pod_start=self._spot.start,
            )
        return await self._estimator.estimate(admit(job, self._terms), await self._backlog())

    async def _backlog(self) -> Backlog | None:
        if not self._queues:
            return None
        try:
            return await Backlog.of_all(map(self._cloud.queue, self._queues))
        except Unavailable as error:
            log.debug("queues not asked", reason=error.message)
            return None

    async def submit_many(self, jobs: Iterable[Job]) -> list[SubmittedJob]:
        """Publish many jobs in few requests; their handles in order.

        Raises:
            Rejected: as of `submit`, of one of them; none was published.
            Unavailable: some were not taken; `details["failed"]` has the reason by job id. The
                others were, and submitting all of them again does no work twice.
        """
        topic, wanted = self._topic(), [admit(job, self._terms) for job in jobs]
        for runtime in dict.fromkeys(job.metadata.runtime for job in wanted):
            await self._look_up(runtime)
        if self._capacity is not None:
            wanted = [await self._capacity.chosen(job) for job in wanted]
        messages = await together(
            publication(job, self._maybe_bucket(), limit=topic.size_limit, fair=self._fair)
            for job in wanted
        )
        failed = dict(await repeated(lambda: topic.publish_many(messages)))
        if failed:
            places = sorted(failed)
            rest = [messages[place] for place in places]
            again = await repeated(lambda: topic.publish_many(rest))
            failed = {places[number]: reason for number, reason in again.items()}
        if failed:
            reasons: JsonValue = {wanted[place].id: why for place, why in failed.items()}
            raise Unavailable(
                f"{len(failed)} of {len(wanted)} jobs could not be published.",
                type="cloud_unavailable",
                details={"failed": reasons},
            )
        return [SubmittedJob(self, ResultLocation.of(job)) for job in wanted]

    async def upload(self, value: Input) -> JsonValue:
        """The value with every file in it uploaded and replaced by its address.

        Raises:
            ValueError: the client has no bucket.
        """
        return await upload_files(value, self._maybe_bucket())

    def job(self, job_id: str, *, prefix: str = DEFAULT_PREFIX) -> SubmittedJob:
        """A handle for a job submitted at any time, by anyone, under this prefix.

        Raises:
            ValueError: it can be no job's id or prefix.
        """
        parts = (_PREFIX.validate_python(prefix), _ID.validate_python(job_id))
        return SubmittedJob(self, ResultLocation(result_folder(*parts), job_id))

    async def cancel(self, job_id: str) -> None:
        """Ask for a job to be given up, whoever submitted it.

        Raises:
            ValueError: it can be no job's id, or the client lacks the bucket.
        """
        marker = cancel_marker(_ID.validate_python(job_id))
        await self._results().write(marker, b"", media_type="text/plain")

    async def held_back(self, job: Job) -> str | None:
        """Why agents do not work on such a job now, in words; None: they do, or it is not seen.

        Raises:
            Rejected: the operator has paused its tenant (type ``tenant_paused``), or as `submit`.
        """
        if (bucket := self._maybe_bucket()) is None:
            return None
        return await held_back(bucket, admit(job, self._terms), self._cloud.now())

    async def paused(self) -> list[str]:
        """What operators have paused, of all runtimes of the bucket, in words.

        Raises:
            ValueError: the client lacks the bucket.
        """
        return [line async for line in paused_now(self._results(), self._cloud.now())]

    async def find(self, place: ResultLocation) -> Result | None:
        """A finished job's result."""
        return await find_result(self._results(), place)

    async def trace(self, place: ResultLocation) -> Trace:
        """What is seen in the bucket of a job that has no result."""
        return await trace_of(self._results(), place)

    def results(self, *, prefix: str = DEFAULT_PREFIX, limit: int = 20) -> AsyncIterator[Result]:
        """The latest results below the prefix, the newest first.

        Every key below it is listed for that, so that a large bucket takes its time.

        Raises:
            ValueError: it can be no prefix, or the client lacks the bucket.
        """
        return latest_results(self._results(), _PREFIX.validate_python(prefix), limit)

    async def usage(self, *, prefixes: Iterable[str], period: UsagePeriod) -> UsageReport:
        """What the jobs below the prefixes have used that ended in the period.

        Raises:
            ValueError: one can be no prefix, or the client lacks the bucket.
        """
        return await usage_of(self._results(), map(_PREFIX.validate_python, prefixes), period)

    async def follow(self, place: ResultLocation) -> AsyncGenerator[Notification]:
        """A job's news until its end; see `SubmittedJob.events`."""
        listener, results = await self._heard(), self._results()

        async def look() -> Result | None:
            return await find_result(results, place)

        async with aclosing(follow(listener, place, look, poll=self._poll)) as news:
            async for event in news:
                yield event

    @asynccontextmanager
    async def notifications(
        self, *, job_id: str | None = None, runtime: str | None = None, queue: str | None = None
    ) -> AsyncIterator[AsyncIterator[Notification]]:
        """Notifications published from now on; of one job or runtime, or of all.

        They are listened for through a queue and a subscription made for it and removed at the
        block's end; or, where `queue` names one, through that queue, which must be subscribed
        already, and whose notifications are then removed as they are read. What else it holds
        is left: a job is somebody's.

        Raises:
            ValueError: the client lacks the notification topic.
        """
        given = {"id": job_id, "runtime": runtime}
        wanted = {name: [value] for name, value in given.items() if value is not None}
        if queue is not None:
            yield matching(bodies_of(self._cloud.queue(queue), queue), given)
            return
        if self._notification_topic is None:
            raise ValueError("the client has no notification topic")
        topic = self._cloud.topic(self._notification_topic)
        async with topic.subscribe(wanted or None) as bodies:
            yield matching(bodies, {})

    async def download(self, image: Image) -> bytes:
        """The bytes of a stored image.

        Raises:
            Rejected: it is said to lie where no results do.
        """
        place = ObjectLocation.parse(image.url)
        bucket = self._maybe_bucket() or self._cloud.bucket(place.bucket)
        if scheme_of(image.url) != "s3" or bucket.name != place.bucket:
            raise Rejected(f"{image.url} is in no bucket of results.", type="image_elsewhere")
        return await bucket.read(place.key)

    async def save(self, ending: Notification, folder: Path) -> list[Path]:
        """Download a finished job's files into the folder, which is made if needed."""
        return await save_images(self, ending, folder)

    async def redrive(
        self,
        *,
        dead_letters: str,
        queue: str,
        wanted: Callable[[str], bool] = lambda _: True,
        limit: int | None = None,
    ) -> AsyncIterator[str]:
        """Send dead letters back to their queue; yields each payload that went.

        `wanted` chooses by payload; the others are left, and seen by nobody for a minute.
        """
        source, target = self._cloud.queue(dead_letters), self._cloud.queue(queue)
        async with aclosing(redriven(source, target, wanted, limit)) as payloads:
            async for payload in payloads:
                yield payload

    async def clean(self, *, age: float = 3600.0, dry: bool = False) -> AsyncIterator[str]:
        """Remove what listeners left that were killed; yields each queue's address.

        And the ARN of each subscription whose queue is gone. Only queues that this package made
        are, more than `age` seconds ago, by which nobody listens; with `dry` they are found only.
        Looked for in the client's region.
        """
        for name in await self._cloud.left_listeners(age=age):
            if not dry:
                await self._cloud.remove_listener(name)
            yield name

    async def clean_bucket(self, *, dry: bool = False) -> AsyncIterator[str]:
        """Remove what no job needs any more; yields each object's key; with `dry` they are found.

        That is what lies since longer than a queue keeps messages under `cancelled/`,
        `checkpoints/` and `payloads/`, where no rule of the bucket has removed it. A client
        without a bucket finds none.
        """
        if (bucket := self._maybe_bucket()) is None:
            return
        async for key in outlived(bucket, now=self._cloud.now()):
            if not dry:
                await bucket.delete(key)
            yield key

    async def _heard(self) -> Listener:
        async with self._opening:
            if self._listener is None:
                self._listener = Listener(self.notifications)
                if self._notification_topic is not None:
                    await self._stack.enter_async_context(self._listener.listening())
                    await self._listener.ready(patience=_PATIENCE)
        return self._listener

    async def _forget_passing_failure(self, job_id: str, place: ResultLocation) -> None:
        """Remove what another attempt would replace, so that it is not taken for its answer."""
        if self._bucket is None:
            return
        with suppress(Unavailable):  # without the right to read results, publishing must go on
            await forget_passing_failure(self._results(), place)
        if self._listener is not None:
            self._listener.forget(job_id)

    async def _look_up(self, runtime: str | None) -> None:
        if self._routes is not None:
            await self._routes.check(runtime)

    def _topic(self) -> Topic:
        if self._job_topic is None:
            raise ValueError("the client has no job topic")
        return self._cloud.topic(self._job_topic)

    def _results(self) -> Bucket:
        if self._bucket is None:
            raise ValueError("the client has no bucket")
        return self._cloud.bucket(self._bucket)

    def _maybe_bucket(self) -> Bucket | None:
        return None if self._bucket is None else self._results()
