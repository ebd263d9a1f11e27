"""The engine: one thread that owns the device and works on one job at a time.

It knows neither HTTP nor diffusers: it takes jobs, reports how far they are, stops them
between two steps and hands out pictures. `submit`, `find`, `cancel` and the job's `result`
are all that the server uses.
"""

import gc
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Final, Literal, Protocol

from PIL import Image

from runtimes.diffusers.errors import (
    DuplicateJob,
    GenerationFailed,
    JobCancelled,
    JobNotFound,
    NotReady,
    OutOfMemory,
    QueueFull,
    ServerError,
)

MAX_WAITING: Final = 64
REMEMBERED_JOBS: Final = 1000
"""How many jobs that have ended can still be asked about."""

JobState = Literal["queued", "running", "completed", "cancelled", "failed"]
OnStep = Callable[[int, int], None]
"""Told after each step how many are done, of how many; may raise to stop the work."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ImageRequest:
    """What to generate; None leaves the choice to the model."""

    prompt: str
    seed: int
    """Of the first image; image i has seed + i."""
    negative_prompt: str | None = None
    count: int = 1
    width: int | None = None
    height: int | None = None
    steps: int | None = None
    guidance_scale: float | None = None
    true_cfg_scale: float | None = None
    scheduler: str | None = None
    """Name of a sampler, with or without a noise schedule; see `queue_agent.samplers`."""
    image: Image.Image | None = field(default=None, repr=False)
    """What to start from, of the size asked for."""
    mask: Image.Image | None = field(default=None, repr=False)
    """White (of mode L) is painted anew."""
    strength: float | None = None

    @property
    def seeds(self) -> list[int]:
        return [(self.seed + number) % 2**64 for number in range(self.count)]


@dataclass(frozen=True)
class Pictures:
    """What came out of a job, in the order of its seeds."""

    images: list[Image.Image] = field(repr=False)
    warnings: tuple[str, ...] = ()


class Model(Protocol):
    """A loaded model, as the engine needs it."""

    def check(self, request: ImageRequest) -> None:
        """Raise `InvalidRequest` for what this model can never do; does no work."""

    def generate(self, request: ImageRequest, on_step: OnStep) -> Pictures:
        """Make the images; called in the engine's thread only.

        Raises:
            OutOfMemory: they do not fit in the device's memory.
        """


class Job:
    """One request on its way through the engine; safe to read from any thread."""

    def __init__(self, job_id: str, request: ImageRequest) -> None:
        self.id = job_id
        self.request = request
        self.state: JobState = "queued"
        self.step = 0
        self.steps = request.steps
        self.result: Future[Pictures] = Future()
        self.result.set_running_or_notify_cancel()  # only `cancel` cancels
        self._stop = threading.Event()
        self._lock = threading.Lock()

    @property
    def ended(self) -> bool:
        return self.state not in {"queued", "running"}

    @property
    def progress(self) -> float:
        """Done part of the work, from 0 to 1; 1 only when completed."""
        if self.state == "completed":
            return 1.0
        return min(self.step / self.steps, 0.99) if self.steps else 0.0

    def cancel(self) -> None:
        """End it at once while it waits, else at the next step; harmless after its end."""
        with self._lock:
            self._stop.set()
            if self.state == "queued":
                self._fail("cancelled", JobCancelled("The job was cancelled before it began."))

    def begin(self) -> bool:
        """Whether the work may start; False for a job cancelled while it waited."""
        with self._lock:
            if self.state != "queued":
                return False
            self.state = "running"
            return True

    def advance(self, step: int, steps: int) -> None:
        """Note a step; raises `JobCancelled` if the job shall stop."""
        self.step, self.steps = step, steps
        if self._stop.is_set():
            raise JobCancelled(f"The job was cancelled after step {step} of {steps}.")

    def finish(self, pictures: Pictures) -> None:
        """Hand out the images."""
        with self._lock:
            self.state = "completed"
            self.result.set_result(pictures)

    def fail(self, error: ServerError) -> None:
        """Hand out the reason why there are no images."""
        with self._lock:
            self._fail("cancelled" if isinstance(error, JobCancelled) else "failed", error)

    def _fail(self, state: JobState, error: ServerError) -> None:
        self.state = state
        self.result.set_exception(error)


class Engine:
    """Loads the model in its own thread, then works off the queue until it is closed."""

    def __init__(self, load: Callable[[], Model], *, max_waiting: int = MAX_WAITING) -> None:
        self._load = load
        self._max_waiting = max_waiting
        self._model: Model | None = None
        self._on_failure: Callable[[], None] = lambda: None
        self._waiting: SimpleQueue[Job | None] = SimpleQueue()
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._closing = threading.Event()
        # A daemon, since a model that is being loaded cannot be interrupted.
        self._thread = threading.Thread(target=self._main, name="engine", daemon=True)
        self.failure: Exception | None = None
        """Why the model could not be loaded."""

    def start(self, on_failure: Callable[[], None] = lambda: None) -> None:
        """Begin to load; `on_failure` is called in the engine's thread if that fails."""
        self._on_failure = on_failure
        self._thread.start()

    @property
    def ready(self) -> bool:
        return self._model is not None and not self._closing.is_set() and self._thread.is_alive()

    def submit(self, job_id: str, request: ImageRequest) -> Job:
        """Queue a job. To be called from one thread only, the event loop's.

        Raises:
            NotReady, InvalidRequest, DuplicateJob, QueueFull: the job was not taken.
        """
        if self._model is None or not self.ready:
            raise NotReady("The model is still loading." if not self.failure else "No model.")
        known = self._jobs.get(job_id)
        if known and not known.ended:
            raise DuplicateJob(f"A job {job_id!r} is {known.state}.")
        self._model.check(request)
        if sum(job.state == "queued" for job in self.active_jobs()) >= self._max_waiting:
            raise QueueFull(f"{self._max_waiting} jobs wait already.")
        job = Job(job_id, request)
        self._jobs[job_id] = job
        self._jobs.move_to_end(job_id)
        self._forget_old_jobs()
        self._waiting.put(job)
        return job

    def find(self, job_id: str) -> Job:
        """The job of that id.

        Raises:
            JobNotFound: it is not known (any more).
        """
        try:
            return self._jobs[job_id]
        except KeyError:
            raise JobNotFound(f"No job {job_id!r} is known.") from None

    def active_jobs(self) -> list[Job]:
        """The jobs that run or wait, oldest first."""
        return [job for job in self._jobs.values() if not job.ended]

    def cancel(self, job_id: str) -> Job:
        """Stop the job of that id; raises like `find`."""
        job = self.find(job_id)
        job.cancel()
        return job

    def close(self, timeout: float = 10.0) -> None:
        """Cancel all jobs and end the thread, waiting at most `timeout` seconds for it."""
        self._closing.set()
        for job in self._jobs.values():
            job.cancel()
        self._waiting.put(None)
        if self._thread.is_alive():
            self._thread.join(timeout)

    def _forget_old_jobs(self) -> None:
        surplus = len(self._jobs) - REMEMBERED_JOBS
        old = [job.id for job in self._jobs.values() if job.ended][: max(surplus, 0)]
        for job_id in old:
            del self._jobs[job_id]

    def _main(self) -> None:
        try:
            self._model = self._load()
        except Exception as error:
            self.failure = error
            self._on_failure()
            return
        while (job := self._waiting.get()) is not None:
            if job.begin():
                self._work(self._model, job)

    def _work(self, model: Model, job: Job) -> None:
        try:
            job.finish(model.generate(job.request, job.advance))
        except ServerError as error:
            job.fail(error)
            if isinstance(error, OutOfMemory):
                gc.collect()
        except Exception as error:
            _log.exception("job %s failed", job.id)
            job.fail(GenerationFailed(f"{type(error).__name__}: {error}"))
