"""Models that come into the folders of a fake Web UI while it runs."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from pydantic import JsonValue

from fakes import fake_runtime
from model_site import model_bytes
from queue_agent.runtime import ModelFile, Runtime, RuntimeOptions
from queue_agent.testing import FaultProxy, ServerProcess
from queue_agent.testing.fault_proxy import Status, on_path
from queue_agent.testing.runtime_contract.hooks import ignore
from queue_agent.wire.errors import Rejected, Unavailable
from queue_agent.wire.job import Job
from queue_agent_runtimes.webui import WebUIRuntime

URL = "https://models.example.org"
FOLDERS = ["Stable-diffusion", "Lora", "VAE"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "models"


@pytest.fixture
def server(folder: Path) -> Iterator[ServerProcess]:
    with fake_runtime("webui", "--models", str(folder)) as server:
        yield server


@pytest.fixture
async def runtime(server: ServerProcess) -> AsyncIterator[Runtime]:
    runtime = WebUIRuntime(RuntimeOptions(base_url=server.url))
    yield runtime
    await runtime.aclose()


def put(folder: Path, kind: str, name: str) -> ModelFile:
    path = folder / kind / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model_bytes())
    return ModelFile(name, kind)


def job(models: JsonValue = None, **content: JsonValue) -> Job:
    metadata = {"id": "a", "tasktype": "text-to-image", "models": models}
    return Job.model_validate(
        {"metadata": metadata, "content": {"prompt": "a cat", "steps": 1, **content}}
    )


@pytest.mark.parametrize("kind", FOLDERS)
@pytest.mark.parametrize("name", ["new.safetensors", "sub/new.safetensors"])
async def test_the_server_sees_a_model_once_it_is_told_that_it_came(
    runtime: Runtime, folder: Path, kind: str, name: str
) -> None:
    model = put(folder, kind, name)
    assert not await runtime.has_model(model)
    await runtime.models_came([model])
    assert await runtime.has_model(ModelFile("new.safetensors", kind))
    assert not await runtime.has_model(ModelFile("ew.safetensors", kind))


async def test_a_job_is_done_with_a_checkpoint_that_came(runtime: Runtime, folder: Path) -> None:
    wanted = job(model="new.safetensors")
    with pytest.raises(Rejected):
        await runtime.prepare(wanted, {})
    await runtime.models_came([put(folder, "Stable-diffusion", "new.safetensors")])
    (await runtime.run(await runtime.prepare(wanted, {}), ignore)).close()


async def test_servers_without_such_lists_have_no_models_and_are_told_nothing(
    server: ServerProcess,
) -> None:
    async with FaultProxy(server.url) as proxy:
        runtime = WebUIRuntime(RuntimeOptions(base_url=proxy.url))
        with proxy.fault(Status(404), on_path("/sdapi/v1/*")):
            assert not await runtime.has_model(ModelFile("a", "Lora"))
            await runtime.models_came([ModelFile("a", "Lora"), ModelFile("a", "VAE")])
        with proxy.fault(Status(503), on_path("/sdapi/v1/*")):
            with pytest.raises(Unavailable):
                await runtime.has_model(ModelFile("a", "Lora"))
            with pytest.raises(Unavailable):
                await runtime.models_came([ModelFile("a", "Lora")])
        await runtime.aclose()


def test_a_job_names_its_models_in_the_portable_words_or_the_web_uis() -> None:
    runtime = WebUIRuntime(RuntimeOptions())
    asked = job(
        [
            {"name": "a.safetensors", "url": f"{URL}/a", "directory": "checkpoints"},
            {"name": "b.safetensors", "url": f"{URL}/b", "directory": "Lora"},
        ],
        prompt="a cat <lora:ink:0.5> <lora:wash>",
        hr_prompt="sharp <lora:detail:1>",
        loras=[{"name": "b.safetensors"}],
        override_settings={"sd_model_checkpoint": "a.safetensors [12ab]", "sd_vae": "v.pt"},
    )
    assert list(runtime.model_files(asked)) == [
        ModelFile("a.safetensors", "Stable-diffusion", f"{URL}/a"),
        ModelFile("b.safetensors", "Lora", f"{URL}/b"),
        ModelFile("a.safetensors", "Stable-diffusion"),
        ModelFile("v.pt", "VAE"),
        ModelFile("b.safetensors", "Lora"),
        ModelFile("ink", "Lora"),
        ModelFile("wash", "Lora"),
        ModelFile("detail", "Lora"),
    ]


@pytest.mark.parametrize(
    "content",
    [{"loras": "no list"}, {"loras": [3, {"name": 4}]}, {"prompt": 5}, {"override_settings": []}],
)
def test_what_cannot_be_read_names_no_models(content: dict[str, JsonValue]) -> None:
    runtime = WebUIRuntime(RuntimeOptions())
    assert list(runtime.model_files(job(**content))) == []
