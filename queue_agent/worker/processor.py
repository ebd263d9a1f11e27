"""The journey of a message, top to bottom:

    receive → parse → (already done?) → prepare → run → store → notify → acknowledge

Errors are decided here, by class: what is `Rejected` or `Withdrawn` is answered, what is
`Unavailable` is tried again by this or another pod until the queue's allowance is used up.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from weakref import WeakValueDictionary

import structlog
from structlog.contextvars import bind_contextvars

from queue_agent.cloud import Message, Queue, Topic
from queue_agent.inputs.references import ReferenceFetcher
from queue_agent.runtime import Output, Prepared, Progress, ProgressCallback, Runtime
from queue_agent.tasks import background
from queue_agent.telemetry import Telemetry, carrier, current_trail, span, step
from queue_agent.wire.errors import (
    JobCancelled,
    JobExpired,
    Malformed,
    QueueAgentError,
    Rejected,
    TimedOut,
    Unavailable,
    Withdrawn,
)
from queue_agent.wire.job import Job
from queue_agent.wire.layout import ResultKeys
from queue_agent.wire.notification import ErrorReport, Notification, Status
from queue_agent.worker.attempt import Attempt
from queue_agent.worker.cancellation import WithdrawalWatch
from queue_agent.worker.forecast import kind_of
from queue_agent.worker.inbox import Inbox
from queue_agent.worker.lease import hold
from queue_agent.worker.progress import ProgressRelay, noting
from queue_agent.worker.retry import patiently, quickly
from queue_agent.worker.slots import Place
from queue_agent.worker.store import ResultStore
from queue_agent.worker.webhooks import Webhooks

log = structlog.get_logger()

_IN_PLACE_ATTEMPTS = 3
_LONGEST_DELAY = 900.0
_LARGEST_NOTIFICATION = 250_000
"""Bytes; SNS takes 256 KiB, attributes included:
https://docs.aws.amazon.com/sns/latest/api/API_Publish.html"""


@dataclass(frozen=True)
class Rules:
    """What the operator and the queue prescribe. Durations are in seconds."""

    runtime_name: str
    lease: float
    max_receives: int
    has_dead_letter_queue: bool
    run_timeout: float
    store_patience: float
    retry_delay: float
    hold_limit: float
    """A message that the runtime has no place for is given back after so long."""
    progress_interval: float | None
    """None: no `running` notifications."""
    presign: float


@dataclass(frozen=True)
class Answer:
    """What subscribers are told, and whether the message has served its purpose."""

    notification: Notification
    acknowledge: bool = True


