"""Preparing and running a job on the runtime, with tries in place and a time limit.

A job answers for its own runs only. While the runtime is away it waits, and tries again. A run
that was lost with the runtime makes its job suspected, and it is run again, alone; if the runtime
goes once more, the job is at fault.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, ExitStack
from dataclasses import dataclass, field, replace
from typing import Final, TypeVar

import structlog
from cachetools import LRUCache
from pydantic_core import to_json

from queue_agent.cloud import Message
from queue_agent.inputs.references import ReferenceFetcher
from queue_agent.runtime import Output, Prepared, Progress, ProgressCallback, Runtime
from queue_agent.runtime.failures import is_beyond_repair
from queue_agent.tasks import background
from queue_agent.telemetry.tracing import span
from queue_agent.wire.errors import (
    QueueAgentError,
    Rejected,
    RunLost,
    RuntimeAway,
    RuntimeSick,
    RuntimeStuck,
    TimedOut,
    Unavailable,
)
from queue_agent.wire.job import Job
from queue_agent.worker.checkpoints import Checkpoints
from queue_agent.worker.clean_up import clean_up
from queue_agent.worker.delivery import Delivery
from queue_agent.worker.health import RuntimeHealth
from queue_agent.worker.job_models import JobModels
from queue_agent.worker.leftovers import Leftovers
from queue_agent.worker.progress import noting
from queue_agent.worker.retry import LASTING, retry_in_place

log = structlog.get_logger()

T = TypeVar("T")
ProgressRelays = Callable[[], AbstractAsyncContextManager[ProgressCallback]]


_OUTAGES: Final = 20
"""So often a job waits for a runtime that is ready and refuses it when it comes."""
_LOST_PREPARATIONS: Final = 3
"""So often the runtime may go away while it is given a job's inputs."""
OTHERS_FIRST: Final = 3600.0
"""Seconds for which a runtime may work for others before it begins with a job."""
_REMEMBERED: Final = 256
_PRESENT: Final = frozenset({"ready", "stuck", "sick"})
"""States of a runtime whose process is there."""


