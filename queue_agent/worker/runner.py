"""Preparing and running a job on the runtime, with tries in place and a time limit."""

import asyncio
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, replace

import structlog

from queue_agent.inputs.references import ReferenceFetcher
from queue_agent.runtime import Output, Prepared, ProgressCallback, Runtime
from queue_agent.tasks import background
from queue_agent.telemetry.tracing import span
from queue_agent.wire.errors import TimedOut, Unavailable
from queue_agent.worker.delivery import Delivery
from queue_agent.worker.health import RuntimeHealth
from queue_agent.worker.progress import noting
from queue_agent.worker.retry import retry_in_place

log = structlog.get_logger()


@dataclass(frozen=True)
class JobRunner:
    """Uses one runtime for one job after another. Durations are in seconds."""

    runtime: Runtime
    health: RuntimeHealth
    references: ReferenceFetcher
    time_limit: float
    """For a run, from when the runtime has nothing left to do before it."""

    async def prepare(self, delivery: Delivery, inputs: AsyncExitStack) -> Prepared:
        """The job in the runtime's words; what it needs of its inputs is there until they end."""
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
                inputs.enter_context(fetched.pop_all())
            return prepared

        with delivery.step("prepare"):
            prepared = await retry_in_place(prepare)
        log.debug("prepared")
        return prepared

    async def run(self, delivery: Delivery, prepared: Prepared, report: ProgressCallback) -> Output:
        """Have the job worked on; it must have its turn at the runtime.

        Raises:
            TimedOut: it took longer than the time limit, and was interrupted.
        """

        async def run() -> Output:
            return await self._run_once(delivery, prepared, report)

        with span("run"):
            output = await retry_in_place(run)
        warnings = dict.fromkeys((*prepared.warnings, *output.warnings))
        return replace(output, warnings=tuple(warnings))

    async def _run_once(
        self, delivery: Delivery, prepared: Prepared, report: ProgressCallback
    ) -> Output:
        limit = asyncio.timeout(None)

        async def limit_from_start_of_work() -> None:
            await delivery.slot.running.wait()
            delivery.running()
            log.debug("running")
            limit.reschedule(asyncio.get_running_loop().time() + self.time_limit)

        try:
            async with limit, background(limit_from_start_of_work()):
                return await self.runtime.run(prepared, noting(report))
        except TimeoutError:
            if not limit.expired():
                raise
            raise TimedOut(f"The runtime did not finish within {self.time_limit:g} s.") from None
        except Unavailable as error:
            self.health.failed(error)
            raise
