"""Jobs on their way to their models: those that wait until one is loaded, and what is loaded next.

Used in the engine's thread only.
"""

import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from queue_agent_diffusers.engine.batch_scheduler import BatchScheduler, Member
from queue_agent_diffusers.engine.checkpoint import CheckpointUnusable
from queue_agent_diffusers.engine.fitting import Fitting, Need
from queue_agent_diffusers.engine.job_edge import JobEdge
from queue_agent_diffusers.engine.jobs import EngineJob
from queue_agent_diffusers.engine.model import Model, Observer, Resumable, Sample
from queue_agent_diffusers.engine.pool import ModelPool
from queue_agent_diffusers.engine.requests import ImageRequest
from queue_agent_diffusers.errors import ModelUnavailable, OutOfMemory

SWITCH_AFTER: Final = 5.0
"""Seconds that jobs wait for a model for which there is no room, before others make it."""

_log = logging.getLogger(__name__)


class Placement:
    """Hands jobs to their models, and has those loaded that jobs wait for."""

    def __init__(
        self,
        pool: ModelPool,
        scheduler: BatchScheduler,
        fitting: Fitting,
        edge: JobEdge,
        in_use: Callable[[Model], bool],
        observer: Observer,
        *,
        switch_after: float = SWITCH_AFTER,
    ) -> None:
        self._pool = pool
        self._scheduler = scheduler
        self._fitting = fitting
        self._answering = edge.answering
        self._in_use = in_use
        self._observer = observer
        self._switch_after = switch_after
        self._unplaced: dict[str, deque[EngineJob]] = {}
        """Jobs by the model that they wait for."""
        self._unplaced_since: dict[str, float] = {}

    @property
    def patience(self) -> float | None:
        """Seconds after which it is to be looked after again; None where nobody waits."""
        return self._switch_after if self._unplaced else None

    def take(self, job: EngineJob) -> None:
        """Have the job worked on when its model is there."""
        self._unplaced_of(self._pool.name_of(job.request)).append(job)

    def want(self, name: str) -> None:
        """Have a model loaded as if a job waited for it."""
        self._unplaced_of(name)

    def settle(self) -> None:
        """Hand out the jobs whose models are there, and load the others' as there is room."""
        if self._pool.settle():
            # Loading may take longer than others are to wait: first comes who it was for.
            self._unplaced_since = dict.fromkeys(self._unplaced_since, time.monotonic())
            self._place_jobs(None)
        else:
            self._place_jobs(self._overdue())

    def _unplaced_of(self, name: str) -> deque[EngineJob]:
        if name not in self._unplaced:
            self._unplaced[name] = deque()
            self._unplaced_since[name] = time.monotonic()
        return self._unplaced[name]

    def _place_jobs(self, overdue: str | None) -> None:
        """Hand jobs to their models; have those models loaded that are not, as the last."""
        for name in sorted(self._unplaced, key=lambda name: self._pool.find(name) is None):
            jobs = self._unplaced[name]
            model = self._pool.use(name)
            failure = self._pool.failure(name)
            if model is not None and overdue not in {None, name}:
                continue
            if model is not None:
                self._place(name, model, jobs)
            elif failure is not None:
                for job in jobs:
                    job.fail(ModelUnavailable(f"The model {name!r} cannot be loaded: {failure}"))
            else:
                self._pool.load(name, self._in_use)
                continue
            del self._unplaced[name], self._unplaced_since[name]
            self._pool.trim(self._in_use)
        if overdue is not None:
            self._make_way_for(overdue)

    def _overdue(self) -> str | None:
        """The model for which jobs have waited long enough, though there is no room for it."""
        late = time.monotonic() - self._switch_after
        for name, since in self._unplaced_since.items():
            if since < late and self._pool.state(name) == "unloaded" and not self._pool.loading:
                return name
        return None

    def _place(self, name: str, model: Model, jobs: deque[EngineJob]) -> None:
        for job in jobs:
            with self._answering(job):
                model.check(job.request)
                samples = model.begin(job.request, job.advance)
                self._restore(job, model, samples)
                job.work = model, samples
                self._refuse_misfit(job.request, Need.of(name, job.request, samples))
                members = [
                    Member(job, sample, number, samples) for number, sample in enumerate(samples)
                ]
                self._scheduler.add((name, model.batch_key(job.request)), model, members)

    def _restore(self, job: EngineJob, model: Model, samples: Sequence[Sample]) -> None:
        """Have it go on where another engine ended; one that cannot begins anew."""
        if job.checkpoint is None or not isinstance(model, Resumable):
            return
        try:
            model.restore(job.request, samples, job.checkpoint)
        except CheckpointUnusable as error:
            _log.warning("job %s: its checkpoint is not used: %s", job.id, error)
            self._observer.checkpoint_ignored()

    def _refuse_misfit(self, request: ImageRequest, need: Need | None) -> None:
        """Raise `OutOfMemory` where it is known that a sample of the request cannot fit."""
        if need is not None and self._fitting.refuses(need, self._pool.loaded):
            raise OutOfMemory(
                f"An image of {request.width}x{request.height} did not fit in the device's memory "
                "a while ago, alone, so this one was not begun."
            )

    def _make_way_for(self, name: str) -> None:
        """Take what has not begun from the other models; what has begun is finished."""
        for other in self._pool.names:
            model = self._pool.find(other)
            for batch in self._scheduler:
                if batch.model is not model or other == name:
                    continue
                members = [member for member in batch.waiting if member.job.state == "queued"]
                for job in dict.fromkeys(member.job for member in members):
                    batch.drop(job)
                    self._unplaced_of(other).append(job)
