"""The bundled runtime as a process, with the tiny model or with one that needs no torch.

`python tests/diffusers_servers.py PORT` serves the latter.
"""

import atexit
import functools
import hashlib
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
import uvicorn
from PIL import Image

from queue_agent.server_process import HOST, ServerProcess
from runtimes.diffusers.app import create_app
from runtimes.diffusers.engine import Engine
from runtimes.diffusers.model import Model, OnStep
from runtimes.diffusers.pool import ModelPool, Served
from runtimes.diffusers.requests import ImageRequest, Pictures
from runtimes.diffusers.whole import WholeModel

STEP_SECONDS = 0.01
"""For each image of the request."""


class LoadedServer(ServerProcess):
    """A server that counts as listening once its model is loaded."""

    def wait_until_listening(self, timeout: float = 60.0) -> None:
        super().wait_until_listening(timeout)
        deadline = time.monotonic() + timeout
        while httpx.get(f"{self.url}/health").status_code != 200:
            if time.monotonic() > deadline:
                raise RuntimeError(f"the model was not loaded within {timeout} s")
            time.sleep(0.02)


class PaintingModel(WholeModel):
    """Paints one colour, derived from the request and the seed, and takes its time."""

    def generate(self, request: ImageRequest, on_step: OnStep) -> Pictures:
        steps = request.steps or 4
        for step in range(1, steps + 1):
            time.sleep(STEP_SECONDS * request.count)
            on_step(step, steps)
        size = (request.width or 64, request.height or 64)
        return Pictures([Image.new("RGB", size, _colour(request, seed)) for seed in request.seeds])


def tiny_server(*options: str) -> ServerProcess:
    """The bundled runtime with the tiny model, not started."""
    command = [sys.executable, "-m", "runtimes.diffusers", "--model", str(tiny_model()), *options]
    # One thread: on tensors this small, more only wait for each other.
    return LoadedServer([*command, "--port", "{port}"], env={"OMP_NUM_THREADS": "1"})


def painting_server() -> ServerProcess:
    """The bundled runtime's server and engine around a `PaintingModel`, not started."""
    return LoadedServer([sys.executable, __file__, "{port}"])


def engine_of(model: Model, *, max_waiting: int = 64) -> Engine:
    """An engine that serves one model, not started."""
    return Engine(ModelPool({"scripted": Served(lambda: model)}), max_waiting=max_waiting)


@functools.cache
def tiny_model(*, xl: bool = False) -> Path:
    """The tiny model's folder, built once for the whole run by a process of its own."""
    folder = Path(tempfile.mkdtemp(prefix="tiny-model-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    command = [sys.executable, "-m", "runtimes.diffusers.tiny", str(folder)]
    subprocess.run([*command, *(["--xl"] if xl else [])], check=True, capture_output=True)
    return folder


def busy(server: ServerProcess) -> bool:
    """Whether a job runs or waits."""
    active: list[object] = httpx.get(f"{server.url}/v1/jobs").json()["data"]
    return bool(active)


def _colour(request: ImageRequest, seed: int) -> tuple[int, int, int]:
    digest = hashlib.sha256(f"{request.prompt} {seed}".encode()).digest()
    return digest[0], digest[1], digest[2]


def main() -> None:
    engine = engine_of(PaintingModel())
    engine.start()
    app = create_app(engine)
    uvicorn.run(app, host=HOST, port=int(sys.argv[1]), log_level="warning")


if __name__ == "__main__":
    main()
