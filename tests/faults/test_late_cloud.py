"""A cloud that answers late or never: the agent lives, says why it waits, and ends when told."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from faults.rig import Rig
from faults.striking import Hold
from faults.supervisor import Agent
from harness import PATIENCE, JsonObject, until
from queue_agent.testing.fault_proxy import Status, aws_operation
from queue_agent.testing.process import HOST, free_port

ATTRIBUTES = aws_operation("GetQueueAttributes")


class Probed:
    """The health port of an agent."""

    def __init__(self) -> None:
        self.port = free_port()
        self._client = httpx.AsyncClient(base_url=f"http://{HOST}:{self.port}", timeout=PATIENCE)

    def settings(self) -> dict[str, Any]:
        return {
            "QUEUE_AGENT_HEALTH_HOST": HOST,
            "QUEUE_AGENT_HEALTH_PORT": str(self.port),
            "QUEUE_AGENT_METRICS": "prometheus",
        }

    async def status(self, path: str) -> int | None:
        """None while nobody listens."""
        try:
            return (await self._client.get(path)).status_code
        except httpx.TransportError:
            return None

    async def lives(self) -> bool:
        return await self.status("/healthz") == 200

    async def readiness(self) -> tuple[int, JsonObject]:
        answer = await self._client.get("/readyz")
        return answer.status_code, answer.json()

    async def aclose(self) -> None:
        await self._client.aclose()


@pytest.fixture
async def probed() -> AsyncIterator[Probed]:
    made = Probed()
    yield made
    await made.aclose()


async def waiting(agent: Agent, probed: Probed, reason: str) -> None:
    """Wait until the agent lives and says that it waits for the queue, and why."""
    await until(probed.lives, what="a living process")

    async def says_why() -> bool:
        status, body = await probed.readiness()
        return status == 503 and reason in body["reasons"]["queue"]

    await until(says_why, what=f"a reason with {reason!r}")
    assert await probed.status("/metrics") == 200
    assert agent.exits == []


async def test_an_agent_whose_queue_answers_late_lives_and_then_works(
    rig: Rig, probed: Probed
) -> None:
    hold = Hold()
    with rig.cloud.fault(hold, ATTRIBUTES):
        agent = await rig.agent(**probed.settings())
        await hold.arrived.wait()
        await waiting(agent, probed, "not answered yet")
        _, body = await probed.readiness()
        assert (body["runtime"], body["queue"]) == (True, False)
        hold.let_go()

    async def ready() -> bool:
        return await probed.status("/readyz") == 200

    await until(ready, what="readiness")
    await rig.publish("patient")
    (await rig.settled()).check()


async def test_an_agent_that_waits_for_a_silent_queue_ends_at_once_when_told(
    rig: Rig, probed: Probed
) -> None:
    hold = Hold()
    with rig.cloud.fault(hold, ATTRIBUTES):
        agent = await rig.agent(**probed.settings())
        await hold.arrived.wait()
        agent.terminate()
        assert await agent.ended() == 0


async def test_an_agent_whose_cloud_is_not_there_says_so_and_ends_when_told(
    rig: Rig, probed: Probed
) -> None:
    nobody = f"http://{HOST}:{free_port()}"
    agent = await rig.agent(
        **probed.settings(),
        AWS_ENDPOINT_URL=nobody,
        QUEUE_AGENT_QUEUE_URL=f"{nobody}/1/jobs",
    )
    await waiting(agent, probed, "Could not read the queue's attributes")
    agent.terminate()
    assert await agent.ended() == 0


async def test_an_agent_whose_credentials_come_late_waits_for_them(
    rig: Rig, probed: Probed
) -> None:
    agent = await rig.agent(
        **probed.settings(),
        AWS_ACCESS_KEY_ID=None,
        AWS_SECRET_ACCESS_KEY=None,
        AWS_CONTAINER_CREDENTIALS_FULL_URI=f"http://{HOST}:{free_port()}/credentials",
    )
    await waiting(agent, probed, "credentials")
    agent.terminate()
    assert await agent.ended() == 0


async def test_an_agent_that_may_not_ask_for_its_queue_says_so(rig: Rig, probed: Probed) -> None:
    refused = Status(403, b'{"__type": "AccessDenied", "message": "on purpose"}')
    with rig.cloud.fault(refused, ATTRIBUTES):
        agent = await rig.agent(**probed.settings())
        await waiting(agent, probed, "on purpose")
        assert "sqs:GetQueueAttributes" in agent.log.read_text()
