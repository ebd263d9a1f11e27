"""The engine: one thread that owns the device and runs the step loop.

Between any two steps jobs come in, join the samples that run already, leave when they are done
or no longer wanted. It knows neither HTTP nor torch. `submit`, `find`, `cancel` and the job's
`result` are all that the server uses.
"""

import functools
import logging
import math
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from typing import Final

from PIL import Image

from queue_agent.runtime.failures import is_beyond_repair
from queue_agent_diffusers.engine.batch_scheduler import Batch, BatchScheduler, Member
from queue_agent_diffusers.engine.fitting import Fitting, Need
from queue_agent_diffusers.engine.jobs import EngineJob, JobRegister, Listener, Preview, Stages
from queue_agent_diffusers.engine.model import Model, Observer, Sample
from queue_agent_diffusers.engine.pool import ModelPool
from queue_agent_diffusers.engine.requests import ImageRequest, Pictures
from queue_agent_diffusers.errors import (
    DeviceBroken,
    DeviceUnavailable,
    GenerationFailed,
    ModelBusy,
    ModelUnavailable,
    NotReady,
    OutOfMemory,
    QueueFull,
    ServerError,
)

MAX_WAITING: Final = 64
SWITCH_AFTER: Final = 5.0
"""Seconds that jobs wait for a model for which there is no room, before others make it."""

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
        self._switch_after = switch_after
        self._idle_unload = idle_unload
        self._next_idle: float | None = None
        self._observer = observer or Observer()
        self._on_failure: Callable[[], None] = lambda: None
        self._inbox: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._jobs = JobRegister()
        self._scheduler = BatchScheduler()
        self._fitting = Fitting()
        self._unplaced: dict[str, deque[EngineJob]] = {}
        """Jobs by the model that they wait for."""
        self._unplaced_since: dict[str, float] = {}
        self._delivering: Counter[Model] = Counter()
        self._begun = False
        self._closing = threading.Event()
        self._job_seconds = 1.0
        # A daemon, since a device that hangs cannot be interrupted.
        self._thread = threading.Thread(target=self._main, name="engine", daemon=True)
        self._finisher = ThreadPoolExecutor(1, "finisher")

    def start(self, on_failure: Callable[[], None] = lambda: None) -> None:
        """Begin to load; `on_failure` is called in the engine's thread if that fails.

        So it is when the device breaks: what then ends the process lets others start it anew.
        """
        self._on_failure = on_failure
        self.pool.on_change = self._wake
        self._thread.start()

    @property
    def ready(self) -> bool:
        return self._begun and not self._closing.is_set() and self._thread.is_alive()

    def check_ready(self) -> None:
        """Raise `DeviceBroken` or `NotReady` where nothing can be generated."""
        if isinstance(self.failure, DeviceUnavailable) and self._begun:
            raise DeviceBroken(str(self.failure))
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
    ) -> EngineJob:
        """Queue a job. To be called from one thread only, the event loop's.

        Raises:
            DeviceBroken, NotReady, InvalidRequest, DuplicateJob, QueueFull: the job was not taken.
        """
        self.check_ready()
        self._jobs.refuse_duplicate(job_id)
        model = self.pool.find(self._model_name(request))
        if model is not None:
            model.check(request)
        waiting = self._jobs.waiting
        if waiting >= self._max_waiting:
            raise QueueFull(f"{waiting} jobs wait already.", retry_after=self._time_for(waiting))
        job = EngineJob(job_id, request, listener=listener, stages=stages, on_stop=self._wake)
        job.result.add_done_callback(lambda _: self._note_end(job))
        self._jobs.add(job)
        self._inbox.put(functools.partial(self._take, job))
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

    def load(self, name: str) -> None:
        """Have a model loaded as soon as there is room; jobs that work go on."""
        self._inbox.put(functools.partial(self._want, name))

    def preload(self, name: str) -> None:
        """Have a model loaded where it fits beside those that are loaded; else nothing is done."""
        self._inbox.put(functools.partial(self._preload, name))

    def unload(self, name: str) -> "Future[None]":
        """Have a model's memory freed; the future holds `ModelBusy` if it is in use."""
        done: Future[None] = Future()
        self._inbox.put(functools.partial(self._unload, name, done))
        return done

    def close(self, timeout: float = 10.0) -> None:
        """Cancel all jobs and end the threads, waiting at most `timeout` seconds for them."""
        self._closing.set()
        for job in self.active_jobs():
            job.cancel()
        self._wake()
        if self._thread.is_alive():
            self._thread.join(timeout)
        self._finisher.shutdown(wait=not self._thread.is_alive())

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
            self._admit(batch)
            if batch.running:
                self._step(batch)
            self._note_changes()
            steps += 1
            if steps >= batch.model.turn and len(self._scheduler) > 1:
                return

    def _note_changes(self) -> None:
        """What may change between two steps: who is there, who is wanted, what is loaded."""
        self._take_in()
        if self.pool.settle():
            # Loading may take longer than others are to wait: first comes who it was for.
            self._unplaced_since = dict.fromkeys(self._unplaced_since, time.monotonic())
            self._place_jobs(None)
        else:
            self._place_jobs(self._overdue())
        self._drop_unwanted()
        if self._idle_unload is not None:
            self._next_idle = self.pool.unload_idle(self._idle_unload, self._in_use)

    def _admit(self, batch: Batch) -> None:
        for member in batch.admit():
            if member.started:
                continue
            if not member.job.begin():
                self._drop(batch, member.job)
                continue
            try:
                with self._answering(member.job, pass_on=OutOfMemory):
                    member.job.enter("encode")
                    member.sample.start()
                    member.started = True
            except OutOfMemory as error:
                member.sample.stop()
                if len(batch.running) == 1:
                    self._note_misfit(member)
                    member.job.fail(error)
                else:
                    self._observer.halved()
                    batch.set_aside([member])
            if member.job.ended:
                self._drop(batch, member.job)

    def _step(self, batch: Batch) -> None:
        began = time.monotonic()
        members = list(batch.running)
        rows = batch.rows
        for member in members:
            member.job.enter("steps")
        try:
            with self._answering(members[0].job, pass_on=Exception if len(members) > 1 else None):
                moves = batch.model.predict([member.sample for member in members])
        except Exception as error:  # whose fault it is shows when there are fewer
            if _breaks_device(error):
                self._end_with_device(str(error))
                return
            _log.warning("a step of %d images failed: %s", len(members), error)
            self._observer.halved()
            batch.halve()
            return
        if members[0].job.ended:
            if isinstance(members[0].job.result.exception(), OutOfMemory):
                self._note_misfit(members[0])
            self._drop(batch, members[0].job)
            return
        for member, move in zip(members, moves, strict=True):
            self._move(batch, member, move)
        batch.stepped()
        self._observer.stepped(len(members), rows, time.monotonic() - began)

    def _move(self, batch: Batch, member: Member, move: Callable[[], None]) -> None:
        job, siblings = member.job, member.siblings
        if job.ended:
            return  # a sibling has failed in this very step
        with self._answering(job):
            try:
                move()
            except OutOfMemory:
                if len(batch.running) == 1:
                    self._note_misfit(member)
                raise
            steps = member.sample.steps or 1
            job.advance(sum(sample.step for sample in siblings) // len(siblings), steps)
            self._show(member)
            if member.sample.done:
                batch.running.remove(member)
                need = self._need(member.job.request, siblings)
                if need is not None:
                    self._fitting.fitted(need)
            if all(sample.done for sample in siblings):
                job.enter("decode")
                make = batch.model.finish(job.request, siblings)
                self._delivering[batch.model] += 1
                self._finisher.submit(self._deliver, job, batch.model, make)
        if job.ended:
            self._drop(batch, job)

    def _need(self, request: ImageRequest, samples: Sequence[Sample]) -> Need | None:
        """Of one of these samples, which are all of the request."""
        rows = samples[0].rows * request.count // len(samples)
        return Need.of(self._model_name(request), request, rows)

    def _note_misfit(self, member: Member) -> None:
        """Note what did not fit, unless something else had a part in that."""
        need = self._need(member.job.request, member.siblings)
        if need is None or len(self._scheduler) > 1 or any(self._delivering.values()):
            return
        self._fitting.failed(need, self._loaded_models())

    def _loaded_models(self) -> frozenset[str]:
        return frozenset(name for name in self.pool.names if self.pool.find(name) is not None)

    def _refuse_misfit(self, request: ImageRequest, samples: Sequence[Sample]) -> None:
        """Raise `OutOfMemory` where it is known that a sample of the request cannot fit."""
        need = self._need(request, samples)
        if need is not None and self._fitting.refuses(need, self._loaded_models()):
            raise OutOfMemory(
                f"An image of {request.width}x{request.height} did not fit in the device's memory "
                "a while ago, alone, so this one was not begun."
            )

    def _show(self, member: Member) -> None:
        """Draw a preview where one is due, beside the step loop."""
        wanted, sample = member.job.request.previews, member.sample
        if not sample.steps or sample.done:
            return
        if member.number == 0 and member.job.wants_look(time.monotonic()):
            look = sample.preview()
            if look is not None:
                self._finisher.submit(self._keep_preview, member.job, look)
        if not wanted:
            return
        due = [sample.steps * (number + 1) // (wanted + 1) for number in range(wanted)]
        draw = sample.preview() if sample.step in due else None
        if draw is not None:
            number = due.index(sample.step)
            self._finisher.submit(self._deliver_preview, member, number, draw)

    def _deliver(self, job: EngineJob, model: Model, make: Callable[[], Pictures]) -> None:
        with self._answering(job):
            job.finish(make())
        self._inbox.put(functools.partial(self._note_delivery, model))

    def _note_delivery(self, model: Model) -> None:
        self._delivering[model] -= 1

    def _in_use(self, model: Model) -> bool:
        return self._scheduler.uses(model) or self._delivering[model] > 0

    def _deliver_preview(
        self, member: Member, number: int, draw: Callable[[], Image.Image]
    ) -> None:
        with self._answering(member.job):
            member.job.tell(Preview(member.number, number, draw()))

    def _keep_preview(self, job: EngineJob, draw: Callable[[], Image.Image]) -> None:
        with self._answering(job):
            job.keep(draw())

    @contextmanager
    def _answering(
        self, job: EngineJob, *, pass_on: type[Exception] | None = None
    ) -> Iterator[None]:
        """Whatever goes wrong in the block is the job's answer: the edge that keeps us alive."""
        try:
            yield
        except Exception as error:
            if pass_on is not None and isinstance(error, pass_on):
                raise
            if _breaks_device(error):
                self._inbox.put(functools.partial(self._end_with_device, str(error)))
                error = DeviceBroken(str(error))
            if not isinstance(error, ServerError):
                _log.exception("job %s failed", job.id)
                error = GenerationFailed(f"{type(error).__name__}: {error}")
            job.fail(error)

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

    def _drop(self, batch: Batch, job: EngineJob) -> None:
        for member in batch.remove(job):
            member.sample.stop()

    def _drop_unwanted(self) -> None:
        for batch in self._scheduler:
            for job in {member.job for member in batch.members if member.job.unwanted}:
                job.fail(job.stopped())
                self._drop(batch, job)

    def _take(self, job: EngineJob) -> None:
        self._unplaced_of(self._model_name(job.request)).append(job)

    def _want(self, name: str) -> None:
        self._unplaced_of(name)

    def _unplaced_of(self, name: str) -> deque[EngineJob]:
        if name not in self._unplaced:
            self._unplaced[name] = deque()
            self._unplaced_since[name] = time.monotonic()
        return self._unplaced[name]

    def _place_jobs(self, overdue: str | None) -> None:
        """Hand jobs to their models; have those models loaded that are not, as the last."""
        for name in sorted(self._unplaced, key=lambda name: self.pool.find(name) is None):
            jobs = self._unplaced[name]
            model = self.pool.use(name)
            failure = self.pool.failure(name)
            if model is not None and overdue not in {None, name}:
                continue
            if model is not None:
                self._place(name, model, jobs)
            elif failure is not None:
                for job in jobs:
                    job.fail(ModelUnavailable(f"The model {name!r} cannot be loaded: {failure}"))
            else:
                self.pool.load(name, self._in_use)
                continue
            del self._unplaced[name], self._unplaced_since[name]
            self.pool.trim(self._in_use)
        if overdue is not None:
            self._make_way_for(overdue)

    def _overdue(self) -> str | None:
        """The model for which jobs have waited long enough, though there is no room for it."""
        late = time.monotonic() - self._switch_after
        for name, since in self._unplaced_since.items():
            if since < late and self.pool.state(name) == "unloaded" and not self.pool.loading:
                return name
        return None

    def _place(self, name: str, model: Model, jobs: deque[EngineJob]) -> None:
        for job in jobs:
            with self._answering(job):
                model.check(job.request)
                samples = model.begin(job.request, job.advance)
                self._refuse_misfit(job.request, samples)
                members = [
                    Member(job, sample, number, samples) for number, sample in enumerate(samples)
                ]
                self._scheduler.add((name, model.batch_key(job.request)), model, members)

    def _make_way_for(self, name: str) -> None:
        """Take what has not begun from the other models; what has begun is finished."""
        for other in self.pool.names:
            model = self.pool.find(other)
            for batch in self._scheduler:
                if batch.model is not model or other == name:
                    continue
                members = [member for member in batch.waiting if member.job.state == "queued"]
                for job in dict.fromkeys(member.job for member in members):
                    self._drop(batch, job)
                    self._unplaced_of(other).append(job)

    def _preload(self, name: str) -> None:
        self.pool.preload(name)

    def _unload(self, name: str, done: "Future[None]") -> None:
        model = self.pool.find(name)
        if model is not None and self._in_use(model):
            done.set_exception(ModelBusy(f"The model {name!r} is in use."))
            return
        self.pool.unload(name)
        done.set_result(None)

    def _model_name(self, request: ImageRequest) -> str:
        return request.model or self.pool.names[0]

    def _take_in(self, *, wait: bool = False) -> None:
        try:
            if wait:
                patience = [self._switch_after] if self._unplaced else []
                patience += [max(self._next_idle, 0)] if self._next_idle is not None else []
                self._inbox.get(timeout=min(patience, default=None))()
            while True:
                self._inbox.get_nowait()()
        except Empty:
            return

    def _wake(self) -> None:
        self._inbox.put(lambda: None)

    def _abandon(self) -> None:
        self._closing.set()
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
        self._observer.finished(job.state, job.request.count, seconds)
        self._jobs.note_end(job)

    def _time_for(self, waiting: int) -> int:
        """Seconds after which some of so many jobs have probably begun."""
        share = self._job_seconds / max(1, len(self.active_jobs()) - waiting)
        return max(1, min(60, math.ceil(share)))


def _breaks_device(error: Exception) -> bool:
    """Whether torch says so; other exceptions may repeat what a job asked for."""
    return isinstance(error, RuntimeError) and is_beyond_repair(str(error))
