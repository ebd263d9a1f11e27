"""A stage for whole agents: real processes, an emulated cloud, everything observable."""

import asyncio
import json
import secrets
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from fakes import fake_runtime
from queue_agent.cloud import Deployment, Ordering
from queue_agent.tasks import background
from queue_agent.testing.aws import EmbeddedCloud, deploy
from queue_agent.testing.nats import NatsCluster, NatsServer
from queue_agent.testing.nats import deploy as deploy_on_nats
from queue_agent.testing.process import ServerProcess
from queue_agent.testing.waiting import comes_to_hold
from queue_agent.wire.errors import ObjectNotFound
from queue_agent.worker.retry import retry_for

T = TypeVar("T")
JsonObject = dict[str, Any]

PATIENCE = 90.0
"""Seconds until something awaited counts as not happening."""


@dataclass
class Scene:
    """One runtime's deployment in the emulated cloud, with agents and an audience."""

    embedded: EmbeddedCloud | NatsServer | NatsCluster
    cloud: Any
    """An `AwsCloud`, of whose clients some tests make use, or a `NatsCloud`."""
    deployment: Deployment
    folder: Path
    settings: dict[str, str]
    notifications: list[JsonObject] = field(default_factory=list)
    _marks: set[str] = field(default_factory=set)
    """Of `caught_up`, those heard."""
    _heard: asyncio.Condition = field(default_factory=asyncio.Condition)
    _processes: AsyncExitStack = field(default_factory=AsyncExitStack)
    _agents: int = 0

    def start_agent(self, **settings: str) -> ServerProcess:
        """An agent with these settings beside the scene's; returns when its probes listen."""
        self._agents += 1
        agent = ServerProcess(
            [sys.executable, "-m", "queue_agent", "run"],
            env={
                **self.embedded.environment(),
                **self.deployment.environment(),
                "QUEUE_AGENT_LOG_LEVEL": "DEBUG",
                "QUEUE_AGENT_RETRY_DELAY": "0.5",
                # the emulator still serves an abandoned long poll to its end
                "QUEUE_AGENT_RECEIVE_WAIT": "1",
                "QUEUE_AGENT_HEALTH_HOST": "127.0.0.1",
                "QUEUE_AGENT_HEALTH_PORT": "{port}",
                **self.settings,
                **settings,
            },
            log=self.folder / f"agent-{self._agents}.log",
        )
        self._processes.callback(agent.stop)
        return agent.start()

    def start_bare_agent(self, environment: dict[str, str]) -> ServerProcess:
        """An agent with exactly this environment beside what the SDK needs; not awaited."""
        agent = ServerProcess(
            [sys.executable, "-m", "queue_agent", "run"],
            env={**self.embedded.environment(), **environment},
            log=self.folder / "agent-bare.log",
        )
        self._processes.callback(agent.stop)
        agent.spawn()
        return agent

    async def publish(self, job: JsonObject, **attributes: str) -> None:
        """Publish a job to the job topic, as a publisher does."""
        topic = self.cloud.topic(self.deployment.job_topic)
        attributes = {"runtime": self.deployment.runtime_name, **attributes}
        metadata = job.get("metadata")
        tenant = metadata.get("tenant") if isinstance(metadata, dict) else None
        once = Ordering(tenant=str(tenant or ""))  # repeated where the server is away
        await retry_for(PATIENCE, lambda: topic.publish(json.dumps(job), attributes, once))

    async def send(self, body: str) -> str:
        """Put a body into the queue directly; the message's id."""
        if isinstance(self.embedded, NatsServer | NatsCluster):
            return await self._send_to_stream(body)
        sqs = await self.cloud.client("sqs")
        sent = await sqs.send_message(QueueUrl=self.deployment.queue_url, MessageBody=body)
        return str(sent["MessageId"])

    async def _send_to_stream(self, body: str) -> str:
        """A message's id tells when it came, which the stream knows until an agent has done it."""
        name = self.deployment.runtime_name
        while True:  # until one was seen in time; whatever became of others, nobody waits for it
            with suppress(ObjectNotFound):
                async with self.cloud.connection.using("send") as js:
                    sent = await js.publish(f"{name}-jobs.{name}", body.encode())
                    there = await js.get_msg(sent.stream, sent.seq)
                    return f"{sent.seq}-{round(there.time.timestamp() * 1000):x}"

    def job(self, job_id: str, content: JsonObject | None = None, **metadata: Any) -> JsonObject:
        """A small text-to-image job for this scene's runtime."""
        return {
            "metadata": {
                "id": job_id,
                "tasktype": "text-to-image",
                "runtime": self.deployment.runtime_name,
                **metadata,
            },
            "content": content
            if content is not None
            else {"prompt": f"picture {job_id}", "steps": 2, "width": 64, "height": 64, "seed": 1},
        }

    async def heard(
        self, wanted: Callable[[list[JsonObject]], T], *, what: str, timeout: float = PATIENCE
    ) -> T:
        """Wait until `wanted` makes something true of the notifications so far."""
        try:
            async with asyncio.timeout(timeout), self._heard:
                while not (found := wanted(self.notifications)):
                    await self._heard.wait()
                return found
        except TimeoutError:
            statuses = [(n["id"], n["status"]) for n in self.notifications]
            raise AssertionError(
                f"not heard in {timeout} s: {what}; heard: {statuses}; agents: {self.logs()}"
            ) from None

    async def caught_up(self) -> None:
        """Hear all that was published so far: what is published now comes after it."""
        last = secrets.token_hex(8)
        topic = self.cloud.topic(self.deployment.notification_topic)
        once = Ordering()
        await retry_for(PATIENCE, lambda: topic.publish(f'{{"id": "{last}"}}', {}, once))
        async with asyncio.timeout(PATIENCE), self._heard:
            while last not in self._marks:
                await self._heard.wait()

    async def answer(self, job_id: str, *, nth: int = 1, timeout: float = PATIENCE) -> JsonObject:
        """The `nth` final notification of a job."""
        await self.heard(
            lambda _: len(self.answers(job_id)) >= nth, what=f"answer {nth} to {job_id}",
            timeout=timeout,
        )  # fmt: skip
        return self.answers(job_id)[nth - 1]

    def answers(self, job_id: str) -> list[JsonObject]:
        """The final notifications of a job so far."""
        return [n for n in self.notifications if n["id"] == job_id and n["status"] != "running"]

    def logs(self) -> str:
        """The ends of what the agents said."""
        tails = [path.read_text()[-2000:] for path in sorted(self.folder.glob("agent-*.log"))]
        return "\n\n".join(tails)

    @property
    def bucket_name(self) -> str:
        """By which objects of the bucket are addressed."""
        return str(self.cloud.bucket(self.deployment.bucket).name)

    async def bucket_keys(self) -> list[str]:
        return [*await self.cloud.bucket(self.deployment.bucket).keys("")]

    async def read(self, url: str) -> bytes:
        bucket, _, key = url.removeprefix("s3://").partition("/")
        data: bytes = await self.cloud.bucket(bucket).read(key)
        return data

    async def manifest(self, notification: JsonObject) -> JsonObject:
        manifest: JsonObject = json.loads(await self.read(notification["output_url"]))
        return manifest

    async def depth(self, url: str | None = None) -> tuple[int, int]:
        """Messages visible and in flight in the job queue (or another), as of moments ago."""
        backlog = await self.cloud.queue(url or self.deployment.queue_url).backlog()
        return backlog.waiting, backlog.in_flight

    async def dead_letters(self) -> int:
        assert self.deployment.dead_letter_queue_url
        return sum(await self.depth(self.deployment.dead_letter_queue_url))

    async def holds(self, waiting: int, in_flight: int = 0, *, timeout: float = PATIENCE) -> None:
        """Wait until the job queue counts so many messages."""
        queue = self.cloud.queue(self.deployment.queue_url)
        await comes_to_hold(queue, waiting, in_flight, seconds=timeout)

    async def emptied(self) -> None:
        """Wait until every message has been acknowledged (or has died)."""
        await self.holds(0)

    async def _listen(self, bodies: AsyncIterator[str]) -> None:
        async for body in bodies:
            async with self._heard:
                told = json.loads(body)
                if "status" in told:
                    self.notifications.append(told)
                else:
                    self._marks.add(told["id"])
                self._heard.notify_all()


