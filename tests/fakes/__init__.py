"""Servers that behave and refuse like the real runtimes, without a GPU; run as processes."""

import sys
from pathlib import Path

from queue_agent.testing.process import ServerProcess

_TESTS = Path(__file__).parents[1]


def fake_runtime(name: str, *options: str, port: int | None = None) -> ServerProcess:
    """The fake of that name (``webui``, ``comfyui``) with these options; not started yet."""
    command = [sys.executable, "-m", f"fakes.{name}", "--port", "{port}", *options]
    return ServerProcess(command, port=port, env={"PYTHONPATH": str(_TESTS)})
