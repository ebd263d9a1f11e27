"""A batch's steps: who joins, one pass for all, what moves each on; used in the engine's thread."""

import logging
import time
from collections.abc import Callable, Sequence

from queue_agent_diffusers.engine.batch_scheduler import Batch, BatchScheduler, Member
from queue_agent_diffusers.engine.finisher import Finisher
from queue_agent_diffusers.engine.fitting import Fitting, Need
from queue_agent_diffusers.engine.job_edge import JobEdge, breaks_device
from queue_agent_diffusers.engine.model import Observer, Resumable
from queue_agent_diffusers.engine.pool import ModelPool
from queue_agent_diffusers.errors import OutOfMemory

_log = logging.getLogger(__name__)


class Stepper:
    """Steps batches, and has jobs answered for what goes wrong in a step."""

    def __init__(
        self,
        pool: ModelPool,
        scheduler: BatchScheduler,
        fitting: Fitting,
        finisher: Finisher,
        edge: JobEdge,
        observer: Observer,
    ) -> None:
        self._pool = pool
        self._scheduler = scheduler
        self._fitting = fitting
        self._finisher = finisher
        self._edge = edge
        self._observer = observer

    def admit(self, batch: Batch) -> None:
        """Start those for whom there is room."""
        for member in batch.admit():
            if member.started:
                continue
            if not member.job.begin():
                batch.drop(member.job)
                continue
            try:
                with self._edge.answering(member.job, pass_on=OutOfMemory):
                    member.job.enter("encode")
                    member.sample.start()
                    member.started = True
                    self._go_on(batch, member)
            except OutOfMemory as error:
                member.sample.stop()
                if len(batch.running) == 1 and self._finisher.idle:
                    self._note_misfit(member)
                    member.job.fail(error)
                elif len(batch.running) == 1:  # what is missing may be what pictures are made with
                    batch.set_aside([member])
                    self._finisher.wait()
                    return
                else:
                    self._observer.halved()
                    batch.set_aside([member])
            if member.job.ended:
                batch.drop(member.job)

    def step(self, batch: Batch) -> None:
        """Take all who run one step on."""
        began = time.monotonic()
        members = list(batch.running)
        rows = batch.rows
        for member in members:
            member.job.enter("steps")
        try:
            with self._edge.answering(members[0].job, pass_on=self._not_its_fault(members)):
                moves = batch.model.predict([member.sample for member in members])
        except Exception as error:  # whose fault it is shows when there are fewer
            if breaks_device(error):
                self._edge.on_broken(str(error))
                return
            if len(members) == 1:
                self._finisher.wait()
                return
            _log.warning("a step of %d images failed: %s", len(members), error)
            self._observer.halved()
            batch.halve()
            return
        if members[0].job.ended:
            if isinstance(members[0].job.result.exception(), OutOfMemory):
                self._note_misfit(members[0])
            batch.drop(members[0].job)
            return
        for member, move in zip(members, moves, strict=True):
            self._move(batch, member, move)
        batch.stepped()
        self._observer.stepped(len(members), rows, time.monotonic() - began)
        for member in members:
            if member.sample.skipped_by is not None:
                self._observer.skipped(member.sample.skipped_by, member.sample.rows)

    def _not_its_fault(self, members: Sequence[Member]) -> type[Exception] | None:
        """What a step may fail with that is not the first one's answer."""
        if len(members) > 1:
            return Exception
        # What is missing may be what pictures are made with at the same time.
        return None if self._finisher.idle else OutOfMemory

    def _move(self, batch: Batch, member: Member, move: Callable[[], None]) -> None:
        job = member.job
        if job.ended:
            return  # a sibling has failed in this very step
        with self._edge.answering(job):
            before = member.sample.step
            try:
                move()
            except OutOfMemory:
                if len(batch.running) == 1:
                    self._note_misfit(member)
                raise
            self._note_resumed(batch, member, member.sample.step - before - 1)
            self._moved(batch, member)
        if job.ended:
            batch.drop(job)

    def _go_on(self, batch: Batch, member: Member) -> None:
        """Note the steps that another engine took of a sample, which may be all."""
        if member.sample.step:
            self._note_resumed(batch, member, member.sample.step)
            self._moved(batch, member)

    def _note_resumed(self, batch: Batch, member: Member, steps: int) -> None:
        """Note so many steps that were not taken here; some come after a pass made again.

        What steps by itself, all in one move, is no model that goes on with others' work.
        """
        if steps > 0 and isinstance(batch.model, Resumable):
            member.job.resumed_steps += steps
            self._observer.resumed(steps)

    def _moved(self, batch: Batch, member: Member) -> None:
        """Tell of a sample's step, and deliver the job that it was the last of."""
        job, siblings = member.job, member.siblings
        steps = member.sample.steps or 1
        job.advance(sum(sample.step for sample in siblings) // len(siblings), steps)
        self._finisher.show(member)
        if member.sample.done:
            batch.running.remove(member)
            need = self._need(member)
            if need is not None:
                self._fitting.fitted(need)
        if all(sample.done for sample in siblings):
            job.enter("decode")
            make = batch.model.finish(job.request, siblings)
            self._finisher.deliver(job, batch.model, make)

    def _need(self, member: Member) -> Need | None:
        request = member.job.request
        return Need.of(self._pool.name_of(request), request, member.siblings)

    def _note_misfit(self, member: Member) -> None:
        """Note what did not fit, unless something else had a part in that."""
        need = self._need(member)
        if need is not None and len(self._scheduler) <= 1 and self._finisher.idle:
            self._fitting.failed(need, self._pool.loaded)