@asynccontextmanager
async def scene(
    embedded: EmbeddedCloud | NatsServer | NatsCluster,
    name: str,
    folder: Path,
    settings: dict[str, str],
    **options: Any,
) -> AsyncIterator[Scene]:
    """A deployment with an audience; ends the agents started in it."""
    cloud: Any = embedded.connect()
    try:
        if isinstance(embedded, NatsServer | NatsCluster):
            deployment = await deploy_on_nats(cloud, embedded.address, name, **options)
        else:
            deployment = await deploy(cloud, name, **options)
        stage = Scene(embedded, cloud, deployment, folder, settings)
        topic = cloud.topic(deployment.notification_topic)
        async with stage._processes, topic.subscribe() as bodies, background(stage._listen(bodies)):
            yield stage
    finally:
        await cloud.aclose()


async def until(look: Callable[[], Awaitable[T]], *, what: str, timeout: float = PATIENCE) -> T:
    """Look again and again until something true is seen."""
    deadline = time.monotonic() + timeout
    while not (seen := await look()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not seen in {timeout} s: {what}")
        await asyncio.sleep(0.05)
    return seen


def webui_process(*arguments: str, port: int | None = None) -> ServerProcess:
    """The fake Web UI with these options; not started yet."""
    return fake_runtime("webui", *arguments, port=port)


def webui_settings(url: str) -> dict[str, str]:
    return {"QUEUE_AGENT_RUNTIME": "webui", "QUEUE_AGENT_RUNTIME_URL": url}


def comfyui_process(*arguments: str) -> ServerProcess:
    """The fake ComfyUI with these options; not started yet."""
    return fake_runtime("comfyui", *arguments)
