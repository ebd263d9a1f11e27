"""The one GPU: a lock, the state of what runs, and who asked for what when."""

import asyncio
import contextlib
import io
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import asdict, dataclass, field
from typing import Final

from PIL import Image
from pydantic import JsonValue

from fakes.webui.models import Fault

FINISHED_KEPT: Final = 16


@dataclass
class Run:
    """One generation, from the request to the answer."""

    task: str | None
    route: str
    prompt: str
    asked: float
    start: float | None = None
    end: float | None = None
    interrupted: bool = False
    images: int = 0
    checkpoint: str | None = None
    """The one in memory, once it is there."""


@dataclass
class State:
    """`modules.shared_state.State`, as far as the API shows it."""

    skipped: bool = False
    interrupted: bool = False
    stopping_generation: bool = False
    job: str = ""
    job_count: int = 0
    job_timestamp: str = "0"
    job_no: int = 0
    sampling_step: int = 0
    sampling_steps: int = 0

    def begin(self, job: str) -> None:
        """All but `sampling_steps` is set back."""
        self.skipped = self.interrupted = self.stopping_generation = False
        self.job, self.job_count, self.job_no, self.sampling_step = job, -1, 0, 0
        self.job_timestamp = time.strftime("%Y%m%d%H%M%S")

    def end(self) -> None:
        """What became of it stays to be read."""
        self.job, self.job_count = "", 0


@dataclass
class Engine:
    """Runs one generation at a time; the others wait for the lock in the order they came."""

    step_seconds: float
    state: State = field(default_factory=State)
    current: str | None = None
    """The task that was begun last and has not finished; one that failed stays."""
    pending: list[str | None] = field(default_factory=list)
    """Tasks that wait, and those whose images could not be read."""
    finished: list[str | None] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    paused: bool | str = False
    """Whether sampling stands still, except that an interrupt ends it; or of which prompts' runs:
    those that hold this text."""
    paused_after: int = 0
    """Steps of a batch that are done all the same."""
    broken: bool = False
    """Whether CUDA's context is: nothing works until the server is started anew."""
    preview_steps: int = 10
    """`show_progress_every_n_steps`."""
    preview: bytes | None = None
    id_live_preview: int = 0
    working: Run | None = None
    textinfo: str | None = None
    """What is worked on: of several extras, the empty name of each."""
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    _waiting: list[Run] = field(default_factory=list)
    _interrupt_next: bool = False
    _skip_rest: bool = False
    _drawn_at: int = 0

    @property
    def busy(self) -> bool:
        return self._lock.locked() or bool(self._waiting)

    @property
    def _stands_still(self) -> bool:
        if self.state.sampling_step < self.paused_after:
            return False
        if isinstance(self.paused, bool) or self.working is None:
            return bool(self.paused)
        return self.paused in self.working.prompt

    @contextlib.asynccontextmanager
    async def turn(self, task: str | None, route: str, prompt: str) -> AsyncIterator[Run]:
        """Wait for the GPU and hold it; extras have no task."""
        run = Run(task, route, prompt, time.time())
        self.runs.append(run)
        if task is not None:
            self.pending.append(task)
        self._waiting.append(run)
        try:
            await self._lock.acquire()
        finally:
            self._waiting.remove(run)
        try:
            yield run
        finally:
            self._lock.release()

    @contextlib.contextmanager
    def job(self, run: Run, name: str, job_count: int) -> Iterator[None]:
        """Within a turn: from `state.begin` to `state.end`."""
        state = self.state
        state.begin(name)
        state.interrupted, self._interrupt_next = self._interrupt_next, False
        self._skip_rest = False
        self.textinfo = None
        self.preview, self.id_live_preview, self._drawn_at = None, 0, 0
        if run.task is not None:
            self.current = run.task
            if run.task in self.pending:
                self.pending.remove(run.task)
        state.job_count = job_count
        run.start = time.time()
        self.working = run
        try:
            yield
            if run.task is not None:
                self.current = None
                self.finished = [*self.finished, run.task][-FINISHED_KEPT:]
        finally:
            run.end = time.time()
            run.interrupted = state.interrupted or state.skipped
            self.working = None
            state.end()

    async def sample(self, steps: int) -> int:
        """Work through the steps of one batch; how many were done before an interrupt."""
        state = self.state
        state.sampling_step, state.sampling_steps = 0, steps
        clock = asyncio.get_running_loop().time
        due = clock()
        while state.sampling_step < steps:
            while self._stands_still and not (state.interrupted or state.skipped):
                await asyncio.sleep(0.001)
                due = clock()
            if state.interrupted or state.skipped:
                break
            if not self._skip_rest:
                due += self.step_seconds
                await asyncio.sleep(max(0.0, due - clock()))
            state.sampling_step += 1
        return state.sampling_step

    def draw(self) -> None:
        """`State.set_current_image`: when asked, if enough steps were done since the last one."""
        if self.state.sampling_step - self._drawn_at >= self.preview_steps:
            self._drawn_at = self.state.sampling_step
            self.id_live_preview += 1
            file = io.BytesIO()
            Image.new("RGB", (16, 16), (self.id_live_preview % 256, 40, 90)).save(file, "PNG")
            self.preview = file.getvalue()

    def next_job(self) -> None:
        """`State.nextjob`: one of the job's batches, or of its images, is done."""
        self.state.job_no += 1
        self.state.sampling_step = 0

    async def interrupt(self) -> None:
        if not self.take_fault("late_interrupt"):
            self.state.interrupted = True
            return
        held = self.working
        self._skip_rest, self._interrupt_next = True, bool(self._waiting)
        while self.busy and self.working is held:  # noqa: ASYNC110  simple enough here
            await asyncio.sleep(0.001)

    def take_fault(self, *kinds: str) -> Fault | None:
        """The first planned fault of these kinds, used up once."""
        fault = next((fault for fault in self.faults if fault.kind in kinds), None)
        if fault is not None:
            fault.times -= 1
            if fault.times <= 0:
                self.faults.remove(fault)
        return fault

    def fraction(self, begin: float) -> float:
        """How far the job has come, from `begin` to 1."""
        state = self.state
        done = begin
        if state.job_count > 0:
            done += state.job_no / state.job_count
            if state.sampling_steps:
                done += state.sampling_step / state.sampling_steps / state.job_count
        return min(done, 1.0)

    def progress(self) -> float:
        """As ``/sdapi/v1/progress`` reckons it: 0 when idle, else from 0.01 to 1."""
        return self.fraction(0.01) if self.state.job_count else 0.0

    def report(self) -> dict[str, JsonValue]:
        """What tests want to know."""
        running = self.working.task if self.working else None
        waiting: list[JsonValue] = [run.task for run in self._waiting]
        return {"working": self._lock.locked(), "running": running, "waiting": waiting}

    def run_reports(self) -> list[dict[str, JsonValue]]:
        return [asdict(run) for run in self.runs]
