"""The engine: one thread that owns the device and runs the step loop.

Between any two steps jobs come in, join the samples that run already, leave when they are done
or no longer wanted. It knows neither HTTP nor torch. `submit`, `find`, `cancel` and the job's
`result` are all that the server uses.
"""

import functools
import logging
import math
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from typing import Final

from queue_agent_diffusers.engine.batch_scheduler import Batch, BatchScheduler
from queue_agent_diffusers.engine.finisher import Finisher
from queue_agent_diffusers.engine.fitting import Fitting
from queue_agent_diffusers.engine.handing_out import HandingOut
from queue_agent_diffusers.engine.job_edge import JobEdge
from queue_agent_diffusers.engine.jobs import EngineJob, JobRegister, Listener, Stages
from queue_agent_diffusers.engine.model import Model, Observer, Resumable
from queue_agent_diffusers.engine.placement import SWITCH_AFTER, Placement
from queue_agent_diffusers.engine.pool import ModelPool
from queue_agent_diffusers.engine.requests import ImageRequest
from queue_agent_diffusers.engine.stepping import Stepper
from queue_agent_diffusers.errors import (
    DeviceBroken,
    DeviceUnavailable,
    ModelBusy,
    NotReady,
    QueueFull,
)

MAX_WAITING: Final = 64

_log = logging.getLogger(__name__)


