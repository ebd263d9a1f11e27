"""The real TorchServe, with the example's handler and the tiny model, behind an agent."""

import io
import json
import secrets
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from harness import JsonObject, scene
from queue_agent.runtime import RuntimeOptions
from queue_agent.testing.aws import EmbeddedCloud
from queue_agent.testing.process import ServerProcess, free_port
from queue_agent.wire.errors import Rejected, Unavailable
from queue_agent.wire.job import Job
from queue_agent_runtimes.http import HttpRuntime

PROJECT = Path(__file__).parents[2]
EXAMPLE = PROJECT / "examples" / "torchserve"
MODEL = PROJECT / "runtimes" / "queue_agent_diffusers" / "tiny" / "model"
INSTALLED = Path(sys.prefix) / "torchserve"
JAR = INSTALLED / "ts" / "frontend" / "model-server.jar"

pytestmark = [
    pytest.mark.skipif(shutil.which("java") is None, reason="needs Java: make test installs it"),
    pytest.mark.skipif(not JAR.exists(), reason="needs TorchServe: make test installs it"),
]


@pytest.fixture(scope="module")
def torchserve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("torchserve")
    shutil.copytree(EXAMPLE, folder / "store" / "sd")
    ports = {name: free_port() for name in ("management", "metrics", "grpc", "grpc_too", "worker")}
    server = server_in(folder, ports)
    others = [
        f"inference_address={server.url}",
        *(f"{name}_address=http://127.0.0.1:{ports[name]}" for name in ("management", "metrics")),
        f"grpc_inference_port={ports['grpc']}",
        f"grpc_management_port={ports['grpc_too']}",
        f"initial_worker_port={ports['worker']}",  # its sockets in /tmp are called by it
    ]
    own = (EXAMPLE / "config.properties").read_text()
    (folder / "config.properties").write_text("\n".join([own, *others]))
    try:
        yield server.start()
    finally:
        server.kill()


def server_in(folder: Path, ports: dict[str, int]) -> ServerProcess:
    logs = str(folder / "logs")
    main = "org.pytorch.serve.ModelServer"
    model = ["-f", "config.properties", "-s", "store", "-m", "sd=sd", "-ncs"]
    return ServerProcess(
        ["java", "-Xmx256m", f"-Dmodel_server_home={INSTALLED}", "-cp", str(JAR), main, *model],
        env={
            "PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin",
            "PYTHONPATH": str(INSTALLED),
            "LOG_LOCATION": logs,
            "METRICS_LOCATION": logs,
            "SD_MODEL": str(MODEL),
            "OMP_NUM_THREADS": "1",
        },
        log=folder / "torchserve.log",
        folder=folder,
    )


def content(**fields: object) -> JsonObject:
    return {"prompt": "red circle on white", "steps": 2, "width": 64, "height": 64, **fields}


async def test_a_job_runs_on_torchserve_from_topic_to_image(
    embedded_cloud: EmbeddedCloud, tmp_path: Path, torchserve: ServerProcess
) -> None:
    name = f"torchserve-{secrets.token_hex(4)}"
    settings = {
        "QUEUE_AGENT_RUNTIME": "http",
        "QUEUE_AGENT_RUNTIME_URL": torchserve.url,
        "QUEUE_AGENT_RUNTIME_OPTIONS": json.dumps({"adapter": "torchserve"}),
    }
    async with scene(embedded_cloud, name, tmp_path, settings) as stage:
        stage.start_agent()
        await stage.publish(stage.job("order-1", content(seed=7, cfg_scale=5)))
        answer = await stage.answer("order-1")
        assert answer["status"] == "completed", answer
        (image,) = answer["images"]
        assert (image["media_type"], image["seed"]) == ("image/png", 7)
        with Image.open(io.BytesIO(await stage.read(image["url"]))) as picture:
            assert picture.size == (64, 64)
        await stage.publish(stage.job("order-2", content(width=4096)))
        answer = await stage.answer("order-2")
        assert answer["status"] == "failed"
        assert answer["error"]["type"] == "runtime_rejected"
        assert "width: a multiple of 8 up to 2048" in answer["error"]["message"]
        await stage.emptied()


async def test_the_adapter_finds_what_torchserve_says(torchserve: ServerProcess) -> None:
    options = RuntimeOptions(base_url=torchserve.url, own={"adapter": "torchserve"})
    runtime = HttpRuntime(options)
    try:
        assert await runtime.ready()
        pictures = [await picture(runtime, seed=seed) for seed in (3, 3, 4)]
        assert pictures[0] == pictures[1] != pictures[2]
        with pytest.raises(Rejected, match="width: a multiple of 8"):
            await picture(runtime, width=4096)
    finally:
        await runtime.aclose()


async def test_a_model_that_is_not_there_is_no_jobs_fault(
    torchserve: ServerProcess, tmp_path: Path
) -> None:
    shipped = PROJECT / "runtimes" / "queue_agent_runtimes" / "http" / "adapters"
    other = tmp_path / "other.yaml"
    other.write_text((shipped / "torchserve.yaml").read_text().replace("/sd\n", "/none\n"))
    options = RuntimeOptions(base_url=torchserve.url, own={"adapter": str(other)})
    runtime = HttpRuntime(options)
    try:
        with pytest.raises(Unavailable, match="Model not found: none") as caught:
            await picture(runtime)
        assert caught.value.type == "model_missing"
    finally:
        await runtime.aclose()


async def picture(runtime: HttpRuntime, **fields: object) -> bytes:
    metadata = {"id": "job", "tasktype": "text-to-image"}
    job = Job.model_validate({"metadata": metadata, "content": content(**fields)})
    output = await runtime.run(await runtime.prepare(job, {}), lambda _: None)
    return output.artifacts[0].data
