"""The bundled runtime with the tiny model, or with models that need no torch.

`python tests/diffusers_servers.py PORT [films]` serves the latter.
"""

import hashlib
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import uvicorn
from PIL import Image

from made_once import made_once
from queue_agent.testing.process import HOST, ServerProcess
from queue_agent_diffusers.engine.engine import Engine
from queue_agent_diffusers.engine.model import Model, Observer, OnStep
from queue_agent_diffusers.engine.pool import ModelPool, Served
from queue_agent_diffusers.engine.requests import Clip, ImageRequest, Pictures
from queue_agent_diffusers.engine.unbatched import UnbatchedModel
from queue_agent_diffusers.errors import OutOfMemory
from queue_agent_diffusers.http.app import create_app
from queue_agent_diffusers.http.draining import DrainingServer
from queue_agent_diffusers.torch.video_file import write_video

STEP_SECONDS = 0.02
"""For each image of the request."""


class LoadedServer(ServerProcess):
    """A server that counts as listening once its model is loaded."""

    def wait_until_listening(self, timeout: float = 120.0) -> None:
        super().wait_until_listening(timeout)
        deadline = time.monotonic() + timeout
        while httpx.get(f"{self.url}/health", timeout=60).status_code != 200:
            if time.monotonic() > deadline:
                raise RuntimeError(f"the model was not loaded within {timeout} s")
            time.sleep(0.02)


class PaintingModel(UnbatchedModel):
    """Paints one colour, derived from the request and the seed, and takes its time."""

    def generate(self, request: ImageRequest, on_step: OnStep) -> Pictures:
        steps = request.steps or 4
        for step in range(1, steps + 1):
            time.sleep(STEP_SECONDS * request.count)
            on_step(step, steps)
        size = (request.width or 64, request.height or 64)
        return Pictures([Image.new("RGB", size, _colour(request, seed)) for seed in request.seeds])


class SteppingSample:
    """Counts its steps."""

    rows = 1
    skipped_by = None

    def __init__(self, request: ImageRequest, seed: int) -> None:
        self.request = request
        self.seed = seed
        self.step = 0
        self.steps: int | None = None
        self.stopped = False

    @property
    def done(self) -> bool:
        return self.step == self.steps

    def start(self) -> None:
        self.steps = self.request.steps or 4

    def advance(self) -> None:
        if self.request.prompt == "breaks at its second step" and self.step == 1:
            raise ValueError("broken")
        self.step += 1

    def stop(self) -> None:
        self.stopped = True

    def preview(self) -> Callable[[], Image.Image] | None:
        return lambda: Image.new("RGB", (8, 8))


class SteppingModel:
    """Shares steps between samples of one width, and notes which.

    Pictures have one pixel, in the colour of their seed.
    """

    memory = 100
    turn = 4
    takes_samplers = True
    takes_loras = True
    control_nets: Sequence[str] = ()
    ip_adapters: Sequence[str] = ()

    def __init__(self, *, max_batch: int = 4, fits: int = 1000) -> None:
        self.max_batch = max_batch
        self.fits = fits
        """How many samples of a step the memory holds."""
        self.batches: list[list[str]] = []
        """The prompts of each step that was taken."""
        self.attempts = 0
        """Steps that were taken or failed."""
        self.gate = threading.Semaphore(0)
        self.open = True
        """Whether steps are taken at once, instead of one for each release of the gate."""
        self.may_finish = threading.Event()
        """Whether pictures are made of finished samples."""
        self.may_finish.set()
        self.closed = False

    def check(self, request: ImageRequest) -> None:
        """Everything is fine."""

    def batch_key(self, request: ImageRequest) -> Hashable:
        return request.width

    def max_rows(self, request: ImageRequest) -> int:
        del request
        return self.max_batch

    def begin(self, request: ImageRequest, on_step: OnStep) -> Sequence[SteppingSample]:
        del on_step
        return [SteppingSample(request, seed) for seed in request.seeds]

    def predict(self, samples: Sequence[SteppingSample]) -> Sequence[Callable[[], None]]:
        if not self.open:
            self.gate.acquire()
        self.attempts += 1
        if len(samples) > self.fits or any(one.request.prompt == "huge" for one in samples):
            raise OutOfMemory(f"{len(samples)} image(s) do not fit")
        self.batches.append([sample.request.prompt for sample in samples])
        return [sample.advance for sample in samples]

    def finish(
        self, request: ImageRequest, samples: Sequence[SteppingSample]
    ) -> Callable[[], Pictures]:
        del request
        colours = [(sample.seed % 256, 0, 0) for sample in samples]

        def make() -> Pictures:
            self.may_finish.wait()
            return Pictures([Image.new("RGB", (1, 1), colour) for colour in colours])

        return make

    def close(self) -> None:
        self.closed = True


class FilmingModel(SteppingModel):
    """Makes videos in the colours of the seeds."""

    def finish(
        self, request: ImageRequest, samples: Sequence[SteppingSample]
    ) -> Callable[[], Pictures]:
        clip = request.clip or Clip()
        frames, fps = clip.frames or 3, clip.fps or 8

        def make() -> Pictures:
            self.may_finish.wait()
            pictures = [Image.new("RGB", (64, 48), (one.seed % 256, 0, 0)) for one in samples]
            videos = [write_video([picture] * frames, fps) for picture in pictures]
            return Pictures([], ("frames: as many were made.",), tuple(videos))

        return make


