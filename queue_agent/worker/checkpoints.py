"""What runs have done so far, kept in the bucket, so that another attempt goes on with it.

Where the adapter has checkpoints, the run of a message that is given back hands out what it has
done, and every few steps beside that, for pods that are killed. The next attempt is run from there.
A checkpoint only saves time: nothing fails by one that cannot be written, read or used.
"""

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Final

import structlog

from queue_agent.cloud import Bucket
from queue_agent.runtime import Output, Prepared, Progress, ProgressCallback, Runtime
from queue_agent.tasks import background
from queue_agent.telemetry.metrics import Metrics
from queue_agent.wire.errors import QueueAgentError, Rejected, RuntimeAway
from queue_agent.worker.checkpoint_folder import CheckpointFolder
from queue_agent.worker.delivery import Delivery
from queue_agent.worker.surprises import no_surprises

log = structlog.get_logger()

_LONGEST: Final = 5.0
"""Seconds for handing out and writing one while the agent must end, and for looking for one."""


@dataclass(frozen=True)
class Checkpoints:
    """Those of one runtime's jobs, in the bucket of the results."""

    bucket: Bucket
    runtime: Runtime
    runtime_name: str
    limit: int = 0
    """Bytes; a larger one is not kept, and 0 keeps none."""
    every: int = 0
    """Steps after which what was done is kept while the run goes on; 0: it is not."""
    metrics: Metrics = field(default_factory=Metrics)

    async def look_for(self, delivery: Delivery) -> None:
        """Have what another attempt at the job has done at hand, once in a delivery."""
        if self._on and delivery.checkpoint is None:
            await self._guarded("read", self._read(delivery))

    async def run(
        self, delivery: Delivery, prepared: Prepared, progress: ProgressCallback
    ) -> Output:
        """Run it from where an attempt has come; given back, keep what was done.

        A job fails by no checkpoint: one with which a run has failed is used for no other here.
        """
        if not self._on:
            return await self.runtime.run(prepared, progress)
        given = delivery.checkpoint
        try:
            return await self._run(delivery, replace(prepared, checkpoint=given), progress)
        except RuntimeAway:
            raise
        except QueueAgentError as error:
            if given is None or delivery.checkpoint is not given:
                raise
            delivery.checkpoint = None
            log.warning("checkpoint not used again", error=error.type, reason=error.message)
            if not isinstance(error, Rejected):
                raise  # and tried again, by who decides that
            return await self._run(delivery, prepared, progress)

    async def _run(
        self, delivery: Delivery, prepared: Prepared, progress: ProgressCallback
    ) -> Output:
        steps = _Steps(self.every, progress, resumed=prepared.checkpoint is not None)
        running = asyncio.create_task(self.runtime.run(prepared, steps.note))
        try:
            async with background(self._keep(delivery, prepared, steps)):
                output = await asyncio.shield(running)
        except asyncio.CancelledError:
            lost = self._folder(delivery).superseded
            if delivery.given_back and not running.done() and not lost:
                await self._guarded("keep", self._hand_out(delivery, prepared, stop=True))
            raise
        finally:
            await _ended(running)
        if output.steps_saved:
            log.info("taken up", steps_saved=output.steps_saved)
            self.metrics.saved(output.steps_saved)
        return output

    async def remove(self, delivery: Delivery) -> None:
        """The job has ended, and nobody needs what attempts at it have done."""
        folder, delivery.checkpoint = self._folder(delivery), None
        if self._on and (folder.holds_some or delivery.number > 1):
            await self._guarded("remove", folder.clear())

    @property
    def _on(self) -> bool:
        return self.limit > 0 and self.runtime.checkpoints

    async def _keep(self, delivery: Delivery, prepared: Prepared, steps: "_Steps") -> None:
        while not self._folder(delivery).superseded:
            await steps.due.wait()
            steps.due.clear()
            await self._guarded("keep", self._hand_out(delivery, prepared, stop=False))

    async def _hand_out(self, delivery: Delivery, prepared: Prepared, *, stop: bool) -> None:
        checkpoint = await self.runtime.checkpoint(prepared, stop=stop)
        if checkpoint is None:
            return
        size, folder = len(checkpoint.data), self._folder(delivery)
        if size > self.limit:
            log.warning("checkpoint too large", bytes=size, limit=self.limit)
            return
        delivery.checkpoint = checkpoint.data  # for a run here, whatever the bucket says
        if await folder.add(checkpoint):
            self.metrics.checkpointed()
            log.info("checkpoint kept", bytes=size, done=checkpoint.done)
        else:
            log.info("checkpoint not kept", done=checkpoint.done, superseded=folder.superseded)

    async def _read(self, delivery: Delivery) -> None:
        delivery.checkpoint = await self._folder(delivery).latest(limit=self.limit)

    def _folder(self, delivery: Delivery) -> CheckpointFolder:
        if delivery.checkpoints is None:
            delivery.checkpoints = CheckpointFolder(
                self.bucket, self.runtime_name, delivery.job, delivery.number
            )
        return delivery.checkpoints

    async def _guarded(self, action: str, work: Awaitable[None]) -> None:
        """Do it within a few seconds; nothing fails by it."""
        try:
            async with asyncio.timeout(_LONGEST):
                with no_surprises():
                    await work
        except (QueueAgentError, TimeoutError) as error:
            log.warning("checkpoint failed", action=action, reason=str(error) or "it took too long")


class _Steps:
    """Says when enough steps were taken to keep them."""

    def __init__(self, every: int, progress: ProgressCallback, *, resumed: bool) -> None:
        self.due = asyncio.Event()
        self._every = every
        self._progress = progress
        self._kept: int | None = None if resumed else 0
        """At which step; None: at the first that is told."""

    def note(self, progress: Progress) -> None:
        """Take a report, and pass it on."""
        self._progress(progress)
        if progress.step is None or not self._every:
            return
        if self._kept is None:
            self._kept = progress.step
        if progress.step // self._every > self._kept // self._every:
            self._kept = progress.step
            self.due.set()


async def _ended(running: "asyncio.Task[Output]") -> None:
    """Cancel a run that is not over, and wait for its end, however often that is disturbed."""
    while not running.done():
        running.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.wait({running})
    if not running.cancelled():
        running.exception()
