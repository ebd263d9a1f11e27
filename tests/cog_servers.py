"""Cog servers of one small model: the real one, and the fake that stands for it."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import httpx

from fakes import fake_runtime, importable_tests
from harness import PATIENCE
from queue_agent.testing import ServerProcess

MODEL: Final = Path(__file__).parent / "fakes" / "cog" / "model"


def real_cog(**environment: str) -> ServerProcess:
    """The server that PyPI has, in the model's folder."""
    command = [sys.executable, "-m", "cog.server.http", "--host", "127.0.0.1"]
    settings = {"PORT": "{port}", "COG_PREDICT_TYPE_STUB": "predict.py:Runner"}
    # It starts the worker as `python`.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    found = {**importable_tests(), "PATH": path, **settings}
    return ServerProcess(command, env={**found, **environment}, folder=MODEL)


def fake_cog(*options: str) -> ServerProcess:
    return fake_runtime("cog", *options)


async def predictions_held(server: ServerProcess) -> int:
    """How many it works on, which are one or none, by its own word."""
    async with httpx.AsyncClient(base_url=server.url, timeout=PATIENCE) as client:
        return int((await client.get("/health-check")).json()["status"] == "BUSY")


@contextmanager
def set_up(server: ServerProcess) -> Iterator[ServerProcess]:
    """The server, started and done with its model's setup."""
    with server:
        for _ in range(600):
            if (
                httpx.get(f"{server.url}/health-check", timeout=PATIENCE).json()["status"]
                == "READY"
            ):
                break
            time.sleep(0.1)
        yield server
