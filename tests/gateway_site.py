"""A whole site for the gateway's tests: emulated cloud, fake Web UI, agents, gateways."""

import asyncio
import secrets
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx

from harness import PATIENCE, webui_process
from queue_agent.cloud import Deployment
from queue_agent.testing.aws import EmbeddedCloud, deploy
from queue_agent.testing.process import ServerProcess

OPEN: Final = frozenset({"queued", "running", "cancelling"})
"""Statuses of jobs that have not ended."""

JsonObject = dict[str, Any]
Content = Callable[..., JsonObject]


@dataclass
class Site:
    """What the gateways of the tests stand in front of."""

    embedded: EmbeddedCloud
    deployment: Deployment
    runtime: ServerProcess
    adapter: str
    folder: Path
    processes: ExitStack = field(default_factory=ExitStack)
    _started: int = 0

    @property
    def environment(self) -> dict[str, str]:
        """What a client of the deployment needs."""
        return {
            **self.embedded.environment(),
            **self.deployment.environment(),
            "QUEUE_AGENT_JOB_TOPIC_ARN": self.deployment.job_topic,
            "QUEUE_AGENT_DEAD_LETTER_QUEUE_URL": self.deployment.dead_letter_queue_url or "",
        }

    def start_agent(self, **settings: str) -> ServerProcess:
        """An agent in front of the runtime, telling its progress."""
        return self._start(
            "run",
            {
                "QUEUE_AGENT_RUNTIME": self.adapter,
                "QUEUE_AGENT_RUNTIME_URL": self.runtime.url,
                "QUEUE_AGENT_NOTIFY_RUNNING": "1",
                "QUEUE_AGENT_PROGRESS_INTERVAL": "0.05",
                "QUEUE_AGENT_CANCEL_POLL": "0.2",
                "QUEUE_AGENT_RETRY_DELAY": "0.5",
                "QUEUE_AGENT_RECEIVE_WAIT": "1",
                "QUEUE_AGENT_HEALTH_HOST": "127.0.0.1",
                "QUEUE_AGENT_HEALTH_PORT": "{port}",
                **settings,
            },
        )

    def start_gateway(self, **settings: str) -> ServerProcess:
        """A gateway with these settings beside the usual ones; it hears notifications."""
        usual = {
            "QUEUE_AGENT_GATEWAY_PORT": "{port}",
            "QUEUE_AGENT_GATEWAY_POLL": "1",
            # clients of a slow machine are no attackers
            "QUEUE_AGENT_GATEWAY_HEADER_SECONDS": str(PATIENCE),
            "QUEUE_AGENT_GATEWAY_BODY_SECONDS": str(PATIENCE),
        }
        gateway = self._start("gateway", {**usual, **settings})
        with httpx.Client(transport=httpx.HTTPTransport(retries=3), timeout=PATIENCE) as client:
            while client.get(f"{gateway.url}/readyz").status_code != 200:
                pass  # the route answers when asked; starting takes a few of its answers
        return gateway

    def _start(self, command: str, settings: dict[str, str]) -> ServerProcess:
        self._started += 1
        process = ServerProcess(
            [sys.executable, "-m", "queue_agent", command],
            env={**self.environment, **settings},
            log=self.folder / f"{command}-{self._started}.log",
        )
        self.processes.callback(process.stop)
        return process.start()


@contextmanager
def opened_site(embedded: EmbeddedCloud, folder: Path) -> Iterator[Site]:
    """A deployment with its agent and a fake Web UI."""
    webui = webui_process("--step-seconds", "0.01")
    with site_of(embedded, folder, webui, "webui") as site:
        yield site


@contextmanager
def site_of(
    embedded: EmbeddedCloud, folder: Path, runtime: ServerProcess, adapter: str
) -> Iterator[Site]:
    """A deployment with its agent and this runtime, which is not started."""

    async def make() -> Deployment:
        cloud = embedded.connect()
        try:
            return await deploy(cloud, f"gw-{secrets.token_hex(4)}")
        finally:
            await cloud.aclose()

    with runtime:
        site = Site(embedded, asyncio.run(make()), runtime, adapter, folder)
        with site.processes:
            site.start_agent()
            yield site


async def finished(api: httpx.AsyncClient, job_id: str) -> JsonObject:
    """How a job stands at its end."""
    async with asyncio.timeout(2 * PATIENCE):
        while True:
            answer = await api.post(f"/v1/jobs/{job_id}/wait", params={"timeout": 60})
            view: JsonObject = answer.raise_for_status().json()
            if view["status"] not in OPEN:
                return view


def client_of(gateway: ServerProcess, key: str | None = None) -> httpx.AsyncClient:
    """A client of a gateway, with an API key or without."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    limits = httpx.Limits(max_connections=None)
    return httpx.AsyncClient(base_url=gateway.url, headers=headers, timeout=PATIENCE, limits=limits)
