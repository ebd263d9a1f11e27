"""One GPU: works on one thing at a time, and draws the same for the same request."""

import base64
import hashlib
import struct
import threading
import uuid
import zlib
from dataclasses import dataclass, field
from typing import Any

SLOWNESS = 5000
"""Steps squared over this are a job's seconds: few steps take no time, a thousand minutes."""


@dataclass
class Work:
    """One image under way."""

    prompt: str
    steps: int
    seed: int
    width: int
    height: int
    image: bytes = b""
    count: int = 1
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    state: str = "waiting"
    step: int = 0
    stopped: threading.Event = field(default_factory=threading.Event)

    @property
    def over(self) -> bool:
        return self.state in {"done", "stopped"}

    def picture(self, number: int = 0) -> bytes:
        key = f"{self.prompt}|{self.steps}|{self.seed + number}".encode() + self.image
        red, green, blue = hashlib.sha256(key).digest()[:3]
        return png(self.width, self.height, bytes((red, green, blue)))


class Engine:
    """Does the work in threads of its callers, or in one of its own."""

    def __init__(self) -> None:
        self.works: dict[str, Work] = {}
        self.turn = threading.Lock()

    @property
    def held(self) -> int:
        return sum(not work.over for work in [*self.works.values()])

    def perform(self, work: Work) -> Work:
        """Wait for the turn and do the work, until it is stopped."""
        self.works[work.id] = work
        with self.turn:
            if not work.stopped.is_set():
                work.state = "running"
            for step in range(1, work.steps + 1):
                work.step = step
                if work.stopped.wait(work.steps / SLOWNESS):
                    break
        work.state = "stopped" if work.stopped.is_set() else "done"
        return work

    def accept(self, work: Work) -> Work:
        """Do the work in a thread of its own."""
        self.works[work.id] = work
        threading.Thread(target=self.perform, args=(work,), daemon=True).start()
        return work

    def stop(self, work: Work) -> None:
        work.stopped.set()
        if work.state == "waiting":
            work.state = "stopped"

    def end(self) -> None:
        """Stop everything, as no API can."""
        for work in [*self.works.values()]:
            self.stop(work)

    def running(self) -> list[Work]:
        return [work for work in [*self.works.values()] if work.state == "running"]


def png(width: int, height: int, colour: bytes) -> bytes:
    """A picture of one colour."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)

    rows = (b"\0" + colour * width) * height
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def whole(value: Any, default: int) -> int:
    return default if value is None else int(value)
