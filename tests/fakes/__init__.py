"""Servers that behave and refuse like the real runtimes, without a GPU; run as processes."""

import asyncio
import os
import sys
from pathlib import Path

from queue_agent.testing.process import ServerProcess

_TESTS = Path(__file__).parents[1]


def fake_runtime(name: str, *options: str, port: int | None = None) -> ServerProcess:
    """The fake of that name (``webui``, ``comfyui``) with these options; not started yet."""
    command = [sys.executable, "-m", f"fakes.{name}", "--port", "{port}", *options]
    return ServerProcess(command, port=port, env=importable_tests())


def end_of_process(after: float = 0.2) -> None:
    """End this server as a crash does, in so many seconds."""
    asyncio.get_running_loop().call_later(after, os._exit, 1)


def importable_tests() -> dict[str, str]:
    """An environment whose processes find this package beside what this process finds."""
    paths = (str(_TESTS), os.environ.get("PYTHONPATH", ""))
    return {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
