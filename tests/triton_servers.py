"""The fake Triton, and a real one of `make test-triton` with the same models."""

import os
import re
import secrets
from pathlib import Path

import httpx

from fakes import fake_runtime
from fakes.triton.served import BROKEN, MODELS, PAINTER
from harness import PATIENCE
from queue_agent.testing.process import ServerProcess, free_port

HOME = Path(os.environ.get("TRITON_HOME", "/nonexistent"))
"""The virtual environment that `make test-triton` makes."""
STAND_IN = Path(__file__).parent / "fakes" / "triton" / "stand_in.py"


def fake_triton(*options: str) -> ServerProcess:
    """The fake; not started yet."""
    return fake_runtime("triton", *options)


def real_triton(
    models: Path,
    *,
    env: dict[str, str] | None = None,
    log: Path | None = None,
    metrics_port: int | None = None,
) -> ServerProcess:
    """Triton of the environment in `HOME`, on a folder of models; not started yet."""
    packages = next((HOME / "lib").glob("python3*/site-packages"))
    triton = packages / "pytriton" / "tritonserver"
    command = [
        str(triton / "bin" / "tritonserver"),
        f"--model-repository={models}",
        f"--backend-directory={triton / 'backends'}",
        "--http-address=127.0.0.1",
        "--http-port={port}",
        "--allow-grpc=false",
        f"--metrics-port={metrics_port}" if metrics_port else "--allow-metrics=false",
        "--exit-on-error=false",
        "--exit-timeout-secs=2",
    ]
    paths = {
        "LD_LIBRARY_PATH": str(packages / "nvidia_pytriton.libs"),
        "PYTHONPATH": str(packages),
        "PATH": f"{HOME / 'bin'}:{os.environ['PATH']}",
    }
    return ServerProcess(command, env={**paths, **(env or {})}, log=log)


def repository(folder: Path, *, broken: bool = False) -> Path:
    """A folder of the models that the fake has, done by the stand-in."""
    for model in MODELS.values():
        _model(folder / model.name, model.config(), STAND_IN.read_text())
    if broken:
        config = PAINTER.config().replace('"painter"', f'"{BROKEN}"')
        _model(folder / BROKEN, config, 'raise RuntimeError("no weights")\n')
    return folder


def _model(folder: Path, config: str, code: str) -> None:
    version = folder / "1"
    version.mkdir(parents=True)
    (folder / "config.pbtxt").write_text(config)
    (version / "model.py").write_text(code)


class StandIns:
    """A real Triton with the models of the stand-in, and what tests see of it from outside."""

    def __init__(self, folder: Path, *, step_seconds: float, broken: bool = False) -> None:
        self.folder = folder / secrets.token_hex(4)
        self.models = repository(self.folder / "models", broken=broken)
        self._stop = self.folder / "stop"
        self._held = self.folder / "held"
        self._held.mkdir()
        env = {
            "STEP_SECONDS": str(step_seconds),
            "STOP_FILE": str(self._stop),
            "HELD_FOLDER": str(self._held),
        }
        self._metrics = free_port()
        log = self.folder / "triton.log"
        self.server = real_triton(self.models, env=env, log=log, metrics_port=self._metrics)

    async def held(self) -> int:
        """Requests that wait, by Triton's metrics, or run, by the models' word."""
        running = sum(int(one.name.rpartition("-")[2]) for one in self._held.iterdir())
        async with httpx.AsyncClient(timeout=PATIENCE) as client:
            answer = await client.get(f"http://127.0.0.1:{self._metrics}/metrics")
        metric = r"^nv_inference_pending_request_count\S* (\d+)"
        pending = re.findall(metric, answer.text, re.MULTILINE)
        return running + sum(map(int, pending))

    def end_work(self) -> None:
        """Have what runs end."""
        self._stop.touch()


async def held_by_fake(server: ServerProcess) -> int:
    """Requests that wait or run."""
    async with httpx.AsyncClient(base_url=server.url, timeout=PATIENCE) as client:
        return int((await client.get("/held")).text)


async def end_work_of_fake(server: ServerProcess) -> None:
    async with httpx.AsyncClient(base_url=server.url, timeout=PATIENCE) as client:
        await client.post("/end-work")
