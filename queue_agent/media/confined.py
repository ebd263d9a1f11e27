"""Functions done in a process of its own, which what they work on may break.

Decoders are C that meets bytes anybody may have made. Such a process has little memory, time and
room, none of the agent's environment, and, on Linux, no way to other hosts or programs; it is told
what to do by pickles, and answers in lines of JSON, of which each is checked. Whatever becomes of
it, it costs the answer that it has not given.
"""

import os
import pickle
import select
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import GenericAlias, TracebackType
from typing import Any, Final, Self, TypeVar, get_type_hints

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

T = TypeVar("T")

_PROGRAM: Final = Path(__file__).with_name("confined_program.py")
_OF_THE_MACHINE: Final = ("LD_LIBRARY_PATH", "TMPDIR")
"""What every process is given of the environment, which holds credentials."""
_LONGEST_ANSWER: Final = 2 * 2**20
_PIECE: Final = 2**16


class WorkerLost(Exception):
    """The work came to no end. The message continues the file's name."""


class WorkerTooSlow(WorkerLost):
    """It was ended when its time was over; another one would be, too."""


@dataclass(frozen=True)
class Bounds:
    """What a process may take, and what it is given."""

    memory: int
    """Bytes of its data."""
    seconds: float
    """For one work, and so many of a CPU at most; then the process is ended."""
    room: int
    """Bytes of each file that it writes."""
    network: bool = False
    """Whether it may speak to other hosts, and start programs."""
    environment: tuple[str, ...] = ()
    """Names of variables that it is given, or how such begin that end with ``*``."""


class _Failure(BaseModel):
    kinds: list[str]
    """Names of the exception's class and of those above it."""
    words: str
    number: int | None = None


class ConfinedProcess:
    """One process, started by its first work. Its methods wait; one thread at a time uses it."""

    def __init__(self, bounds: Bounds, files: Sequence[int] = ()) -> None:
        """`files` are descriptors that it has, too, by the same numbers."""
        self._bounds = bounds
        self._files = files
        self._process: subprocess.Popen[bytes] | None = None
        self._is_over = False
        self._starting = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.end()

    @property
    def may_go_on(self) -> bool:
        """Whether there may be more work for it."""
        return not self._is_over

    def do(self, work: Callable[..., T], *args: Any, raises: Sequence[type[Exception]] = ()) -> T:
        """What the function returns or, of those named, raises.

        It is found by its module and name. What it returns is what its annotation says: plain
        values, bytes and dataclasses of such.

        Raises:
            WorkerLost: it took too long or too much memory, ended the process, raised what is not
                named, or the answer makes no sense.
            OSError: no process can be started.
        """
        process = self._started()
        line = self._answer(process, pickle.dumps((work, args)))
        try:
            if line.startswith(b"["):
                return _answers_of(work).validate_json(line)[0]  # type: ignore[no-any-return]
            failure = _Failure.model_validate_json(line)
        except ValidationError as error:
            self.end()
            raise WorkerLost("has an answer that makes no sense") from error
        raise _raised(failure, raises)

    def kill(self) -> None:
        """Have it end, from whatever thread; its work is lost. `end` is still to be called."""
        with self._starting:
            self._is_over = True
            if self._process is not None:
                self._process.kill()

    def end(self) -> None:
        """End it, once nobody waits for its work."""
        self.kill()
        if self._process is not None:
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    with suppress(OSError):
                        pipe.close()

    def _started(self) -> "subprocess.Popen[bytes]":
        with self._starting:
            if self._is_over:
                raise WorkerLost("was given up")
            if self._process is None:
                self._process = subprocess.Popen(  # noqa: S603  our own program
                    [sys.executable, "-I", str(_PROGRAM)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    env=_given(self._bounds.environment),
                    pass_fds=self._files,
                    bufsize=0,
                )
                bounds = self._bounds
                told = (sys.path, bounds.memory, bounds.seconds, bounds.room, bounds.network)
                _write(self._process, pickle.dumps(told))
            return self._process

    def _answer(self, process: "subprocess.Popen[bytes]", request: bytes) -> bytes:
        end = time.monotonic() + self._bounds.seconds
        _write(process, request)
        line, lost, kind = bytearray(), "", WorkerLost
        while not (lost or line.endswith(b"\n")):
            try:
                piece = _read(process, end)
            except TimeoutError:
                lost, kind = f"took more than {self._bounds.seconds:g} s", WorkerTooSlow
            else:
                line += piece
                lost = "" if piece else "ended the process that worked on it"
                lost = "has an answer without an end" if len(line) > _LONGEST_ANSWER else lost
        if lost:
            self.end()
            raise kind(lost)
        return bytes(line)


def _given(names: Sequence[str]) -> dict[str, str]:
    whole = {*_OF_THE_MACHINE, *names}
    begins = tuple(name[:-1] for name in names if name.endswith("*"))
    return {
        name: value
        for name, value in os.environ.items()
        if name in whole or (begins and name.startswith(begins))
    }


def _write(process: "subprocess.Popen[bytes]", data: bytes) -> None:
    """Whether anybody reads it shows when there is no answer."""
    left = memoryview(data)
    with suppress(BrokenPipeError):
        while left and process.stdin is not None:
            left = left[process.stdin.write(left) :]


def _read(process: "subprocess.Popen[bytes]", end: float) -> bytes:
    """What comes next of an answer; nothing once there is no more.

    Raises:
        TimeoutError: it does not come in time.
    """
    if process.stdout is None:
        return b""
    ready, _, _ = select.select([process.stdout], [], [], max(0.0, end - time.monotonic()))
    if not ready:
        raise TimeoutError
    return os.read(process.stdout.fileno(), _PIECE)


@cache
def _answers_of(work: Callable[..., Any]) -> "TypeAdapter[tuple[Any]]":
    answers: Any = GenericAlias(tuple, (get_type_hints(work)["return"],))
    return TypeAdapter(answers, config=ConfigDict(val_json_bytes="base64"))


def _raised(failure: _Failure, raises: Sequence[type[Exception]]) -> Exception:
    if MemoryError.__name__ in failure.kinds:
        return WorkerLost("needs more memory than may be had for it")
    named = {kind.__name__: kind for kind in raises}
    for kind in failure.kinds:
        if kind in named:
            args = (failure.words,) if failure.number is None else (failure.number, failure.words)
            return named[kind](*args)
    return WorkerLost(f"failed in the process that worked on it ({failure.kinds[0][:40]})")
