"""A pod of a chaos run: an agent, a runtime of its own behind a proxy, and who restarts it."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import httpx

from faults.rig import runs_of
from faults.supervisor import Agent
from harness import JsonObject
from queue_agent.tasks import background
from queue_agent.testing.fault_proxy import Exchange, Fault, FaultProxy
from queue_agent.testing.process import HOST, ServerProcess

_PROBE_PERIOD: Final = 1.0
"""A tenth of the chart's."""
_PROBE_TIMEOUT: Final = 5.0
_PROBE_FAILURES: Final = 18
"""So many in a row, and the kubelet restarts the container: as many as in the chart."""
_CRASH_LOOP: Final = (1.0, 30.0)
"""Seconds for which a runtime that a job has ended is away."""


@dataclass
class Pod:
    """An agent with a runtime of its own behind a proxy of its own."""

    agent: Agent
    health_port: int
    webui: ServerProcess
    proxy: FaultProxy
    past_runs: list[JsonObject] = field(default_factory=list)
    """Of runtimes that were killed."""
    deaths: int = 0
    """How often the runtime ended."""
    probe_restarts: int = 0
    """How often it was ended because of what the agent says of it."""
    restarting: asyncio.Lock = field(default_factory=asyncio.Lock)
    _died: asyncio.Event = field(default_factory=asyncio.Event, init=False)

    async def runs(self) -> list[JsonObject]:
        async with self.restarting:
            return [*self.past_runs, *await runs_of(self.webui)]

    async def restart_runtime(
        self, *, away: float = 0.0, broken: Callable[[], None] = lambda: None
    ) -> None:
        """Kill the runtime and start it after so long; until then connections are refused.

        `broken` is called as soon as it is dead.
        """
        async with self.restarting:
            self.past_runs += await runs_of(self.webui)
            with self.proxy.refusing():
                self.webui.kill()
                self.deaths += 1
                self._died.set()
                broken()
                await asyncio.sleep(away)
                await asyncio.to_thread(self.webui.start)

    async def break_runtime(self, kind: str, *, patience: float) -> bool:
        """Have the next run hang, or break the runtime, for good; whether it was restarted then."""
        async with self.restarting, httpx.AsyncClient() as client:
            self._died.clear()
            await client.post(f"{self.webui.url}/fake/faults", json={"kind": kind})
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await self._died.wait()
                return True
        await self.restart_runtime()
        return False

    @asynccontextmanager
    async def probed(self) -> AsyncIterator[None]:
        """Restart the runtime's container for the block as the kubelet would, by its probe."""
        async with background(self._probe()):
            yield

    async def _probe(self) -> None:
        failures = 0
        async with httpx.AsyncClient(timeout=_PROBE_TIMEOUT) as client:
            while True:
                await asyncio.sleep(_PROBE_PERIOD)
                failures = 0 if await self._passes(client) else failures + 1
                if failures >= _PROBE_FAILURES and not self.restarting.locked():
                    self.probe_restarts += 1
                    await self.restart_runtime()
                    failures = 0

    async def _passes(self, client: httpx.AsyncClient) -> bool:
        """Whether the runtime's liveness probe does, which asks the agent."""
        try:
            answer = await client.get(f"http://{HOST}:{self.health_port}/runtimez")
        except httpx.HTTPError:
            return False
        return answer.is_success

    def memory_mb(self) -> float:
        """The most that the agent's process has taken so far."""
        pid = self.agent.pid
        if pid is None:
            return 0.0
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
        return 0.0


@dataclass(frozen=True)
class EndsRuntime(Fault):
    """The runtime has begun with the job, and dies of it."""

    pod: Pod
    chance: random.Random

    async def strike(self, exchange: Exchange) -> None:
        if self.pod.restarting.locked():
            exchange.reset()
            return
        low, high = _CRASH_LOOP
        away = low * (high / low) ** self.chance.random()
        await self.pod.restart_runtime(away=away, broken=exchange.reset)
