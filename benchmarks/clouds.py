"""The clouds of the stage, each a server process: what a measurement asks of them."""

import json
import math
import shutil
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import aiohttp
from nats.aio.msg import Msg

from benchmarks.latency import LATENCIES
from queue_agent.cloud import Deployment
from queue_agent.cloud.nats import NatsCloud
from queue_agent.cloud.nats.addresses import NatsAddress
from queue_agent.tasks import together
from queue_agent.testing.nats import NatsServer, deploy
from queue_agent.testing.waiting import eventually

_QUEUE: Final = "jobs"
_RUNTIME: Final = "benchmark"

Record = dict[str, Any]
"""What happened since the last mark: calls by account, deliveries, notifications, queue depths."""


class BenchCloud(ABC):
    """A queue, a topic and a bucket, and what was seen of their use."""

    @abstractmethod
    def environment(self, account: str) -> dict[str, str]:
        """The settings of a subject that works here under that name."""

    @abstractmethod
    async def send(self, bodies: Sequence[str]) -> float:
        """Put jobs into the queue; the moment at which all are there."""

    @abstractmethod
    async def has_polled(self, accounts: Collection[str]) -> None:
        """Wait until each of the accounts has asked for messages."""

    @abstractmethod
    async def emptied(self) -> None:
        """Wait until every message has been deleted, for however long."""

    @abstractmethod
    async def mark(self) -> None:
        """Forget what was recorded."""

    @abstractmethod
    async def record(self) -> Record:
        """What happened since the last mark, by the monotonic clock."""


class EmulatedAws(BenchCloud):
    """`benchmarks.cloud`, which runs at that address."""

    def __init__(self, url: str, http: aiohttp.ClientSession) -> None:
        self.url = url
        self._http = http

    async def reset(self, latency: str) -> None:
        """Begin with nothing, each call taking the time of that profile."""
        await self._post("reset", {"latency": latency})

    def environment(self, account: str) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": account,
            "AWS_SECRET_ACCESS_KEY": "benchmark",
            "QUEUE_AGENT_QUEUE_URL": f"{self.url}/000000000000/{_QUEUE}",
            "QUEUE_AGENT_TOPIC_ARN": "arn:aws:sns:us-east-1:000000000000:results",
            "QUEUE_AGENT_BUCKET": "results",
        }

    async def send(self, bodies: Sequence[str]) -> float:
        answer = await self._post("send", {"queue": _QUEUE, "bodies": list(bodies)})
        return float(answer["at"])

    async def has_polled(self, accounts: Collection[str]) -> None:
        async def all_have() -> bool:
            polled: Record = (await self.record())["first_receive"]
            return polled.keys() >= set(accounts)

        await eventually(all_have)

    async def emptied(self) -> None:
        await self._get(f"emptied?{_QUEUE}")

    async def mark(self) -> None:
        await self._post("mark", {})

    async def record(self) -> Record:
        record: Record = await self._get("record")
        return record

    async def _post(self, what: str, value: Any) -> Any:
        async with self._http.post(f"{self.url}/fake/{what}", json=value) as answer:
            return await answer.json()

    async def _get(self, what: str) -> Any:
        async with self._http.get(f"{self.url}/fake/{what}") as answer:
            return await answer.json()


class NatsJetStream(BenchCloud):
    """What `deploy` has made on a server.

    Notifications are heard by their subject. How often the server was called, and when it
    delivered, is not seen.
    """

    def __init__(self, cloud: NatsCloud, deployment: Deployment) -> None:
        self._cloud = cloud
        self._deployment = deployment
        self._queue = NatsAddress.parse(deployment.queue_url)
        self._notified: list[tuple[str, str, float]] = []
        self._sent = 0

    async def listen(self) -> None:
        """Record notifications from now on."""
        topic = NatsAddress.parse(self._deployment.notification_topic).stream
        async with self._cloud.connection.exchange("listen to notifications") as client:
            await client.subscribe(f"{topic}.>", cb=self._heard)
            await client.flush()

    def environment(self, account: str) -> dict[str, str]:  # noqa: ARG002  there are no accounts
        return dict(self._deployment.environment())

    async def send(self, bodies: Sequence[str]) -> float:
        queue = self._cloud.queue(self._deployment.queue_url)
        await together(queue.send(body, {}) for body in bodies)
        self._sent += len(bodies)
        return time.monotonic()

    async def has_polled(self, accounts: Collection[str]) -> None:
        """Of those that wait now, which is what an agent on an empty queue does."""

        async def all_wait() -> bool:
            async with self._cloud.connection.using("read the consumer") as js:
                info = await js.consumer_info(self._queue.stream, self._queue.name)
            return (info.num_waiting or 0) >= len(accounts)

        await eventually(all_wait)

    async def emptied(self) -> None:
        async def is_empty() -> bool:
            ended = {job for job, status, _ in self._notified if status != "running"}
            if len(ended) < self._sent:  # the server has other things to do
                return False
            async with self._cloud.connection.using("read the stream") as js:
                return not (await js.stream_info(self._queue.stream)).state.messages

        await eventually(is_empty, math.inf)

    async def mark(self) -> None:
        self._notified.clear()
        self._sent = 0

    async def record(self) -> Record:
        return {
            "calls": {},
            "received": [],
            "notified": list(self._notified),
            "first_receive": {},
            "depths": {_QUEUE: []},
        }

    async def _heard(self, message: Msg) -> None:
        told = json.loads(message.data)
        self._notified.append((told["id"], told["status"], time.monotonic()))


@asynccontextmanager
async def jetstream(folder: Path, latency: str) -> AsyncIterator[NatsJetStream]:
    """A server of its own, which writes all that it acknowledges to disk, in a folder that goes.

    Raises:
        ValueError: calls would have to take time, which a real server's do not.
    """
    if LATENCIES[latency] != LATENCIES["0 ms"]:
        raise ValueError(f"NATS is measured as it is, not at {latency}")
    try:
        with NatsServer(folder, log=folder / "server.log") as server:
            async with aclosing(server.connect()) as cloud:
                found = NatsJetStream(cloud, await deploy(cloud, server.address, _RUNTIME))
                await found.listen()
                yield found
    finally:
        shutil.rmtree(folder, ignore_errors=True)
