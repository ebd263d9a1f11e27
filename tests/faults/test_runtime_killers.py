"""Jobs that end the runtime's process, each time: only they fail."""

import asyncio
import secrets
from pathlib import Path

import pytest

from fakes import fake_runtime
from faults.rig import rigged
from faults.supervisor import keep_alive
from harness import JsonObject
from queue_agent.tasks import background
from queue_agent.testing.aws import EmbeddedCloud
from queue_agent.testing.process import ServerProcess

ATTEMPTS = 3


@pytest.mark.parametrize("pause", [0.0, 4.0])
@pytest.mark.parametrize("kind", ["webui", "comfyui"])
async def test_a_job_that_ends_the_runtime_takes_none_of_its_ten_neighbours_with_it(
    embedded_cloud: EmbeddedCloud, webui: ServerProcess, tmp_path: Path, kind: str, pause: float
) -> None:
    own = fake_runtime(kind, "--deadly", "poison", "--step-seconds", "0.05")
    await asyncio.to_thread(own.start)
    async with (
        rigged(embedded_cloud, webui, tmp_path, max_receives=ATTEMPTS) as rig,
        background(keep_alive(own, pause=pause)),
    ):
        poison = f"poison-{secrets.token_hex(3)}"
        await rig.publish_as(poison, steps=20, ends={"failed"})
        neighbours = await rig.publish(*["neighbour"] * 10, steps=10)
        await rig.agent(QUEUE_AGENT_RUNTIME=kind, QUEUE_AGENT_RUNTIME_URL=own.url)
        (await rig.settled()).check(dead=1)

        def only(job_id: str) -> JsonObject:
            (answer,) = rig.scene.answers(job_id)
            return answer

        assert only(poison)["attempt"] == ATTEMPTS
        assert [only(job_id)["attempt"] for job_id in neighbours] == [1] * len(neighbours)
