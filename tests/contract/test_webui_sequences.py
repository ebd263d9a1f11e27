"""No job changes the next: whatever jobs came before, each image is that of a fresh server."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import permutations
from random import Random
from typing import Final

import pytest
from pydantic import JsonValue

from fakes import fake_runtime
from queue_agent.runtime import Runtime, RuntimeOptions
from queue_agent.testing import ServerProcess
from queue_agent.testing.runtime_contract.hooks import contents, ignore
from queue_agent.wire.errors import QueueAgentError
from queue_agent.wire.job import Job
from queue_agent_runtimes.webui import WebUIRuntime

Content = dict[str, JsonValue]

JOBS: Final[dict[str, Content]] = {
    "plain": {},
    "a checkpoint": {"model": "dreamy"},
    "an option": {"override_settings": {"CLIP_stop_at_last_layers": 2}},
    "a checkpoint and options": {
        "model": "dreamy",
        "override_settings": {"CLIP_stop_at_last_layers": 2, "eta_noise_seed_delta": 31337},
    },
    "options that shall stay": {
        "override_settings": {"randn_source": "CPU", "s_noise": 0.9},
        "override_settings_restore_afterwards": False,
    },
    "an option that is null": {"override_settings": {"upscaler_for_img2img": "Lanczos"}},
    "a VAE": {"override_settings": {"sd_vae": "soft.safetensors"}},
    "an infotext": {"infotext": "a\nSteps: 3, Clip skip: 3, Sampler: Euler a"},
    "a routing field": {"alwayson_scripts": {"override_settings": {"s_churn": 0.5}}},
    "another checkpoint within": {"refiner_checkpoint": "dreamy", "refiner_switch_at": 0.5},
    "a job that fails": {"steps": 3, "alwayson_scripts": {"nothing": {"args": []}}},
    "options and a fault": {
        "override_settings": {"tiling": True},
        "prompt": "too large",
        "width": 8192,
        "height": 8192,
    },
}


def job(name: str) -> Job:
    asked: Content = {"prompt": "a lighthouse", "steps": 2, "seed": 7, "width": 64, "height": 64}
    metadata: JsonValue = {"id": "job-1", "tasktype": "text-to-image"}
    return Job.model_validate({"metadata": metadata, "content": asked | JOBS[name]})


@asynccontextmanager
async def opened(server: ServerProcess) -> AsyncIterator[Runtime]:
    runtime = WebUIRuntime(RuntimeOptions(base_url=server.url))
    try:
        yield runtime
    finally:
        await runtime.aclose()


async def image_of(runtime: Runtime, name: str) -> list[bytes] | str:
    """The images, or the class of the error."""
    try:
        prepared = await runtime.prepare(job(name), {})
        return contents(await runtime.run(prepared, ignore))
    except QueueAgentError as error:
        return type(error).__name__


@pytest.fixture(scope="module")
def alone() -> dict[str, list[bytes] | str]:
    """What each job gives as the first of a fresh server."""

    async def first_of_a_server(name: str) -> list[bytes] | str:
        with fake_runtime("webui") as server:
            async with opened(server) as runtime:
                return await image_of(runtime, name)

    return {name: asyncio.run(first_of_a_server(name)) for name in JOBS}


def sequences() -> list[Sequence[str]]:
    """Each job after each, and some at random, by a seed."""
    pairs = [name for pair in permutations(JOBS, 2) for name in pair]
    return [pairs, Random(7).choices(list(JOBS), k=100)]  # noqa: S311  not a secret


@pytest.mark.parametrize("names", sequences(), ids=["each after each", "at random"])
@pytest.mark.parametrize("saved", [[], ["--saved-options"]], ids=["new pod", "with config.json"])
async def test_each_image_is_that_of_a_fresh_server(
    alone: dict[str, list[bytes] | str], names: Sequence[str], saved: list[str]
) -> None:
    flags = ("--step-seconds", "0.001", "--load-seconds", "0.001", *saved)
    with fake_runtime("webui", *flags) as server:
        async with opened(server) as runtime:
            before = "nothing"
            for name in names:
                assert await image_of(runtime, name) == alone[name], f"{name} after {before}"
                before = name


async def test_jobs_that_wait_behind_others_are_not_changed_by_them(
    alone: dict[str, list[bytes] | str],
) -> None:
    with fake_runtime("webui") as server:
        async with opened(server) as runtime:
            await image_of(runtime, "plain")
            names = Random(3).choices(list(JOBS), k=24)  # noqa: S311
            found = await asyncio.gather(*(image_of(runtime, name) for name in names))
    assert [alone[name] for name in names] == found


async def test_a_server_that_was_started_anew_is_told_again(
    alone: dict[str, list[bytes] | str],
) -> None:
    with fake_runtime("webui") as server:
        async with opened(server) as runtime:
            await image_of(runtime, "an option")
            with fake_runtime("webui") as other:
                # as if it had gone and come between two jobs, and nobody had asked meanwhile
                runtime._http._base = other.url  # type: ignore[attr-defined]
                await image_of(runtime, "an option")
                assert await image_of(runtime, "plain") == alone["plain"]


def test_the_jobs_differ(alone: dict[str, list[bytes] | str]) -> None:
    """Else the other tests would show nothing."""
    images = [tuple(found) for found in alone.values() if isinstance(found, list)]
    assert len(set(images)) == len(images)
    assert [found for found in alone.values() if isinstance(found, str)] == [
        "Rejected",
        "Unavailable",
    ]
