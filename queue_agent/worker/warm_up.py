"""One job of the operator's that runs after each start of the runtime, before all others.

So the load of a model is not paid by the first job. Nothing of it is stored or told to anybody.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Final

import structlog

from queue_agent.inputs.references import ReferenceFetcher
from queue_agent.runtime import Prepared, Progress, Readiness, Runtime
from queue_agent.telemetry.metrics import Metrics
from queue_agent.wire.errors import (
    QueueAgentError,
    Rejected,
    RunLost,
    RuntimeAway,
    RuntimeSick,
    RuntimeStuck,
    TimedOut,
)
from queue_agent.wire.job import Job
from queue_agent.worker.clean_up import clean_up
from queue_agent.worker.job_models import JobModels
from queue_agent.worker.slots import Slots
from queue_agent.worker.surprises import no_surprises

log = structlog.get_logger()

WARMING_UP: Final = Readiness("starting", "warming up")
_OUTAGES: Final = 20
"""So often a runtime that says that it is ready may refuse the job."""
_POLL: Final = 0.5
_STOPPING: Final = 60.0
"""Seconds after which a run that was cut off should have stopped, were it slow."""
_FOR_GOOD: Final = (Rejected, RuntimeAway, RunLost, RuntimeStuck, RuntimeSick)
"""Failures that would come again, or that may be the job's doing."""


@dataclass
class WarmUp:
    """Of one runtime. While it is due, no job is submitted and no message asked for.

    One that fails is warned of, and the jobs come all the same: a model that is not loaded is slow,
    and no reason to do nothing. It is tried again after the next start of the runtime, unless it
    is refused, or the runtime broke or went away with it, which it may have caused.
    """

    job: Job
    runtime: Runtime
    references: ReferenceFetcher
    slots: Slots
    time_limit: float
    """Seconds."""
    metrics: Metrics
    clock: Callable[[], float] = time.monotonic
    models: JobModels | None = None
    """Which of its models are fetched, before its time runs; None: none are."""
    due: bool = field(default=False, init=False)
    """Whether the runtime has not worked since it was started."""
    given_up: bool = field(default=False, init=False)
    """Whether it has failed so that it is not tried again."""
    _prepared: Prepared | None = field(default=None, init=False)
    _outages: int = field(default=0, init=False)
    _one_at_a_time: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)

    def __post_init__(self) -> None:
        self.started()

    def started(self) -> None:
        """The runtime was away, or may have been: it is another now."""
        if not self.given_up and not self.due:
            self.due, self._outages = True, 0
            self.slots.close()

    def worked(self) -> None:
        """A job's run has ended well, so the runtime was never away, or is warm."""
        self.due = False

    async def run(self) -> QueueAgentError | None:
        """Run the job, unless it is not due any more; what the failure says of the runtime, if any.

        Waits for the runs that are with the runtime: they fail if it was started anew.
        """
        async with self._one_at_a_time:
            while self.due and self.slots.at_runtime:
                self.slots.changed.clear()
                await self.slots.changed.wait()
            if not self.due:
                return None
            began = self.clock()
            if not self._outages:
                log.info("warming up", task_type=self.job.task_type)
            try:
                with no_surprises():
                    await self._run()
            except QueueAgentError as error:
                self._failed(error)
                return error
            seconds = self.clock() - began
            self.due = False
            self.metrics.warmed_up(seconds)
            log.info("warmed up", seconds=round(seconds, 3))
            return None

    def _failed(self, error: QueueAgentError) -> None:
        self._outages += 1
        if isinstance(error, RuntimeAway) and self._outages < _OUTAGES:
            return  # it never had the job
        self.due = False
        self.given_up = isinstance(error, _FOR_GOOD)
        log.warning(
            "warm-up failed; jobs are taken all the same",
            error=error.type,
            reason=error.message,
            again=not self.given_up,
        )

    async def again(self, busy: asyncio.Event) -> QueueAgentError | None:
        """Run the job once more, of a runtime that has none, and cut it off once `busy` is set.

        Returns what a failure says of the runtime. Jobs that come wait until it has stopped.
        """
        async with self._one_at_a_time:
            if self.due or self.given_up or self.slots.at_runtime or self.slots.closed.is_set():
                return None
            with self.slots.occupied():
                running = asyncio.create_task(self._run())
                coming = asyncio.create_task(busy.wait())
                try:
                    await asyncio.wait({running, coming}, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for task in (running, coming):
                        task.cancel()
                    await asyncio.wait({running, coming})
                return await self._ended(running)

    async def _ended(self, running: asyncio.Task[None]) -> QueueAgentError | None:
        self.slots.scheduler.in_doubt = True  # of what is loaded
        try:
            with no_surprises():
                if not running.cancelled():
                    running.result()
                elif self._prepared is not None:
                    await self._until_over(self._prepared)
        except QueueAgentError as error:
            self.given_up = isinstance(error, _FOR_GOOD) and not isinstance(error, RuntimeAway)
            log.warning(
                "runtime is not kept warm",
                error=error.type,
                reason=error.message,
                again=not self.given_up,
            )
            return error
        log.info("kept warm", cut_off=running.cancelled())
        return None

    async def _run(self) -> None:
        self.runtime.check_places(self.job)
        with ExitStack() as keep:
            if self.models is not None:
                fetched = await self.models.hold(await self.models.needed(self.job), keep)
                await self.models.tell_of(fetched)
            try:
                await self._run_in_time()
            except (RuntimeAway, RunLost):
                raise
            except QueueAgentError:
                await clean_up(self.runtime, self.job, again=False)
                raise
            await clean_up(self.runtime, self.job, again=False)

    async def _run_in_time(self) -> None:
        self._prepared = prepared = None
        try:
            async with asyncio.timeout(self.time_limit) as limit:
                carried = await self.references.check_carried(self.job.content)
                with ExitStack() as fetched:
                    wanted = self.runtime.references(self.job)
                    assets = await self.references.fetch(wanted, fetched, carried=carried)
                    self._prepared = prepared = await self.runtime.prepare(self.job, assets)
                    (await self.runtime.run(prepared, _ignore)).close()
        except TimeoutError:
            if not limit.expired():
                raise
            if prepared is not None:
                await self._until_over(prepared)
            raise TimedOut(f"It did not end within {self.time_limit:g} s.") from None

    async def _until_over(self, prepared: Prepared) -> None:
        """Wait until the runtime is done with the run that was cut off, before jobs come.

        Raises:
            RuntimeStuck: it goes on for too long with what it was told to stop.
        """
        since = self.clock()
        while await self._still_runs(prepared):
            if self.clock() >= since + _STOPPING:
                raise RuntimeStuck("The runtime goes on with the warm-up that it was told to stop.")
            await asyncio.sleep(_POLL)

    async def _still_runs(self, prepared: Prepared) -> bool | None:
        try:
            return await self.runtime.still_runs(prepared)
        except (RuntimeAway, RunLost):
            return False
        except QueueAgentError:
            return True  # for all that is known


def _ignore(_: Progress) -> None:
    """Nobody waits for it."""
