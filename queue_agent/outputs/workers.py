"""Processes in which files are converted and signed: few, kept for the next file, and bounded."""

import asyncio
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Protocol, TypeVar

from queue_agent.media.confined import Bounds, ConfinedProcess, WorkerLost, WorkerTooSlow

__all__ = ["WorkerLost", "WorkerProcesses", "WorkerTooSlow", "Workers"]

T = TypeVar("T")

_ROOM: Final = 4 * 2**30
"""Bytes of a file that is made."""


class Workers(Protocol):
    """Where work is done that takes a CPU's time."""

    async def do(
        self, work: Callable[..., T], *args: Any, raises: Sequence[type[Exception]] = ()
    ) -> T:
        """What the function returns, as its annotation says, and raises of what is named.

        Raises:
            WorkerLost: it took too long or too much memory, failed otherwise, or its process was
                ended.
        """


@dataclass(frozen=True)
class WorkerProcesses(Workers):
    """So many processes at most; each is started when it is needed, and again after its end."""

    count: int
    time_limit: float
    """Seconds for a file; then its process is killed."""
    memory: int
    """Bytes that a process may take for its data."""
    network: bool = False
    """Whether they may speak to other hosts."""
    environment: tuple[str, ...] = ()
    """What they are given of the agent's; see `Bounds`."""
    _free: asyncio.Semaphore = field(init=False, repr=False)
    _idle: list[ConfinedProcess] = field(init=False, repr=False, default_factory=list)
    _threads: ThreadPoolExecutor = field(init=False, repr=False)
    """Those that wait for the processes."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "_free", asyncio.Semaphore(self.count))
        threads = ThreadPoolExecutor(self.count, thread_name_prefix="outputs")
        object.__setattr__(self, "_threads", threads)
        weakref.finalize(self, _end, self._idle, threads)

    async def do(
        self, work: Callable[..., T], *args: Any, raises: Sequence[type[Exception]] = ()
    ) -> T:
        async with self._free:
            process = self._idle.pop() if self._idle else ConfinedProcess(self._bounds)
            doing = partial(process.do, work, *args, raises=raises)
            answer = asyncio.get_running_loop().run_in_executor(self._threads, doing)
            try:
                return await asyncio.shield(answer)
            except asyncio.CancelledError:
                process.kill()
                answer.add_done_callback(partial(_heard, process))
                raise
            except OSError as error:
                if isinstance(error, tuple(raises)):
                    raise
                raise WorkerLost(f"finds no process: {error}") from error
            finally:
                if process.may_go_on:
                    self._idle.append(process)

    @property
    def _bounds(self) -> Bounds:
        return Bounds(self.memory, self.time_limit, _ROOM, self.network, self.environment)


def _heard(process: ConfinedProcess, answer: "asyncio.Future[Any]") -> None:
    """Nobody waits for the answer any more."""
    process.end()
    if not answer.cancelled():
        answer.exception()


def _end(processes: Sequence[ConfinedProcess], threads: ThreadPoolExecutor) -> None:
    threads.shutdown(wait=False)
    for process in processes:
        process.end()
