"""Processes in which files are converted and signed: few, kept for the next file, and bounded.

A file that crashes a decoder ends such a process, and nothing else.
"""

import asyncio
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeVar

import anyio
from anyio import BrokenWorkerProcess, to_process

T = TypeVar("T")

_NICENESS: Final = 10


class WorkerLost(Exception):
    """The work came to no end. The message continues the file's name."""


class Workers(Protocol):
    """Where work is done that takes a CPU's time."""

    async def do(self, work: Callable[..., T], *args: Any) -> T:
        """What the function returns, and raises; both go from process to process.

        Raises:
            WorkerLost: it took too long or too much memory, or its process was ended.
        """


@dataclass(frozen=True)
class WorkerProcesses(Workers):
    """So many processes at most; each is started when it is needed, and again after its end."""

    count: int
    time_limit: float
    """Seconds for a file; then its process is killed."""
    memory: int
    """Bytes that a process may take for its data."""
    _free: asyncio.Semaphore = field(init=False, repr=False)
    _limiter: anyio.CapacityLimiter = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_free", asyncio.Semaphore(self.count))
        object.__setattr__(self, "_limiter", anyio.CapacityLimiter(self.count))

    async def do(self, work: Callable[..., T], *args: Any) -> T:
        async with self._free:
            try:
                async with asyncio.timeout(self.time_limit):
                    return await to_process.run_sync(
                        _bounded, work, args, self.memory, cancellable=True, limiter=self._limiter
                    )
            except TimeoutError:
                words = f"took more than {self.time_limit:g} s"
                raise WorkerLost(words) from None
            except BrokenWorkerProcess as error:
                raise WorkerLost("ended the process that worked on it") from error
            except MemoryError as error:
                raise WorkerLost("needs more memory than may be had for it") from error


def _bounded(work: Callable[..., T], args: tuple[Any, ...], memory: int) -> T:
    """In the process: with no more memory, and only the CPU that others leave."""
    if sys.platform == "linux":
        import resource  # noqa: PLC0415  not on every platform

        limit = resource.getrlimit(resource.RLIMIT_DATA)
        if limit[0] != memory:
            with suppress(ValueError, OSError):
                resource.setrlimit(resource.RLIMIT_DATA, (memory, limit[1]))
            with suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, 0, _NICENESS)
    return work(*args)
