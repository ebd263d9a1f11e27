"""Jobs on their way through the engine, and the register of them."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol

from PIL import Image

from queue_agent_diffusers.engine.model import Model, Sample
from queue_agent_diffusers.engine.requests import ImageRequest, Pictures
from queue_agent_diffusers.errors import DuplicateJob, JobNotFound, RequestCancelled, ServerError

REMEMBERED_JOBS: Final = 1000
"""How many jobs that have ended can still be asked about."""

JobState = Literal["queued", "running", "completed", "cancelled", "failed"]


STAGES: Final = ("queue", "encode", "steps", "decode")
"""What a job goes through, in this order."""


class Stages(Protocol):
    """Told of the stages of one job, from any thread; `queue_agent.telemetry` makes them spans."""

    def enter(self, stage: str) -> None:
        """One of `STAGES` begins."""

    def end(self, *, error_type: str | None = None, message: str = "") -> None:
        """The job has ended."""


@dataclass(frozen=True)
class Step:
    """A step is done."""

    step: int
    steps: int


@dataclass(frozen=True)
class Preview:
    """An image as it stands."""

    image: int
    """Which image of the job, from 0."""
    number: int
    """Which preview of that image, from 0."""
    picture: Image.Image = field(repr=False)


Listener = Callable[[Step | Preview], None]


class EngineJob:
    """One request on its way through the engine; safe to read from any thread."""

    def __init__(
        self,
        job_id: str,
        request: ImageRequest,
        *,
        listener: Listener | None = None,
        stages: Stages | None = None,
        on_stop: Callable[[], None] = lambda: None,
        checkpoint: bytes | None = None,
    ) -> None:
        """`checkpoint` is what another engine has done of it."""
        self.id = job_id
        self.request = request
        self.state: JobState = "queued"
        self.step = 0
        self.steps = request.steps
        self.came = time.monotonic()
        self.result: Future[Pictures] = Future()
        self.result.set_running_or_notify_cancel()  # only `cancel` cancels
        self._listener = listener
        self._stages = stages
        self._stage = -1
        self._on_stop = on_stop
        self.preview: Image.Image | None = None
        """How the first image looked last, while the job runs, where the request wants that."""
        self.checkpoint = checkpoint
        self.work: tuple[Model, Sequence[Sample]] | None = None
        """Who works on it, and what: in the engine's thread only, until it has ended."""
        self.resumed_steps = 0
        """How many steps of all its images together were not taken here."""
        self.previews = 0
        """How many such looks there were."""
        self._looked_at = float("-inf")
        self._stop = threading.Event()
        self._lock = threading.Lock()
        if stages is not None:
            self.enter("queue")
            self.result.add_done_callback(lambda _: self._end_stages(stages))

    def enter(self, stage: str) -> None:
        """Note that one of `STAGES` begins; its images may all say so, and none goes back."""
        if self._stages is not None and STAGES.index(stage) > self._stage:
            self._stage = STAGES.index(stage)
            self._stages.enter(stage)

    def _end_stages(self, stages: Stages) -> None:
        error = self.result.exception()
        if error is None:
            stages.end()
        else:
            stages.end(error_type=type(error).__name__, message=str(error))

    @property
    def ended(self) -> bool:
        return self.state not in {"queued", "running"}

    @property
    def unwanted(self) -> bool:
        """Whether work on it is to stop."""
        return self._stop.is_set() or self.ended

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
                self._fail("cancelled", RequestCancelled("The job was cancelled before it began."))
        self._on_stop()

    def begin(self) -> bool:
        """Whether the work may start; False for a job cancelled while it waited."""
        with self._lock:
            if self.state == "queued":
                self.state = "running"
            return self.state == "running"

    def advance(self, step: int, steps: int) -> None:
        """Note a step; raises `RequestCancelled` if the job shall stop."""
        moved = step > self.step or self.steps != steps
        self.step, self.steps = step, steps
        if self._stop.is_set():
            raise self.stopped()
        if moved:
            self.tell(Step(step, steps))

    def stopped(self) -> RequestCancelled:
        """Why there are no images of a job that was cancelled while it ran."""
        return RequestCancelled(f"The job was cancelled after step {self.step} of {self.steps}.")

    def wants_look(self, now: float) -> bool:
        """Whether it is time for another look at the first image; if so, it is taken for done."""
        interval = self.request.preview_interval
        if interval is None or now < self._looked_at + interval:
            return False
        self._looked_at = now
        return True

    def keep(self, preview: Image.Image) -> None:
        """Keep a look at the first image."""
        with self._lock:
            if not self.ended:
                self.preview = preview
                self.previews += 1

    def tell(self, event: Step | Preview) -> None:
        """Let who follows the job know."""
        if self._listener is not None:
            self._listener(event)

    def finish(self, pictures: Pictures) -> None:
        """Hand out the images."""
        with self._lock:
            if not self.ended:
                self.state, self.preview = "completed", None
                self.result.set_result(pictures)

    def fail(self, error: ServerError) -> None:
        """Hand out the reason why there are no images."""
        with self._lock:
            if not self.ended:
                self._fail("cancelled" if isinstance(error, RequestCancelled) else "failed", error)

    def _fail(self, state: JobState, error: ServerError) -> None:
        self.state, self.preview = state, None
        self.result.set_exception(error)

    def remembered(self) -> "EngineJob":
        """How it ended, without any picture that it was given or made."""
        kept = EngineJob(self.id, self.request.without_pictures())
        kept.state, kept.step, kept.steps = self.state, self.step, self.steps
        kept.previews = self.previews
        kept.resumed_steps = self.resumed_steps
        return kept


class JobRegister:
    """The jobs by their ids; to be used from one thread, but for `note_end`."""

    def __init__(self) -> None:
        self._jobs: OrderedDict[str, EngineJob] = OrderedDict()
        self._lock = threading.Lock()

    def refuse_duplicate(self, job_id: str) -> None:
        """Raise `DuplicateJob` if a job of that id has not ended."""
        known = self._jobs.get(job_id)
        if known and not known.ended:
            raise DuplicateJob(f"A job {job_id!r} is {known.state}.")

    def add(self, job: EngineJob) -> None:
        """Remember a job, and forget the oldest that have ended."""
        with self._lock:
            self._jobs[job.id] = job
            self._jobs.move_to_end(job.id)
            surplus = len(self._jobs) - REMEMBERED_JOBS
            if surplus > 0:
                for old in [job.id for job in self._jobs.values() if job.ended][:surplus]:
                    del self._jobs[old]

    def note_end(self, job: EngineJob) -> None:
        """Let go of the pictures of a job that has ended; whoever submitted it has them."""
        with self._lock:
            if self._jobs.get(job.id) is job:
                self._jobs[job.id] = job.remembered()

    def find(self, job_id: str) -> EngineJob:
        """The job of that id.

        Raises:
            JobNotFound: it is not known (any more).
        """
        try:
            return self._jobs[job_id]
        except KeyError:
            raise JobNotFound(f"No job {job_id!r} is known.") from None

    def active(self) -> list[EngineJob]:
        """The jobs that run or wait, oldest first."""
        return [job for job in list(self._jobs.values()) if not job.ended]

    @property
    def waiting(self) -> int:
        """How many wait."""
        return sum(job.state == "queued" for job in self.active())
