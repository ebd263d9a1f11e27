"""One GPU that works on one job after another, step by step."""

import asyncio
import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from fakes import end_of_process
from fakes.openai import media

Fields = dict[str, Any]
_DEADLY = "ends the process"
_MOST_PIXELS = 1024
"""Of a side of what is really drawn."""


@dataclass(frozen=True)
class Behaviour:
    """How it works."""

    step_seconds: float = 0.02
    whole_batches: bool = False
    """Whether an abort takes effect only at the end of the work."""
    api_servers: int = 1
    large: int = 0
    most_waiting: int = 1000


class Failed(Exception):
    """The work failed; `status` where its exception was one of HTTP."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


@dataclass(eq=False)
class Work:
    """What one request asks for."""

    id: str
    kind: str
    """``video``, ``mesh`` or ``image``."""
    fields: Fields
    files: list[tuple[str, bytes]] = field(default_factory=list)
    created_at: int = field(default_factory=lambda: int(time.time()))
    started: bool = False
    steps_done: int = 0
    aborted: bool = False
    over: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the engine is done with it, whatever it came to."""
    outcome: "asyncio.Future[bytes]" = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )

    @property
    def steps(self) -> int:
        return int(self.fields.get("num_inference_steps") or 4)

    @property
    def rate(self) -> int:
        return int(float(self.fields.get("fps") or self.fields.get("frame_rate") or 24))

    @property
    def frames(self) -> int:
        if self.fields.get("num_frames"):
            return int(self.fields["num_frames"])
        return max(1, int(float(self.fields.get("seconds") or 0.25) * self.rate))

    @property
    def size(self) -> tuple[int, int]:
        width, _, height = str(self.fields.get("size") or "64x64").partition("x")
        return min(int(width), _MOST_PIXELS), min(int(height), _MOST_PIXELS)

    def file(self) -> bytes:
        digests = [(name, hashlib.sha256(data).hexdigest()) for name, data in self.files]
        asked = (self.kind, sorted(self.fields.items(), key=str), digests)
        if self.kind == "image":
            return media.png(asked, self.size)
        if self.kind == "mesh":
            return media.glb(asked)
        return media.mp4(asked, frames=min(self.frames, 48), rate=self.rate, size=self.size)


class Engine:
    """The queue of works, and the loop that does them."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self.waiting: list[Work] = []
        self.current: Work | None = None
        self._paused_after: int | None = None
        self._changed = asyncio.Event()
        """Set when what stands still may have to go on."""
        self._news = asyncio.Event()
        self._ending = False

    @property
    def held(self) -> int:
        return len(self.waiting) + (self.current is not None)

    def pause(self, after: int | None) -> None:
        """From so many steps of a work on it stands still, except that it can be ended."""
        self._paused_after = after
        self._changed.set()

    def submit(self, work: Work) -> Work:
        self.waiting.append(work)
        self._news.set()
        return work

    def abort(self, work: Work) -> None:
        """As far as the pipeline looks for it in between."""
        work.aborted = True
        self._changed.set()
        if work in self.waiting:
            self.waiting.remove(work)
            work.outcome.cancel()
            work.over.set()

    def end_all(self) -> None:
        """Of no engine: for tests that want a free one."""
        for work in [*self.waiting]:
            self.abort(work)
        self._ending = self.current is not None
        self._changed.set()

    async def serve(self, on_step: Callable[[Work], None] = lambda _: None) -> None:
        while True:
            self._news.clear()
            if not self.waiting:
                await self._news.wait()
                continue
            self.current = work = self.waiting.pop(0)
            try:
                await self._do(work, on_step)
            except Exception as error:
                _settle(work, error)
            finally:
                self.current, self._ending = None, False
                work.over.set()

    def _stands_still(self, work: Work) -> bool:
        ended = self._ending or work.aborted
        return work.steps_done == self._paused_after and not ended

    async def _do(self, work: Work, on_step: Callable[[Work], None]) -> None:
        work.started = True
        prompt = str(work.fields.get("prompt"))
        if _DEADLY in prompt:
            end_of_process()
        if prompt.startswith("fails: "):
            status, _, words = prompt.removeprefix("fails: ").partition(" ")
            raise Failed(words, int(status) or None)
        for _ in range(work.steps):
            await asyncio.sleep(self.behaviour.step_seconds)
            work.steps_done += 1
            on_step(work)
            if self._ending or (work.aborted and not self.behaviour.whole_batches):
                work.outcome.cancel()
                return
            while self._stands_still(work):
                self._changed.clear()
                await self._changed.wait()
        made = await asyncio.to_thread(work.file)
        if not work.outcome.done():
            work.outcome.set_result(_grown(made, self.behaviour.large))


def _settle(work: Work, error: Exception) -> None:
    if not work.outcome.done():
        failed = error if isinstance(error, Failed) else Failed(repr(error))
        work.outcome.set_exception(failed)


def _grown(made: bytes, size: int) -> bytes:
    """With a box behind its end that players pass over."""
    return made + ((size + 8).to_bytes(4) + b"free" + bytes(size) if size else b"")