class SlowlyFilmingModel(FilmingModel):
    """Takes its time for each step."""

    def predict(self, samples: Sequence[SteppingSample]) -> Sequence[Callable[[], None]]:
        time.sleep(STEP_SECONDS)
        return super().predict(samples)


def tiny_video_server() -> ServerProcess:
    """The bundled runtime with a tiny Wan of random weights, which takes images, not started."""
    folder = made_once("tiny-video-model", _build_video)
    command = [sys.executable, "-m", "queue_agent_diffusers", "--model", str(folder)]
    return LoadedServer([*command, "--port", "{port}"])


def _build_video(folder: Path) -> None:
    """By a process of its own, as below."""
    script = Path(__file__).with_name("tiny_videos.py")
    command = [sys.executable, str(script), str(folder), "Wan of tokens"]
    subprocess.run(command, check=True, capture_output=True)


def tiny_server(*options: str, environment: Mapping[str, str] | None = None) -> ServerProcess:
    """The bundled runtime with the tiny model, not started."""
    command = [
        sys.executable,
        "-m",
        "queue_agent_diffusers",
        "--model",
        str(tiny_model()),
        *options,
    ]
    return LoadedServer([*command, "--port", "{port}"], env=environment)


def conditioning_options() -> list[str]:
    """A ControlNet "edges" and an IP-Adapter "face" for the tiny model's server."""
    folder = made_once("tiny-conditioning", _build_conditioning)
    return [
        *("--controlnet", f"edges={folder / 'edges'}"),
        *("--ip-adapter", f"face={folder / 'adapter-0.safetensors'}"),
    ]


def filming_server() -> ServerProcess:
    """The bundled runtime's server and engine around a `SlowlyFilmingModel`, not started."""
    return LoadedServer([sys.executable, __file__, "{port}", "films"])


def upscaling_options() -> list[str]:
    """An upscaler "large", which makes sides four times as long."""
    return ["--upscaler", f"large={made_once('tiny-upscaler', _build_upscaler)}"]


def painting_server() -> ServerProcess:
    """The bundled runtime's server and engine around a `PaintingModel`, not started."""
    return LoadedServer([sys.executable, __file__, "{port}"])


def engine_of(model: Model, *, max_waiting: int = 64, observer: Observer | None = None) -> Engine:
    """An engine that serves one model, not started."""
    pool = ModelPool({"scripted": Served(lambda: model)})
    return Engine(pool, max_waiting=max_waiting, observer=observer)


@contextmanager
def engine_with(model: Model) -> Iterator[Engine]:
    """An engine that serves one model, until the end of the block."""
    engine = engine_of(model)
    loaded = threading.Event()
    engine.pool.on_change = loaded.set
    engine.start()
    while not engine.ready:
        loaded.wait(0.01)
    try:
        yield engine
    finally:
        engine.close()


def tiny_model(*, xl: bool = False) -> Path:
    """The tiny model's folder, built once for the whole run."""
    return made_once("tiny-xl-model" if xl else "tiny-model", lambda to: _build_tiny(to, xl=xl))


def _build_tiny(folder: Path, *, xl: bool) -> None:
    """By a process of its own, so that tests of other things load no torch."""
    if "torch" in sys.modules:
        from queue_agent_diffusers.torch.tiny import build_tiny_model  # noqa: PLC0415  loads torch

        build_tiny_model(folder, xl=xl)
    else:
        command = [sys.executable, "-m", "queue_agent_diffusers.torch.tiny", str(folder)]
        subprocess.run([*command, *(["--xl"] if xl else [])], check=True, capture_output=True)


def _build_conditioning(folder: Path) -> None:
    _run("tiny_conditioning.py", folder)


def _build_upscaler(folder: Path) -> None:
    _run("tiny_upscalers.py", folder)


def _run(script: str, folder: Path) -> None:
    command = [sys.executable, str(Path(__file__).with_name(script)), str(folder)]
    subprocess.run(command, check=True, capture_output=True)


def jobs_held(server: ServerProcess) -> int:
    """How many jobs run or wait."""
    active: list[object] = httpx.get(f"{server.url}/v1/jobs", timeout=60).json()["data"]
    return len(active)


def _colour(request: ImageRequest, seed: int) -> tuple[int, int, int]:
    digest = hashlib.sha256(f"{request.prompt} {seed}".encode()).digest()
    return digest[0], digest[1], digest[2]


def main() -> None:
    films = sys.argv[2:] == ["films"]
    engine = engine_of(SlowlyFilmingModel() if films else PaintingModel())
    engine.start()
    app = create_app(engine)
    port = int(sys.argv[1])
    config = uvicorn.Config(app, HOST, port, log_level="warning", timeout_keep_alive=75)
    DrainingServer(config, engine).run()


if __name__ == "__main__":
    main()
