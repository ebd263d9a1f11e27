"""The journey of a message, top to bottom:

    receive → parse → (already done?) → prepare → run → outputs → store → notify → acknowledge

Errors are decided here, by class: what is `Rejected` or `Unwanted` is answered, what is `NoJob` is
acknowledged and no more, what is `Unavailable` is tried again by this or another pod until the
queue's allowance is used up.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    ExitStack,
    asynccontextmanager,
    nullcontext,
    suppress,
)
from dataclasses import dataclass, field, replace
from functools import partial
from weakref import WeakValueDictionary

import structlog

from queue_agent.outputs import Order, OutputStage, Product
from queue_agent.runtime import Output, ProgressCallback
from queue_agent.wire.errors import (
    Malformed,
    NoJob,
    QueueAgentError,
    Rejected,
    Unavailable,
    Unwanted,
)
from queue_agent.wire.job import Job
from queue_agent.wire.layout import ResultKeys
from queue_agent.wire.notification import ErrorReport, Notification
from queue_agent.wire.result import Result
from queue_agent.worker.answer_rate import AnswerRate
from queue_agent.worker.cancellation import CancellationWatch
from queue_agent.worker.claims import Claims
from queue_agent.worker.deadlines import Deadlines
from queue_agent.worker.delivery import Delivery
from queue_agent.worker.ignored import IgnoredMessages
from queue_agent.worker.inbox import WRONG_RUNTIME, Inbox
from queue_agent.worker.misrouted import MisroutedJobs
from queue_agent.worker.notifier import Notifier
from queue_agent.worker.on_demand import MovedOnDemand, OnDemandQueues
from queue_agent.worker.pausing import Pausing, PutOff
from queue_agent.worker.policy import Policy
from queue_agent.worker.previews import Previews
from queue_agent.worker.runner import JobRunner
from queue_agent.worker.store import ResultStore
from queue_agent.worker.surprises import no_surprises
from queue_agent.worker.tenant_limit import TenantLimit

log = structlog.get_logger()


@dataclass(frozen=True)
class Processor:
    """Takes messages from receipt to acknowledgement."""

    policy: Policy
    inbox: Inbox
    store: ResultStore
    claims: Claims
    previews: Previews
    cancellations: CancellationWatch
    deadlines: Deadlines
    runner: JobRunner
    outputs: OutputStage
    """What is done with what a run made."""
    notifier: Notifier
    ignored: IgnoredMessages
    misrouted: MisroutedJobs
    answer_rate: AnswerRate
    """Of messages that name no job."""
    pausing: Pausing
    tenants: TenantLimit
    on_demand: OnDemandQueues | None = None
    """Where jobs go that have lost their attempts; None: they stay."""
    ran: Callable[[Delivery], None] = lambda _: None
    """Hears of each job whose run went well."""
    _under_way: WeakValueDictionary[str, asyncio.Lock] = field(
        default_factory=WeakValueDictionary, init=False
    )

    async def process(self, delivery: Delivery) -> None:
        """See one message through, in a task of its own.

        Only cancellation is raised, and it gives the message back at once.
        """
        async with (
            self.claims.removed(delivery),
            self.previews.kept(delivery),
            delivery.held(),
        ):
            try:
                with no_surprises():
                    ending = await self._ending(delivery)
                    with delivery.step("notify"):
                        await self.notifier.notify(ending, sleep=delivery.interruption.pause)
            except NoJob as error:
                delivery.ignored(error.type)
                self.ignored.note(error.type)
            except MovedOnDemand as error:
                delivery.moved(error)
            except PutOff as error:
                delivery.put_off(error)
                return
            except _Later as later:
                await self._put_off(delivery, later)
                return
            except QueueAgentError as error:
                delivery.released(error)
                log.warning("attempt failed", error=error.type, reason=error.message)
                asked = error.retry_after if isinstance(error, Unavailable) else 0.0
                await delivery.lease.release(max(asked, self.policy.delay(delivery.number)))
                return
            else:
                delivery.answered(ending)
            await self._acknowledge(delivery)

    async def _ending(self, delivery: Delivery) -> Notification:
        """What subscribers are to be told of the message."""
        try:
            with no_surprises():
                async with delivery.interruption.ends():
                    with delivery.step("parse"):
                        delivery.parsed(self._allowed(await self.inbox.open(delivery.message)))
                    log.info("received", task_type=delivery.job.task_type)
                    with suppress(Unwanted):  # which is noticed again, and answered, below
                        await self.pausing.admit(delivery)
                    await self.tenants.admit(delivery)
                    async with self._one_at_a_time(delivery), self._cleaned_up(delivery):
                        return (await self._result(delivery)).notification()
        except Malformed as error:
            if "id" not in error.details:
                await self._turn(delivery)
            return await self._quarantine(delivery, error)
        except Unavailable as error:
            if not self.policy.is_last(delivery.message):
                raise
            return await self._give_up(delivery, error)

    def _allowed(self, job: Job) -> Job:
        """The job without what the operator does not want."""
        return job if self.policy.preview_interval is not None else job.without_previews()

    async def _result(self, delivery: Delivery) -> Result:
        done = await self._done_before(delivery)
        if done is not None:
            return done
        if self.on_demand is not None:
            await self.on_demand.take(delivery)
        async with self.claims.renewed(delivery):
            return await self._worked_on(delivery)

    async def _worked_on(self, delivery: Delivery) -> Result:
        with ExitStack() as files:
            try:
                output = await self._output(delivery, files)
                products = await self._products(delivery, output, files)
            except (Rejected, Unwanted) as error:
                log.info("refused", error=error.type, reason=error.message)
                if error.type == WRONG_RUNTIME:
                    self.misrouted.note(delivery.job.metadata.runtime or "")
                delivery.verdict = error
                return await self.store.store_failure(delivery, error)
            ended = await self.store.store(delivery, output, products)
        log.info("completed", images=len(ended.images), **ended.timings.model_dump())
        return ended

    async def _done_before(self, delivery: Delivery) -> Result | None:
        exhausted = self.policy.is_exhausted(delivery.message)
        find = partial(self.store.find, delivery.job, attempt=not exhausted)
        with delivery.step("find"):
            done = await self.claims.first(delivery, find)
        if done is not None:
            log.info("done before", status=done.status)
            return done.again(delivery.number)
        if exhausted:
            raise Unavailable(
                "No attempt came to an end: the agent was ended in each.",
                type="attempts_exhausted",
            )
        return None

    async def _output(self, delivery: Delivery, files: ExitStack) -> Output:
        """Prepare and run: what a job that nobody wants any more does not need.

        The files of what was made are there until `files` is closed.
        """
        async with self.cancellations.wanted(delivery.job), AsyncExitStack() as inputs:
            self.inbox.check(delivery.job)

            def progress() -> AbstractAsyncContextManager[ProgressCallback]:
                return self.notifier.progress(delivery)

            await self.deadlines.judge(delivery)
            prepared = await self.runner.prepare(
                delivery,
                inputs,
                progress,
                assets_kept=files if self.outputs.wants_inputs else None,
            )
            await self.pausing.admit(delivery)  # now it is known which models it needs
            await self.deadlines.judge(delivery)
            output = await self.runner.run(delivery, prepared, progress)
            files.callback(delivery.slot.holds, 0)
            files.callback(output.close)
        delivery.spent(wait=delivery.slot.waited, run=delivery.slot.ran)
        self.ran(delivery)
        return self._with_what_is_there(delivery, output)

    async def _products(
        self, delivery: Delivery, output: Output, files: ExitStack
    ) -> list[Product]:
        """What is delivered of the output, while the next job runs."""
        order = Order(delivery.job, output.wanted, files, delivery.inputs)
        with delivery.step("outputs"):
            products = await self.outputs.products(order, output.artifacts)
        delivery.slot.holds(sum(product.size for product in products))
        return products

    def _with_what_is_there(self, delivery: Delivery, output: Output) -> Output:
        """The output, with a warning for what it lacks where nobody may try again.

        Raises:
            Unavailable: something is missing that another attempt may bring.
        """
        if not output.missing:
            return output
        if not (output.artifacts and self.policy.is_last(delivery.message)):
            raise Unavailable(" ".join(output.missing), type="output_missing")
        return replace(output, warnings=(*output.warnings, *output.missing))

    async def _acknowledge(self, delivery: Delivery) -> None:
        lease, patience = delivery.lease, self.policy.store_patience
        with delivery.step("acknowledge"):
            if delivery.left_to_dead_letters:
                await lease.bury(patience=patience)
            else:
                await lease.acknowledge(patience=patience)

    async def _turn(self, delivery: Delivery) -> None:
        """Wait until a message that names no job may be answered, beside the jobs.

        Raises:
            _Later: too many wait already.
        """
        delivery.slot.needs_no_runtime()
        wait = self.answer_rate.turn()
        if wait is None:
            raise _Later(self.answer_rate.later())
        await asyncio.sleep(wait)

    async def _put_off(self, delivery: Delivery, later: "_Later") -> None:
        """Leave a message that names no job to a later delivery, or to the dead letters."""
        delivery.released(later)
        last = self.policy.ends_in_dead_letters(delivery.message)
        if last:
            delivery.telemetry.metrics.left_to_dead_letters()
        log.warning("not answered yet", error=later.type, reason=later.message, dead_letter=last)
        if last:
            await delivery.lease.bury(patience=self.policy.store_patience)
        else:
            await delivery.lease.release(later.delay)

    async def _quarantine(self, delivery: Delivery, error: QueueAgentError) -> Notification:
        """Keep the body, and answer as well as the message lets us."""
        url = await self._kept(delivery, error)
        log.warning("quarantined", error=error.type, reason=error.message, url=url)
        return Notification(
            runtime=self.policy.runtime_name,
            id=str(error.details.get("id", delivery.message.id)),
            status="failed",
            result=False,
            output_url=url,
            context=error.details.get("context"),
            attempt=delivery.number,
            redelivered=delivery.number > 1
            if isinstance(error, Malformed)
            else self.policy.is_exhausted(delivery.message),
            error=ErrorReport.of(error),
        )

    async def _kept(self, delivery: Delivery, error: QueueAgentError) -> str | None:
        """Where the body lies; None: the bucket takes it not, but the dead letters will."""
        try:
            async with delivery.interruption.ends():
                url = await self.store.quarantine(delivery.message, error)
        except Unavailable as storing:
            if not self.policy.ends_in_dead_letters(delivery.message):
                raise
            log.warning("body not written", reason=storing.message)
            delivery.left_to_dead_letters = True
            return None
        delivery.quarantined()
        return url

    async def _give_up(self, delivery: Delivery, error: QueueAgentError) -> Notification:
        """The queue's allowance is used up: say so, and leave the message to its dead letters."""
        error = delivery.verdict or error
        log.error("given up", error=error.type, reason=error.message)
        if not (delivery.is_parsed and self.policy.has_dead_letters(delivery.message)):
            ending = await self._quarantine(delivery, error)
        if delivery.is_parsed:
            ending = await self._failed(delivery, error)
        settled = ending.output_url and not (ending.error and ending.error.retryable)
        delivery.left_to_dead_letters = not settled and self.policy.has_dead_letters(
            delivery.message
        )
        return ending

    async def _failed(self, delivery: Delivery, error: QueueAgentError) -> Notification:
        """The failure, or the result of another pod that was faster."""
        try:
            async with delivery.interruption.ends():
                return (await self.store.store_failure(delivery, error)).notification()
        except Unavailable as storing:
            log.warning("manifest not written", reason=storing.message)
            failure = self.store.failure(delivery, error)
            if self.policy.is_exhausted(delivery.message):  # no manifest says whether it was told
                failure = failure.again(delivery.number)
            return failure.notification()

    @asynccontextmanager
    async def _cleaned_up(self, delivery: Delivery) -> AsyncIterator[None]:
        """Nothing of the job is left on the runtime after the block, unless it is cut off."""
        try:
            yield
        except PutOff:
            await self.runner.clean_up(delivery, again=True)
            raise
        except Unavailable:
            again = not self.policy.is_last(delivery.message)
            await self.runner.clean_up(delivery, again=again)
            raise
        await self.runner.clean_up(delivery, again=False)

    @asynccontextmanager
    async def _one_at_a_time(self, delivery: Delivery) -> AsyncIterator[None]:
        """Duplicates in this process wait for the first, and then find its result."""
        lock = self._under_way.setdefault(ResultKeys.of(delivery.job).manifest, asyncio.Lock())
        with delivery.slot.elsewhere() if lock.locked() else nullcontext():
            await lock.acquire()
        try:
            yield
        finally:
            lock.release()


class _Later(Unavailable):
    """A message is to come again after so many seconds."""

    def __init__(self, delay: float) -> None:
        super().__init__("Too many messages at once that name no job.", type="too_many_malformed")
        self.delay = delay
