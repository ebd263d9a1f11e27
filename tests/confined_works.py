"""What processes of their own are told to do in tests; it imports little, as they do."""

import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Parcel:
    data: bytes
    name: str | None = None


def identity() -> int:
    return os.getpid()


def parcel(data: bytes, size: int = 1) -> Parcel:
    return Parcel(data * size)


def variables() -> list[str]:
    return sorted(os.environ)


def printing() -> int:
    print("[0]", flush=True)
    os.write(1, b"[0]\n")
    return 7


def killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def stuck() -> None:
    time.sleep(3600)


def busy() -> None:
    while True:
        pass


def greedy(size: int) -> int:
    return len(bytearray(size))


def refusing() -> None:
    raise ValueError("no")


def without_room() -> None:
    raise OSError(28, "No space left on device")


def writing(path: str, size: int) -> None:
    with open(path, "wb") as file:  # noqa: PTH123
        file.write(bytes(size))


def text() -> int:
    """As a broken process might answer."""
    return "seven"  # type: ignore[return-value]


def shouting() -> str:
    return "a" * 3 * 2**20


def way_out(name: str) -> None:
    """Take it."""
    if name == "a socket":
        socket.socket()
    elif name == "a program":
        subprocess.run([sys.executable, "-c", ""], check=True)
    else:
        os.execv(sys.executable, [sys.executable, "-c", ""])  # noqa: S606


def facts(descriptor: int, form: str) -> dict[str, float | str]:
    """Says too little of a video; stands in for the real one."""
    return {"frames": 3}


def impossible_facts(descriptor: int, form: str) -> dict[str, float | str]:
    return {"frames": -3, "duration": 1e999}


def wordy_facts(descriptor: int, form: str) -> dict[str, float | str]:
    return {"frames": 3, "codec": "a" * 3 * 2**20}


def nonsense_facts(descriptor: int, form: str) -> dict[str, float | str]:
    return "frames: 3"  # type: ignore[return-value]


def crashing_poster(descriptor: int, form: str) -> bytes | None:
    os.kill(os.getpid(), signal.SIGSEGV)
    return None


def stalling_poster(descriptor: int, form: str) -> bytes | None:
    time.sleep(600)
    return None


def script_for_poster(descriptor: int, form: str) -> bytes | None:
    return b"<script>"