class Engine:
    """Loads the first model, then works until it is closed."""

    def __init__(
        self,
        pool: ModelPool,
        *,
        max_waiting: int = MAX_WAITING,
        switch_after: float = SWITCH_AFTER,
        observer: Observer | None = None,
        idle_unload: float | None = None,
    ) -> None:
        """`idle_unload`: seconds after which a model that nobody asked for is let go."""
        self.pool = pool
        self.failure: Exception | None = None
        """Why the first model could not be loaded, or the engine ended."""
        self._max_waiting = max_waiting
        self._idle_unload = idle_unload
        self._next_idle: float | None = None
        self._observer = observer or Observer()
        self._on_failure: Callable[[], None] = lambda: None
        self._inbox: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._jobs = JobRegister()
        self._scheduler = BatchScheduler()
        fitting, edge = Fitting(), JobEdge(self._hear_of_device)
        self._finisher = Finisher(edge, self._observer, self._inbox.put)
        self._stepper = Stepper(
            pool, self._scheduler, fitting, self._finisher, edge, self._observer
        )
        self._placement = Placement(
            pool,
            self._scheduler,
            fitting,
            edge,
            self._in_use,
            self._observer,
            switch_after=switch_after,
        )
        self._begun = self._draining = False
        self._closing = threading.Event()
        self._job_seconds = 1.0
        # A daemon, since a device that hangs cannot be interrupted.
        self._thread = threading.Thread(target=self._main, name="engine", daemon=True)

    def start(self, on_failure: Callable[[], None] = lambda: None) -> None:
        """Begin to load; `on_failure` is called in the engine's thread if that fails.

        So it is when the device breaks: what then ends the process lets others start it anew.
        """
        self._on_failure = on_failure
        self.pool.on_change = self._wake
        self._thread.start()

    @property
    def ready(self) -> bool:
        """Whether jobs are taken."""
        if self._draining or self._closing.is_set():
            return False
        return self._begun and self._thread.is_alive()

    def check_ready(self) -> None:
        """Raise `DeviceBroken` or `NotReady` where nothing can be generated."""
        if isinstance(self.failure, DeviceUnavailable) and self._begun:
            raise DeviceBroken(str(self.failure))
        if self._draining:
            raise NotReady("The server is about to end.")
        if not self.ready:
            raise NotReady("The model is still loading." if not self.failure else "No model.")

    @property
    def max_batch(self) -> int:
        """How many usual jobs share a step; while no model is loaded, as it was before."""
        loaded = [self.pool.find(name) for name in self.pool.names]
        usual = self.pool.largest_batch
        return max((model.max_batch for model in loaded if model), default=usual)

    def submit(
        self,
        job_id: str,
        request: ImageRequest,
        listener: Listener | None = None,
        stages: Stages | None = None,
        checkpoint: bytes | None = None,
    ) -> EngineJob:
        """Queue a job. To be called from one thread only, the event loop's.

        With a `checkpoint` of it the job goes on from there, if that is of this request and model.

        Raises:
            DeviceBroken, NotReady, InvalidRequest, DuplicateJob, QueueFull: the job was not taken.
        """
        self.check_ready()
        self._jobs.refuse_duplicate(job_id)
        model = self.pool.find(self.pool.name_of(request))
        if model is not None:
            model.check(request)
        waiting = self._jobs.waiting
        if waiting >= self._max_waiting:
            raise QueueFull(f"{waiting} jobs wait already.", retry_after=self._time_for(waiting))
        job = EngineJob(
            job_id,
            request,
            listener=listener,
            stages=stages,
            on_stop=self._wake,
            checkpoint=checkpoint,
        )
        job.result.add_done_callback(lambda _: self._note_end(job))
        self._jobs.add(job)
        self._inbox.put(functools.partial(self._placement.take, job))
        if self._closing.is_set():  # whoever ended the engine may have looked for jobs before
            job.fail(job.stopped())
            self.check_ready()
        return job

    def find(self, job_id: str) -> EngineJob:
        """The job of that id.

        Raises:
            JobNotFound: it is not known (any more).
        """
        return self._jobs.find(job_id)

    def active_jobs(self) -> list[EngineJob]:
        """The jobs that run or wait, oldest first."""
        return self._jobs.active()

    def cancel(self, job_id: str) -> EngineJob:
        """Stop the job of that id; raises like `find`."""
        job = self.find(job_id)
        job.cancel()
        return job

    def checkpoint(
        self, job_id: str, *, stop: bool = False, limit: int = sys.maxsize
    ) -> HandingOut:
        """What has been done of the job of that id, between two steps; raises like `find`.

        Of so many bytes at most, from the first step on. With `stop` the job ends there. Of a job
        that waits or has ended nothing was done.
        """
        made = HandingOut(self.find(job_id), self._finisher.serialize, stop=stop, limit=limit)
        work = made.job.work
        if work is None or not isinstance(work[0], Resumable):
            made.now()  # what is not resumable may hold the engine's thread up to its end
            return made
        self._inbox.put(made.now)
        if not self._thread.is_alive():
            self._take_in()
        return made

    def load(self, name: str) -> None:
        """Have a model loaded as soon as there is room; jobs that work go on."""
        self._inbox.put(functools.partial(self._placement.want, name))

    def preload(self, name: str) -> None:
        """Have a model loaded where it fits beside those that are loaded; else nothing is done."""
        self._inbox.put(functools.partial(self._preload, name))

    def unload(self, name: str) -> "Future[None]":
        """Have a model's memory freed; the future holds `ModelBusy` if it is in use."""
        done: Future[None] = Future()
        self._inbox.put(functools.partial(self._unload, name, done))
        return done

    def drain(self) -> None:
        """Take no more jobs; those that are here go on."""
        self._draining = True

    def close(self, timeout: float = 10.0) -> None:
        """Cancel all jobs and end the threads, waiting at most `timeout` seconds for them."""
        self._closing.set()
        for job in self.active_jobs():
            job.cancel()
        self._wake()
        if self._thread.is_alive():
            self._thread.join(timeout)
        self._finisher.close(wait=not self._thread.is_alive())

    def _main(self) -> None:
        try:
            self._load_first()
            while not self._closing.is_set():
                self._note_changes()
                batch = self._scheduler.next()
                if batch is None:
                    self._take_in(wait=True)
                else:
                    self._turn(batch)
        finally:
            self._abandon()

    def _load_first(self) -> None:
        name = self.pool.names[0]
        self.pool.load(name)
        while self.pool.state(name) == "loading" and not self._closing.is_set():
            self._take_in(wait=True)
            self.pool.settle()
        self.failure = self.pool.failure(name)
        if self.failure is not None:
            self._closing.set()
            self._on_failure()
        self._begun = self.failure is None

    def _turn(self, batch: Batch) -> None:
        """Let a batch step until it is done or, where others wait, its turn is over."""
        steps = 0
        while not batch.empty and not self._closing.is_set():
            self._stepper.admit(batch)
            if batch.running:
                self._stepper.step(batch)
            self._note_changes()
            steps += 1
            if steps >= batch.model.turn and len(self._scheduler) > 1:
                return

    def _note_changes(self) -> None:
        """What may change between two steps: who is there, who is wanted, what is loaded."""
        self._take_in()
        self._placement.settle()
        self._drop_unwanted()
        if self._idle_unload is not None:
            self._next_idle = self.pool.unload_idle(self._idle_unload, self._in_use)

    def _in_use(self, model: Model) -> bool:
        return self._scheduler.uses(model) or self._finisher.uses(model)

    def _hear_of_device(self, words: str) -> None:
        self._inbox.put(functools.partial(self._end_with_device, words))

    def _end_with_device(self, words: str) -> None:
        """What the device says of one job it would say of all: end, to be started anew."""
        if self._closing.is_set():
            return
        _log.error("the device is beyond repair: %s", words)
        self.failure = DeviceUnavailable(f"The device is beyond repair: {words}")
        self._closing.set()
        for job in self.active_jobs():
            job.fail(DeviceBroken(words))
        self._on_failure()

    def _drop_unwanted(self) -> None:
        for batch in self._scheduler:
            for job in {member.job for member in batch.members if member.job.unwanted}:
                job.fail(job.stopped())
                batch.drop(job)

    def _preload(self, name: str) -> None:
        self.pool.preload(name)

    def _unload(self, name: str, done: "Future[None]") -> None:
        model = self.pool.find(name)
        if model is not None and self._in_use(model):
            done.set_exception(ModelBusy(f"The model {name!r} is in use."))
            return
        self.pool.unload(name)
        done.set_result(None)

    def _take_in(self, *, wait: bool = False) -> None:
        try:
            if wait:
                limits = (self._placement.patience, self._next_idle)
                patience = min((limit for limit in limits if limit is not None), default=None)
                self._inbox.get(timeout=patience if patience is None else max(patience, 0))()
            while True:
                self._inbox.get_nowait()()
        except Empty:
            return

    def _wake(self) -> None:
        self._inbox.put(lambda: None)

    def _abandon(self) -> None:
        self._closing.set()
        self._take_in()
        for batch in self._scheduler:
            for member in batch.members:
                member.sample.stop()
        for job in self.active_jobs():
            job.cancel()
            job.fail(job.stopped())

    def _note_end(self, job: EngineJob) -> None:
        seconds = time.monotonic() - job.came
        if job.state == "completed":
            self._job_seconds += 0.2 * (seconds - self._job_seconds)
        count = job.request.count
        images, videos = (count, 0) if job.request.clip is None else (0, count)
        self._observer.finished(job.state, images, videos, seconds)
        self._jobs.note_end(job)

    def _time_for(self, waiting: int) -> int:
        """Seconds after which some of so many jobs have probably begun."""
        share = self._job_seconds / max(1, len(self.active_jobs()) - waiting)
        return max(1, min(60, math.ceil(share)))
