"""A runtime that breaks is restarted by its liveness probe, which asks the agent: no job fails."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from fakes import fake_runtime
from faults.rig import rigged
from faults.supervisor import kubelet
from harness import PATIENCE, until
from queue_agent.tasks import background
from queue_agent.testing.aws import EmbeddedCloud
from queue_agent.testing.process import HOST, ServerProcess, free_port

BREAKS = {
    "a dead worker": ("comfyui", {"worker": "dead"}, "stuck"),
    "a broken context of ComfyUI": ("comfyui", {"fail_always": "cuda"}, "sick"),
    "a broken context of the Web UI": ("webui", {"kind": "cuda"}, "sick"),
}

LONG = 3 * PATIENCE
"""Such a test lasts over a minute by the agent's own times, before a machine is slow."""


@pytest.fixture
def broken_runtimes() -> Iterator[Callable[[str], ServerProcess]]:
    """Makes fakes that end with the test."""
    made: list[ServerProcess] = []

    def make(kind: str) -> ServerProcess:
        made.append(fake_runtime(kind))
        return made[-1]

    yield make
    for server in made:
        server.kill()


@pytest.mark.parametrize(("kind", "fault", "state"), BREAKS.values(), ids=BREAKS.keys())
async def test_a_broken_runtime_is_restarted_and_every_job_completes(
    embedded_cloud: EmbeddedCloud,
    webui: ServerProcess,
    tmp_path: Path,
    kind: str,
    fault: dict[str, str],
    state: str,
    broken_runtimes: Callable[[str], ServerProcess],
) -> None:
    own = broken_runtimes(kind)
    await asyncio.to_thread(own.start)
    health = f"http://{HOST}:{free_port()}"
    async with rigged(embedded_cloud, webui, tmp_path, max_receives=3) as rig:
        async with httpx.AsyncClient(timeout=PATIENCE) as client:
            (await client.post(f"{own.url}/fake/faults", json=fault)).raise_for_status()
            await rig.publish(*["order"] * 5, steps=3)
            await rig.agent(
                QUEUE_AGENT_RUNTIME=kind,
                QUEUE_AGENT_RUNTIME_URL=own.url,
                QUEUE_AGENT_RUN_TIMEOUT="5",
                QUEUE_AGENT_HEALTH_PORT=health.rpartition(":")[2],
            )

            async def told() -> bool:
                try:
                    answer = await client.get(f"{health}/runtimez")
                except httpx.TransportError:
                    return False
                return answer.status_code == 503 and answer.json()["state"] == state

            await until(told, what="the agent's word that its runtime is broken", timeout=LONG)
            assert (await client.get(f"{health}/readyz")).status_code == 503
            assert (await client.get(f"{health}/healthz")).status_code == 200
        assert not rig.scene.notifications, "nothing was given up meanwhile"
        async with background(kubelet(own, f"{health}/runtimez", period=0.2, failures=3)):
            (await rig.settled(LONG)).check()
