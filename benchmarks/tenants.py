"""How long one job waits on NATS where another tenant has many waiting: fair, and not.

    python -m benchmarks.tenants --jobs 1000 --seconds 0.2 --agents 1 4

A real server, real agents in processes of their own, and GPUs that only pass time. The one job
is published when a twentieth of the others is done; told is the time until its run begins.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from queue_agent.client import Client
from queue_agent.cloud import Deployment
from queue_agent.cloud.nats import NatsCloud
from queue_agent.tasks import together
from queue_agent.testing.nats import NatsServer, deploy
from queue_agent.testing.process import ServerProcess, free_port
from queue_agent.testing.waiting import eventually

_PATIENCE = 600.0
_POLL = 0.05


@dataclass(frozen=True)
class _Fleet:
    http: aiohttp.ClientSession
    gpus: list[ServerProcess]

    async def begun(self) -> dict[str, float]:
        """When which job's run began, by the monotonic clock."""
        answers = await together(self._runs(gpu) for gpu in self.gpus)
        return {run["job"]: run["start"] for runs in answers for run in runs if run["start"]}

    async def _runs(self, gpu: ServerProcess) -> list[dict[str, Any]]:
        async with self.http.get(f"{gpu.url}/fake/runs") as answer:
            found: list[dict[str, Any]] = await answer.json()
            return found


async def _wait(*, fair: bool, jobs: int, seconds: float, agents: int) -> float:
    folder = Path(tempfile.mkdtemp(prefix="tenants-"))
    async with AsyncExitStack() as stack:
        server = stack.enter_context(NatsServer(folder / "nats", log=folder / "nats.log"))
        cloud = await stack.enter_async_context(aclosing(server.connect()))
        made = await deploy(cloud, server.address, "sd", fair=fair)
        fleet = await stack.enter_async_context(_working(made, folder, seconds, agents))
        return await _measured(cloud, made, fleet, jobs)


async def _measured(cloud: NatsCloud, made: Deployment, fleet: _Fleet, jobs: int) -> float:
    client = Client(cloud, job_topic=made.job_topic)

    async def publish(name: str, tenant: str) -> None:
        await client.submit(name, runtime="sd", job_id=name, tenant=tenant)

    for number in range(jobs):
        await publish(f"many-{number}", "many")

    async def under_way() -> bool:
        return len(await fleet.begun()) >= jobs / 20

    async def one_began() -> bool:
        return "one" in await fleet.begun()

    await eventually(under_way, _PATIENCE)
    published = time.monotonic()
    await publish("one", "one")
    await eventually(one_began, _PATIENCE)
    return (await fleet.begun())["one"] - published


@asynccontextmanager
async def _working(
    made: Deployment, folder: Path, seconds: float, agents: int
) -> AsyncIterator[_Fleet]:
    with ExitStack() as processes:
        async with aiohttp.ClientSession() as http:
            gpus = []
            for number in range(agents):
                port = free_port()
                command = [sys.executable, "-m", "benchmarks.runtime", "--port", str(port)]
                gpu = processes.enter_context(ServerProcess(command, port=port))
                script = {"gpu_seconds": seconds, "lanes": 1, "image_bytes": 20_000}
                async with http.post(f"{gpu.url}/fake/reset", json=script) as answer:
                    answer.raise_for_status()
                gpus.append(gpu)
                settings = {
                    **made.environment(),
                    "QUEUE_AGENT_RUNTIME": "webui",
                    "QUEUE_AGENT_RUNTIME_URL": gpu.url,
                    "QUEUE_AGENT_HEALTH_PORT": str(health := free_port()),
                    "QUEUE_AGENT_LOG_LEVEL": "warning",
                }
                processes.enter_context(
                    ServerProcess(
                        [sys.executable, "-m", "queue_agent", "run"],
                        port=health,
                        log=folder / f"agent-{number}.log",
                        env=settings,
                    )
                )
            yield _Fleet(http, gpus)


async def _main(arguments: argparse.Namespace) -> None:
    for agents in arguments.agents:
        for fair in (True, False):
            wait = await _wait(
                fair=fair, jobs=arguments.jobs, seconds=arguments.seconds, agents=agents
            )
            said = "in turns" if fair else "in the order of the stream"
            print(f"{agents} agents, {said}: {wait:.2f} s", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.tenants", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--jobs", type=int, default=1000, help="of the other tenant")
    parser.add_argument("--seconds", type=float, default=0.2, help="that a run takes")
    parser.add_argument("--agents", type=int, nargs="+", default=[1, 4])
    asyncio.run(_main(parser.parse_args()))