@dataclass
class Journey:
    """Takes messages from receipt to acknowledgement."""

    rules: Rules
    queue: Queue
    topic: Topic
    inbox: Inbox
    store: ResultStore
    runtime: Runtime
    references: ReferenceFetcher
    webhooks: Webhooks
    withdrawals: WithdrawalWatch
    telemetry: Telemetry = field(default_factory=Telemetry)
    now: Callable[[], float] = time.time
    _under_way: WeakValueDictionary[str, asyncio.Lock] = field(
        default_factory=WeakValueDictionary, init=False
    )

    async def complete(self, message: Message, place: Place, *, asked: float) -> None:
        """See one message through, in a task of its own.

        `asked`: when the message was asked for, by the monotonic clock. Only cancellation is
        raised, and it gives the message back at once.
        """
        bind_contextvars(message_id=message.id, attempt=message.receive_count)
        async with (
            self.telemetry.journey(message, asked=asked) as trail,
            hold(
                self.queue,
                message,
                duration=self.rules.lease,
                metrics=self.telemetry.metrics,
            ) as lease,
        ):
            try:
                with _no_surprises():
                    answer = await self._answer(message, place)
                    with step("notify"):
                        await self._notify(answer.notification)
            except Unavailable as error:
                trail.released(error)
                log.warning("attempt failed", error=error.type, reason=error.message)
                await lease.release(self._delay(message))
                return
            trail.answered(answer.notification)
            place.answered()
            if answer.acknowledge:
                with step("acknowledge"):
                    await lease.acknowledge(patience=self.rules.store_patience)
            else:
                self.telemetry.metrics.left_to_dead_letters()
                await lease.release()  # the queue moves it to its dead-letter queue

    async def _answer(self, message: Message, place: Place) -> Answer:
        attempt: Attempt | None = None
        try:
            with _no_surprises():
                with step("parse"):
                    job = await self.inbox.open(message)
                current_trail().parsed(job)
                attempt = Attempt(message, job, self._queued(message))
                bind_contextvars(job_id=job.id)
                place.kind = kind_of(job)
                log.info("received", task_type=job.task_type)
                async with self._one_at_a_time(job):
                    return Answer(await self._result(attempt, place))
        except Malformed as error:
            return Answer(await self._quarantine(message, error))
        except Unavailable as error:
            if not self._is_last(message):
                raise
            return await self._give_up(message, attempt, error)

    async def _result(self, attempt: Attempt, place: Place) -> Notification:
        with step("find"):
            done = await self.store.find(attempt.job)
        if done is not None:
            log.info("done before", status=done.status)
            return done.again(attempt.number).notification()
        if attempt.number > self.rules.max_receives:
            raise Unavailable(
                "No attempt came to an end: the agent was ended in each.",
                type="attempts_exhausted",
            )
        try:
            output = await self._generate(attempt, place)
        except (Rejected, Withdrawn) as error:
            log.info("refused", error=error.type, reason=error.message)
            ended = await self.store.store_failure(attempt, _status(error), error)
        else:
            ended = await self.store.store(attempt, output)
            log.info("completed", images=len(ended.images), **ended.timings.model_dump())
        return ended.notification()

    async def _generate(self, attempt: Attempt, place: Place) -> Output:
        """Prepare and run: what a withdrawn job does not need."""
        async with self.withdrawals.wanted(attempt.job), AsyncExitStack() as inputs:
            self.inbox.check(attempt.job)
            with attempt.timed("prepare"):
                prepared = await self._prepare(attempt.job, inputs)
            log.debug("prepared")
            patience = None if self._is_last(attempt.message) else self.rules.hold_limit
            async with place.turn(patience=patience):
                with span("run"):
                    output = await self._run(attempt, prepared, place)
        attempt.spent(wait=place.waited, run=place.ran)
        warnings = dict.fromkeys((*prepared.warnings, *output.warnings))
        return replace(output, warnings=tuple(warnings))

    async def _prepare(self, job: Job, inputs: AsyncExitStack) -> Prepared:
        """The job in the runtime's words; what it needs of its inputs is there until they end."""

        async def prepare() -> Prepared:
            with ExitStack() as fetched:
                assets = await self.references.fetch(self.runtime.references(job), fetched)
                current_trail().fetched(sum(asset.size for asset in assets.values()))
                prepared = await self.runtime.prepare(job, assets)
                inputs.enter_context(fetched.pop_all())
            return prepared

        return await quickly(prepare, attempts=_IN_PLACE_ATTEMPTS)

    async def _run(self, attempt: Attempt, prepared: Prepared, place: Place) -> Output:
        async with self._relayed(attempt, place) as report:
            return await quickly(
                lambda: self._run_once(prepared, report, place), attempts=_IN_PLACE_ATTEMPTS
            )

    async def _run_once(self, prepared: Prepared, report: ProgressCallback, place: Place) -> Output:
        limit = asyncio.timeout(None)

        async def limit_from_start_of_work() -> None:
            await place.running.wait()
            current_trail().running(prepared.job)
            log.debug("running")
            limit.reschedule(asyncio.get_running_loop().time() + self.rules.run_timeout)

        try:
            async with limit, background(limit_from_start_of_work()):
                return await self.runtime.run(prepared, noting(report))
        except TimeoutError:
            if not limit.expired():
                raise
            raise TimedOut(
                f"The runtime did not finish within {self.rules.run_timeout:g} s."
            ) from None

    @asynccontextmanager
    async def _relayed(self, attempt: Attempt, place: Place) -> AsyncIterator[ProgressCallback]:
        """Where the runtime reports its progress to: the line, and subscribers if they want."""
        if self.rules.progress_interval is None:
            yield lambda progress: place.report(progress.fraction)
            return

        async def publish(progress: Progress) -> None:
            running = self._notification(attempt, "running", progress=progress.fraction)
            await self.topic.publish(running.to_json(), {**running.attributes(), **carrier()})

        relay = ProgressRelay(publish, interval=self.rules.progress_interval)
        async with relay.relaying() as tell:

            def report(progress: Progress) -> None:
                place.report(progress.fraction)
                tell(progress)

            yield report

    async def _notify(self, notification: Notification) -> None:
        notification = self.webhooks.checked(notification)
        if self.rules.presign:
            notification = await self.store.with_links(notification, self.rules.presign)
        body = notification.fitted(_LARGEST_NOTIFICATION).to_json()
        await patiently(
            lambda: self.topic.publish(body, {**notification.attributes(), **carrier()}),
            seconds=self.rules.store_patience,
        )
        log.debug("notified", status=notification.status)
        await self.webhooks.send(notification, body)

    async def _quarantine(self, message: Message, error: QueueAgentError) -> Notification:
        """Keep the body, and answer as well as the message lets us."""
        url = await self.store.quarantine(message, error)
        self.telemetry.metrics.quarantined()
        log.warning("quarantined", error=error.type, reason=error.message, url=url)
        return Notification(
            runtime=self.rules.runtime_name,
            id=str(error.details.get("id", message.id)),
            status="failed",
            result=False,
            output_url=url,
            context=error.details.get("context"),
            attempt=message.receive_count,
            error=ErrorReport.of(error),
        )

    async def _give_up(
        self, message: Message, attempt: Attempt | None, error: Unavailable
    ) -> Answer:
        """The queue's allowance is used up: say so, and leave the message to its dead letters."""
        log.error("given up", error=error.type, reason=error.message)
        if attempt is None or not self.rules.has_dead_letter_queue:
            notification = await self._quarantine(message, error)
        if attempt is not None:
            notification = await self._failed(attempt, error)
        acknowledge = notification.status == "completed" or not self.rules.has_dead_letter_queue
        return Answer(notification, acknowledge=acknowledge)

    async def _failed(self, attempt: Attempt, error: Unavailable) -> Notification:
        """The failure, or the result of another pod that was faster."""
        try:
            stored = await self.store.store_failure(attempt, "failed", error)
            return stored.notification()
        except Unavailable as storing:
            log.warning("manifest not written", reason=storing.message)
            return self._notification(attempt, "failed", error=ErrorReport.of(error))

    def _notification(self, attempt: Attempt, status: Status, **fields: Any) -> Notification:
        return Notification(
            runtime=self.rules.runtime_name,
            id=attempt.job.id,
            status=status,
            result=False,
            context=attempt.job.metadata.context,
            attempt=attempt.number,
            **fields,
        )

    @asynccontextmanager
    async def _one_at_a_time(self, job: Job) -> AsyncIterator[None]:
        """Duplicates in this process wait for the first, and then find its result."""
        lock = self._under_way.setdefault(ResultKeys.of(job).manifest, asyncio.Lock())
        async with lock:
            yield

    def _is_last(self, message: Message) -> bool:
        return message.receive_count >= self.rules.max_receives

    def _queued(self, message: Message) -> float:
        return max(0.0, self.now() - message.sent_at) if message.sent_at else 0.0

    def _delay(self, message: Message) -> float:
        """Seconds until the next attempt: doubled with each, spread so that none come together."""
        doubled: float = self.rules.retry_delay * 2 ** min(message.receive_count - 1, 20)
        return min(doubled, _LONGEST_DELAY) * random.uniform(0.5, 1.0)  # noqa: S311  no secret


@contextmanager
def _no_surprises() -> Iterator[None]:
    """The one edge: no fault of ours may end the agent or leave a job unanswered."""
    try:
        yield
    except QueueAgentError:
        raise
    except Exception as error:
        log.exception("unexpected error")
        raise Unavailable(
            f"Unexpected {type(error).__name__} in the agent.", type="internal_error"
        ) from error


def _status(error: Rejected | Withdrawn) -> Status:
    if isinstance(error, JobCancelled):
        return "cancelled"
    return "expired" if isinstance(error, JobExpired) else "failed"
