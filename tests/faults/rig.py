"""A scene with a fault proxy on either side of its agents, a supervisor and a ledger."""

import secrets
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from faults.ledger import COMPLETED, Balance, Ledger
from faults.supervisor import Agent
from harness import PATIENCE, JsonObject, Scene, scene, until, webui_settings
from nats_proxy import NatsProxy
from queue_agent.tasks import background
from queue_agent.testing.aws import EmbeddedCloud
from queue_agent.testing.fault_proxy import FaultProxy
from queue_agent.testing.nats import NatsServer
from queue_agent.testing.process import ServerProcess

BRIEF = 5
"""A short visibility timeout, in seconds: that long a killed agent's message is away.

A living one renews it in time on a busy machine, too."""


@dataclass
class Rig:
    """Agents talk to `cloud` and `runtime`, which pass on to the emulator and the fake."""

    scene: Scene
    cloud: Any
    """A `FaultProxy` before the emulator, or a `NatsProxy` before the server."""
    runtime: FaultProxy
    webui: ServerProcess
    ledger: Ledger = field(default_factory=Ledger)
    _agents: AsyncExitStack = field(default_factory=AsyncExitStack)
    started: list[Agent] = field(default_factory=list)

    async def agent(
        self, *, replaced: bool = True, may_write_files: bool = True, **settings: str | None
    ) -> Agent:
        """Start an agent with these settings beside the rig's; None takes one away."""
        agent = Agent(
            {**self.environment(), **settings},
            log=self.scene.folder / f"agent-{len(self.started)}.log",
            replaced=replaced,
            may_write_files=may_write_files,
        )
        self.started.append(agent)
        await self._agents.enter_async_context(background(agent.keep()))
        return agent

    def environment(self) -> dict[str, str]:
        return {
            **self.scene.embedded.environment(),
            **self._addresses(),
            "QUEUE_AGENT_LOG_LEVEL": "DEBUG",
            "QUEUE_AGENT_LOG_FORMAT": "json",
            "QUEUE_AGENT_RETRY_DELAY": "0.5",
            # the emulator still serves an abandoned long poll to its end
            "QUEUE_AGENT_RECEIVE_WAIT": "1",
            "QUEUE_AGENT_CANCEL_POLL": "0.2",
            "QUEUE_AGENT_HEALTH_PORT": "0",
            **webui_settings(self.runtime.url),
        }

    def _addresses(self) -> dict[str, str]:
        """Those of the deployment, by way of the proxy."""
        told = self.scene.deployment.environment()
        if isinstance(self.scene.embedded, NatsServer):
            server, proxy = self.scene.embedded.address, self.cloud.address
            return {name: value.replace(server, proxy) for name, value in told.items()}
        path = urlsplit(self.scene.deployment.queue_url).path
        through = {"QUEUE_AGENT_QUEUE_URL": f"{self.cloud.url}{path}"}
        return {**told, "AWS_ENDPOINT_URL": self.cloud.url, **through}

    async def publish(
        self, *labels: str, steps: int = 2, ends: Collection[str] = COMPLETED, **metadata: Any
    ) -> list[str]:
        """Publish a job per label; their ids, which are also the prompts."""
        ids = [f"{label}-{secrets.token_hex(3)}" for label in labels]
        for job_id in ids:
            await self.publish_as(job_id, steps=steps, ends=ends, **metadata)
        return ids

    async def publish_as(
        self,
        job_id: str,
        *,
        steps: int = 2,
        ends: Collection[str] = COMPLETED,
        content: Mapping[str, Any] | None = None,
        **metadata: Any,
    ) -> None:
        """Publish a job under this id, perhaps once more; `content` differs from a small one."""
        self.ledger.enter(job_id, ends)
        small = {"prompt": job_id, "steps": steps, "width": 64, "height": 64, "seed": 1}
        await self.scene.publish(self.scene.job(job_id, {**small, **(content or {})}, **metadata))

    async def cancel(self, job_id: str) -> None:
        bucket = self.scene.cloud.bucket(self.scene.deployment.bucket)
        await bucket.write(f"cancelled/{job_id}", b"", media_type="text/plain")

    async def runs(self, job_id: str | None = None) -> list[JsonObject]:
        """What the GPU was asked for, of one job or in all."""
        found = await runs_of(self.webui)
        return [run for run in found if job_id in {None, run["prompt"]}]

    async def running(self, job_id: str, *, times: int = 1) -> None:
        """Wait until the GPU has begun with the job so many times."""

        async def begun() -> bool:
            return sum(run["start"] is not None for run in await self.runs(job_id)) >= times

        await until(begun, what=f"generation {times} of {job_id}")

    async def settled(self, timeout: float = PATIENCE) -> Balance:
        """Wait until all is answered and acknowledged, then draw the balance."""

        async def answered() -> bool:
            self._check_agents()
            return not self.ledger.unanswered(self.scene)

        try:
            await until(answered, what=f"an answer to {[*self.ledger.entries]}", timeout=timeout)
        except AssertionError as error:
            raise AssertionError(f"{error}; agents: {self.scene.logs()}") from None
        await self.scene.holds(0, timeout=timeout)
        self._check_agents()
        return await self.ledger.reconcile(self.scene, await self.runs())

    def _check_agents(self) -> None:
        crashes = [code for agent in self.started for code in agent.crashes]
        assert not crashes, f"agents ended by themselves: {self.scene.logs()}"


async def runs_of(webui: ServerProcess) -> list[JsonObject]:
    """A fake Web UI's own report of its generations."""
    async with httpx.AsyncClient(timeout=PATIENCE) as client:
        runs: list[JsonObject] = (await client.get(f"{webui.url}/fake/runs")).json()
    return runs


@asynccontextmanager
async def rigged(
    embedded: EmbeddedCloud | NatsServer, webui: ServerProcess, folder: Path, **options: Any
) -> AsyncIterator[Rig]:
    """A rig without agents yet; `options` go to `deploy`."""
    name = f"rt-{secrets.token_hex(4)}"
    on_nats = isinstance(embedded, NatsServer)
    async with (
        scene(embedded, name, folder, {}, **options) as stage,
        NatsProxy(embedded.port) if on_nats else FaultProxy(embedded.url) as cloud,
        FaultProxy(webui.url) as runtime,
    ):
        rig = Rig(stage, cloud, runtime, webui)
        async with rig._agents:
            yield rig