@dataclass(frozen=True)
class JobRunner:
    """Uses one runtime for one job after another. Durations are in seconds."""

    runtime: Runtime
    health: RuntimeHealth
    leftovers: Leftovers
    references: ReferenceFetcher
    time_limit: Callable[[Job], float]
    """Of a job's run, from when the runtime begins with it, as far as that is known; else from
    when it has nothing of ours left to do before it."""
    is_last: Callable[[Message], bool] = lambda _: False
    """Whether the queue allows no delivery after that of this number."""
    checkpoints: Checkpoints | None = None
    """What runs have done, for those that go on with it; None: nothing is kept."""
    models: JobModels | None = None
    """Of jobs whose models are fetched; None: none are."""
    _deadly: LRUCache[str, None] = field(
        default_factory=lambda: LRUCache(_REMEMBERED), init=False, repr=False
    )
    """Digests of the jobs with which, alone, the runtime was lost."""

    async def prepare(
        self,
        delivery: Delivery,
        inputs: AsyncExitStack,
        progress: ProgressRelays,
        *,
        assets_kept: ExitStack | None = None,
    ) -> Prepared:
        """The job in the runtime's words; what it needs of its inputs is there until they end.

        Models that are missing come first, and `progress` is opened while they are fetched. The
        assets are there for as long as `assets_kept`, where it is given.
        """
        job = delivery.job

        async def prepare() -> Prepared:
            self.runtime.check_places(job)
            carried = await self.references.check_carried(job.content)
            with ExitStack() as fetched:
                assets = await self.references.fetch(
                    self.runtime.references(job), fetched, carried=carried
                )
                delivery.fetched(sum(asset.size for asset in assets.values()))
                prepared = await self.runtime.prepare(job, assets)
                delivery.slot.use = prepared.use
                (assets_kept or inputs).enter_context(fetched.pop_all())
                if assets_kept is not None:
                    delivery.inputs = tuple(assets.values())
            return prepared

        with delivery.step("prepare"):
            warnings = await self._have_models(delivery, inputs, progress)
            prepared = await self._when_there(delivery, prepare)
        log.debug("prepared")
        return replace(prepared, warnings=(*warnings, *prepared.warnings)) if warnings else prepared

    async def _have_models(
        self, delivery: Delivery, inputs: AsyncExitStack, progress: ProgressRelays
    ) -> Sequence[str]:
        """Have the job's models there until its inputs end; words for its publisher."""
        if self.models is None:
            return ()
        models, job = self.models, delivery.job
        needed = await self._when_there(delivery, lambda: models.needed(job))
        keep = inputs.enter_context(ExitStack())
        if needed.missing:
            with delivery.slot.fetching():
                async with progress() as report:
                    fetched = await models.hold(needed, keep, report)
        else:
            fetched = await models.hold(needed, keep)
        await self._when_there(delivery, lambda: models.tell_of(fetched))
        return fetched.warnings

    async def _when_there(self, delivery: Delivery, action: Callable[[], Awaitable[T]]) -> T:
        """Do what may need the runtime; while that is away, wait."""
        outages = lost = 0
        while True:
            try:
                return await retry_in_place(action)
            except Unavailable as error:
                seen = await self._seen_from_here(error)
                if not isinstance(seen, RuntimeAway | RunLost):
                    raise
                self.health.failed(seen)
                outages += 1
                lost += isinstance(error, RunLost)
                if outages >= _OUTAGES or lost >= _LOST_PREPARATIONS:
                    raise
                await delivery.slot.outage()

    async def run(self, delivery: Delivery, prepared: Prepared, progress: ProgressRelays) -> Output:
        """Have the job worked on when its turn comes; `progress` is opened for each run.

        Raises:
            TimedOut: it took longer than the time limit, and was interrupted.
            RunLost: the runtime went away with this job, and again while it had no other.
            RuntimeStuck, RuntimeSick: another pod may do better. At the last delivery, where none
                would, the job waits for the runtime and is run once more.
            Unavailable: also when the message has waited for the runtime for too long.
        """
        slot, digest = delivery.slot, delivery.job.digest
        slot.suspected = digest in self._deadly
        outages = 0
        once_more = self.is_last(delivery.message)
        while True:
            if self.checkpoints is not None:
                await self.checkpoints.look_for(delivery)
            try:
                async with slot.turn(), progress() as report:
                    output = await self._run(delivery, prepared, report)
            except (RuntimeAway, _Bystander):
                outages += 1
                if outages >= _OUTAGES:
                    raise
            except (RuntimeStuck, RuntimeSick, TimedOut):
                if not (once_more and await self._is_broken(prepared)):
                    raise
                once_more = False
            except RunLost as error:
                if slot.suspected:  # and so alone
                    self._deadly[digest] = None
                    raise
                log.warning("suspected", reason=error.message)
                slot.suspected = True
            else:
                self._deadly.pop(digest, None)
                return output

    async def clean_up(self, delivery: Delivery, *, again: bool) -> None:
        """Have removed what the job has left on the runtime and beside it; never fails."""
        await clean_up(self.runtime, delivery.job, again=again)
        if self.checkpoints is not None and not again:
            await self.checkpoints.remove(delivery)

    async def _is_broken(self, prepared: Prepared) -> bool:
        """Whether the runtime is found to be stuck or sick, now that this run has failed."""
        await self.leftovers.judged(prepared)
        return self.health.broken.is_set()

    async def _run(
        self, delivery: Delivery, prepared: Prepared, report: ProgressCallback
    ) -> Output:
        async def run() -> Output:
            return await self._run_once(delivery, prepared, report)

        with span("run"):
            try:
                output = await retry_in_place(run)
            except Unavailable as error:
                if (seen := await self._seen_from_here(error)) is error:
                    raise
                raise seen from error
        warnings = dict.fromkeys((*prepared.warnings, *output.warnings))
        return replace(output, warnings=tuple(warnings), wanted=prepared.output)

    async def _seen_from_here(self, error: Unavailable) -> Unavailable:
        """What a failure says: where a proxy answers for it, a runtime that is gone is a 502.

        One that lets the agent not in has not had the job.
        """
        if isinstance(error, LASTING):
            return error
        state = (await self.health.check()).state
        if state in _PRESENT:
            return error
        kind = RuntimeAway if state == "misconfigured" else RunLost
        lost = kind(error.message, type=error.type, details=error.details)
        self.health.failed(lost)
        return lost

    async def _run_once(
        self, delivery: Delivery, prepared: Prepared, report: ProgressCallback
    ) -> Output:
        limit, began = asyncio.timeout(None), asyncio.Event()
        note = noting(report)

        def moved(progress: Progress) -> None:
            began.set()
            if delivery.slot.running.is_set():
                delivery.running()
            self.leftovers.moved()
            note(progress)

        async def end_with_the_runtime() -> None:
            await self.health.broken.wait()
            limit.reschedule(asyncio.get_running_loop().time())

        self.leftovers.resumed(prepared)
        try:
            async with (
                limit,
                background(self._limit_from_start_of_work(delivery, limit, began)),
                background(end_with_the_runtime()),
            ):
                output = await self._ran(delivery, prepared, moved)
                delivery.slot.holds(output.size)
        except asyncio.CancelledError:
            self.leftovers.leave(prepared, delivery.slot)
            raise
        except TimeoutError:
            if not limit.expired():
                raise
            self.leftovers.leave(prepared, delivery.slot)
            if (trouble := self.health.error()) is not None:
                raise _Bystander(trouble.message, type=trouble.type) from None
            if self.runtime.tells_of_the_start and not began.is_set():
                raise TimedOut(f"The runtime worked for others for {OTHERS_FIRST:g} s.") from None
            seconds = self.time_limit(delivery.job)
            raise TimedOut(f"The runtime did not finish within {seconds:g} s.") from None
        except QueueAgentError as error:
            meant = self._meant(error, delivery.job)
            self.health.failed(meant)
            raise meant from error
        self.leftovers.moved()
        self.health.worked()
        return output

    async def _ran(
        self, delivery: Delivery, prepared: Prepared, progress: ProgressCallback
    ) -> Output:
        if self.checkpoints is None:
            return await self.runtime.run(prepared, progress)
        return await self.checkpoints.run(delivery, prepared, progress)

    async def _limit_from_start_of_work(
        self, delivery: Delivery, limit: asyncio.Timeout, began: asyncio.Event
    ) -> None:
        """End the run in time; while others' work goes before it, its time does not run."""
        loop, slot, broken = asyncio.get_running_loop(), delivery.slot, self.health.broken
        await slot.running.wait()
        if self.runtime.tells_of_the_start and not began.is_set():
            if not broken.is_set():
                limit.reschedule(loop.time() + OTHERS_FIRST)
            await began.wait()
            slot.begins()
        if broken.is_set():
            return
        delivery.running()
        log.debug("running")
        limit.reschedule(loop.time() + self.time_limit(delivery.job))

    def _meant(self, error: QueueAgentError, job: Job) -> QueueAgentError:
        """What a run's failure says, where the runtime is broken, or the job speaks of that."""
        if isinstance(error, RuntimeSick) and is_beyond_repair(to_json(job.content).decode()):
            return Unavailable(error.message, details=error.details)
        if isinstance(error, Rejected) and (trouble := self.health.error()) is not None:
            return trouble
        return error


class _Bystander(RuntimeStuck):
    """A run that was ended because the runtime is broken, as another has shown."""
