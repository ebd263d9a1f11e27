"""An agent's process saves switches of the model by looking ahead."""

import itertools
import secrets
from math import inf
from pathlib import Path
from typing import Final

import httpx
from prometheus_client.parser import text_string_to_metric_families

from harness import PATIENCE, scene, until, webui_process, webui_settings
from queue_agent.testing.aws import EmbeddedCloud
from queue_agent.testing.process import ServerProcess

MODELS: Final = ("v1-5.safetensors", "dreamy.safetensors")
JOBS: Final = 11
LOOK_AHEAD: Final = 8
FIRST: Final = "tells how long runs take"
"""The prompt of the job without which nothing is held ahead; the end of its run has the agent
look."""
HELD_UP: Final = "by turns"
"""In the prompts of all other jobs."""


async def test_an_agent_that_looks_ahead_switches_models_less_often(
    embedded_cloud: EmbeddedCloud, tmp_path: Path
) -> None:
    """The runtime stands still until the jobs to choose from are ready, however long that takes."""
    with webui_process() as webui:
        await sampling_stands_still(webui, True)
        name = f"models-{secrets.token_hex(4)}"
        settings = {
            **webui_settings(webui.url),
            "QUEUE_AGENT_LOOK_AHEAD": str(LOOK_AHEAD),
            "QUEUE_AGENT_HOLD_LIMIT": "3600",
        }
        async with scene(embedded_cloud, name, tmp_path, settings) as stage:

            async def publish(job_id: str, prompt: str, number: int) -> None:
                content = {
                    "prompt": prompt,
                    # no two of a kind: were what a switch takes measured, speed would have a say
                    "steps": 1 + number,
                    "override_settings": {"sd_model_checkpoint": MODELS[number % 2]},
                }
                await stage.publish(stage.job(job_id, content))

            agent = stage.start_agent()
            await publish("first", FIRST, 0)
            await until(lambda: runs_of(webui), what="the first run")
            for number in range(1, JOBS + 1):
                await publish(str(number), f"{number} {HELD_UP}", number)
            await sampling_stands_still(webui, HELD_UP)

            async def are_ready() -> bool:
                # one of those looked ahead at may be in the runtime's own queue by now
                return await jobs_that_wait(agent) >= LOOK_AHEAD - 1

            await until(are_ready, what="jobs to choose from")
            await sampling_stands_still(webui, False)
            for number in range(1, JOBS + 1):
                assert (await stage.answer(str(number)))["status"] == "completed"
        runs = await runs_of(webui)
    assert len(runs) == 1 + JOBS, "each was made once"
    assert runs[0]["prompt"] == FIRST
    assert {str(run["prompt"]): run["checkpoint"] for run in runs[1:]} == {
        f"{number} {HELD_UP}": MODELS[number % 2] for number in range(1, JOBS + 1)
    }
    # each model has one turn; two jobs may come to the agent when their model's is over
    first_come = switches([MODELS[number % 2] for number in range(1 + JOBS)])
    assert switches([str(run["checkpoint"]) for run in runs]) <= first_come // 2


async def jobs_that_wait(agent: ServerProcess) -> float:
    """Jobs that an agent has ready for its runtime."""
    async with httpx.AsyncClient(timeout=PATIENCE) as client:
        page = (await client.get(f"{agent.url}/metrics")).text
    return sum(
        sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.name == "queue_agent_jobs_in_flight" and sample.labels["stage"] == "waiting"
    )


async def sampling_stands_still(webui: ServerProcess, which: bool | str) -> None:
    async with httpx.AsyncClient(timeout=PATIENCE) as client:
        (await client.post(f"{webui.url}/fake/paused", json=which)).raise_for_status()


async def runs_of(webui: ServerProcess) -> list[dict[str, str | float]]:
    """In their order."""
    async with httpx.AsyncClient(timeout=PATIENCE) as client:
        runs: list[dict[str, str | float]] = (await client.get(f"{webui.url}/fake/runs")).json()
    return sorted(runs, key=lambda run: run["start"] or inf)


def switches(models: list[str]) -> int:
    return sum(before != after for before, after in itertools.pairwise(models))
