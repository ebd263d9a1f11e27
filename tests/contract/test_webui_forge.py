"""The Web UI's adapter, against a fake that does what Forge does otherwise."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from itertools import permutations
from typing import Final

import pytest
from pydantic import JsonValue

from fakes import fake_runtime
from queue_agent.runtime import ModelFile, Output, Runtime, RuntimeOptions
from queue_agent.testing import ServerProcess
from queue_agent.testing.runtime_contract.hooks import contents, ignore
from queue_agent.wire.errors import Rejected
from queue_agent.wire.job import Job
from queue_agent_runtimes.webui import WebUIRuntime

Content = dict[str, JsonValue]
VAE: Final = "soft.safetensors"
HIRES: Final[Content] = {"enable_hr": True, "denoising_strength": 0.5, "hr_upscaler": "Latent"}
JOBS: Final[dict[str, Content]] = {
    "plain": {},
    "no modules": {"override_settings": {"forge_additional_modules": []}},
    "a module": {"override_settings": {"forge_additional_modules": [VAE]}},
    "a module and an option": {
        "override_settings": {"forge_additional_modules": [VAE], "CLIP_stop_at_last_layers": 2}
    },
    "a VAE": {"override_settings": {"sd_vae": VAE}},
    "hires": HIRES,
    "hires with a module": {**HIRES, "hr_additional_modules": [VAE]},
    "a checkpoint": {"model": "dreamy"},
}
ALIKE: Final = {"no modules": "plain", "a VAE": "a module", "hires with a module": "hires"}
"""Of which the fake makes the same image."""


def job(**content: JsonValue) -> Job:
    asked: Content = {"prompt": "a lighthouse", "steps": 2, "seed": 7, "width": 64, "height": 64}
    metadata: JsonValue = {"id": "job-1", "tasktype": "text-to-image"}
    return Job.model_validate({"metadata": metadata, "content": asked | content})


@pytest.fixture
def server() -> Iterator[ServerProcess]:
    with fake_runtime(
        "webui", "--forge", "--step-seconds", "0.001", "--load-seconds", "0.001"
    ) as it:
        yield it


@asynccontextmanager
async def opened(server: ServerProcess) -> AsyncIterator[Runtime]:
    runtime = WebUIRuntime(RuntimeOptions(base_url=server.url))
    try:
        yield runtime
    finally:
        await runtime.aclose()


async def run(runtime: Runtime, **content: JsonValue) -> Output:
    return await runtime.run(await runtime.prepare(job(**content), {}), ignore)


async def test_no_job_leaves_its_modules_to_the_next(server: ServerProcess) -> None:
    async with opened(server) as runtime:
        images: dict[str, list[bytes]] = {}
        for pair in permutations(JOBS, 2):
            for name in pair:
                made = contents(await run(runtime, **JOBS[name]))
                assert images.setdefault(name, made) == made, pair
    assert {name: name for name in JOBS} | ALIKE == {
        name: next(other for other in JOBS if images[other] == made)
        for name, made in images.items()
    }


async def test_its_modules_are_told_as_vaes(server: ServerProcess) -> None:
    async with opened(server) as runtime:
        offered = await runtime.capabilities()
        assert offered.vaes is not None
        assert VAE in offered.vaes
        assert await runtime.has_model(ModelFile(VAE, "VAE"))
        assert not await runtime.has_model(ModelFile("nope.pt", "VAE"))


async def test_its_own_fields_are_warned_of_nothing(server: ServerProcess) -> None:
    async with opened(server) as runtime:
        output = await run(runtime, distilled_cfg_scale=3.5, hr_distilled_cfg=3.5, **HIRES)
        assert output.warnings == ()
        (tiling,) = (await run(runtime, tiling=True)).warnings
    assert tiling.startswith("tiling: ")


@pytest.mark.parametrize(
    "content",
    [
        {"infotext": "a\nSteps: 3, Clip skip: 3, Sampler: Euler a"},
        {"override_settings": {"sd_vae": "nope.pt"}},
        {"override_settings": {"forge_additional_modules": ["nope.pt"]}},
        {**HIRES, "hr_additional_modules": ["nope.pt"]},
    ],
)
async def test_what_it_cannot_do_is_refused_at_once(
    server: ServerProcess, content: Content
) -> None:
    async with opened(server) as runtime:
        with pytest.raises(Rejected):
            await run(runtime, **content)
