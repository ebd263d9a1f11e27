"""The one GPU: a lock, the state of what runs, and who asked for what when."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass, field
from typing import Final

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


@dataclass
class State:
    """`modules.shared_state.State`, as far as the API shows it."""

    skipped: bool = False
    interrupted: bool = False
    job: str = ""
    job_count: int = 0
    job_timestamp: str = "0"
    job_no: int = 0
    sampling_step: int = 0
    sampling_steps: int = 0


@dataclass
class Engine:
    """Runs one generation at a time; the others wait for the lock in the order they came."""

    step_seconds: float
    state: State = field(default_factory=State)
    current: str | None = None
    pending: list[str | None] = field(default_factory=list)
    finished: list[str | None] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    paused: bool = False
    """Whether sampling stands still, except that an interrupt ends it."""
    broken: bool = False
    """Whether CUDA's context is: nothing works until the server is started anew."""
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    _interrupt_next: bool = False
    _skip_rest: bool = False

    @property
    def busy(self) -> bool:
        return self._lock.locked() or bool(self.pending)

    @contextlib.asynccontextmanager
    async def turn(self, task: str | None, route: str, prompt: str) -> AsyncIterator[Run]:
        """Wait for the GPU and hold it."""
        run = Run(task, route, prompt, time.time())
        self.runs.append(run)
        self.pending.append(task)
        async with self._lock:
            self.pending.remove(task)
            self.current = task
            self.state = State(job=route, job_count=1, job_timestamp=str(time.time_ns()))
            self.state.interrupted, self._interrupt_next = self._interrupt_next, False
            self._skip_rest = False
            run.start = time.time()
            try:
                yield run
            finally:
                run.end = time.time()
                run.interrupted = self.state.interrupted
                self.current = None
                self.state.job, self.state.job_count = "", 0
                self.finished = [*self.finished, task][-FINISHED_KEPT:]

    async def sample(self, steps: int) -> int:
        """Work through the steps of one batch; how many were done before an interrupt."""
        self.state.sampling_step, self.state.sampling_steps = 0, steps
        clock = asyncio.get_running_loop().time
        due = clock()
        while self.state.sampling_step < steps:
            while self.paused and not self.state.interrupted:
                await asyncio.sleep(0.001)
                due = clock()
            if self.state.interrupted:
                break
            if not self._skip_rest:
                due += self.step_seconds
                await asyncio.sleep(max(0.0, due - clock()))
            self.state.sampling_step += 1
        return self.state.sampling_step

    async def interrupt(self) -> None:
        if not self.take_fault("late_interrupt"):
            self.state.interrupted = True
            return
        held = self.state.job_timestamp
        self._skip_rest, self._interrupt_next = True, bool(self.pending)
        while self.busy and self.state.job_timestamp == held:  # noqa: ASYNC110  simple enough here
            await asyncio.sleep(0.001)

    def take_fault(self, *kinds: str) -> Fault | None:
        """The first planned fault of these kinds, used up once."""
        fault = next((fault for fault in self.faults if fault.kind in kinds), None)
        if fault is not None:
            fault.times -= 1
            if fault.times <= 0:
                self.faults.remove(fault)
        return fault

    def progress(self) -> float:
        """As ``/sdapi/v1/progress`` reckons it: 0 when idle, else from 0.01 to 1."""
        state = self.state
        if state.job_count == 0:
            return 0.0
        done = 0.01 + state.job_no / state.job_count
        if state.sampling_steps:
            done += state.sampling_step / state.sampling_steps / state.job_count
        return min(done, 1.0)

    def report(self) -> dict[str, JsonValue]:
        """What tests want to know."""
        working = self._lock.locked()
        return {"working": working, "running": self.current, "waiting": list(self.pending)}

    def run_reports(self) -> list[dict[str, JsonValue]]:
        return [asdict(run) for run in self.runs]
