"""A cloud in memory, whole."""

from urllib.parse import parse_qs, unquote, urlsplit

from queue_agent.cloud.deployment import Deployment
from queue_agent.cloud.memory.bucket import PRESIGNED, MemoryBucket, StoredObject
from queue_agent.cloud.memory.clock import Clock, SystemClock
from queue_agent.cloud.memory.faults import Call, Faults
from queue_agent.cloud.memory.queue import MemoryQueue
from queue_agent.cloud.memory.topic import MemoryTopic
from queue_agent.cloud.ports import Cloud
from queue_agent.wire.errors import ObjectNotFound


class MemoryCloud(Cloud):
    """Queues, topics and buckets of one process, to test publishers and the agent with.

        cloud = MemoryCloud()
        deployment = cloud.deploy("sdruntime")
        client = Client(cloud, job_topic=deployment.job_topic, bucket=deployment.bucket)

    What is asked for by a name that is new is made, empty, and keeps an order if the name ends
    in ``.fifo``; `deploy` makes what a runtime needs.
    Nothing is shared with other instances, nothing outlives this one, and no two threads may
    use it. `faults` says what is to go wrong, `calls` what was asked for.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        """`clock` tells the time; the system's unless a test gives one of its own."""
        self.clock = clock or SystemClock()
        self.faults = Faults()
        self._queues: dict[str, MemoryQueue] = {}
        self._topics: dict[str, MemoryTopic] = {}
        self._buckets: dict[str, MemoryBucket] = {}

    @property
    def calls(self) -> list[Call]:
        """Every call of a port so far, in order."""
        return self.faults.calls

    def queue(self, url: str) -> MemoryQueue:
        if url not in self._queues:
            self._queues[url] = MemoryQueue(self.clock, self.faults, fifo=_is_fifo(url))
        return self._queues[url]

    def topic(self, name: str) -> MemoryTopic:
        if name not in self._topics:
            self._topics[name] = MemoryTopic(
                name, self.faults, fifo=_is_fifo(name), clock=self.clock
            )
        return self._topics[name]

    def bucket(self, name: str) -> MemoryBucket:
        if name not in self._buckets:
            self._buckets[name] = MemoryBucket(name, self.clock, self.faults)
        return self._buckets[name]

    def now(self) -> float:
        return self.clock.now()

    async def aclose(self) -> None:
        """Nothing is open; what was stored stays, to be looked at."""

    def deploy(
        self,
        name: str,
        *,
        visibility_timeout: float = 30.0,
        max_receives: int | None = 3,
        raw_delivery: bool = False,
        fifo: bool = False,
        moves_dead_letters: bool = True,
    ) -> Deployment:
        """Make the topics, queues and bucket of one runtime.

        Jobs published with the attribute ``runtime`` equal to `name` reach its queue. Without
        `max_receives` there is no dead-letter queue. With `fifo` queues and topics keep an order.
        Unless it `moves_dead_letters`, who receives what was delivered too often buries it.
        """
        end = ".fifo" if fifo else ""
        dead_letters = None if max_receives is None else f"{name}-dead{end}"
        queue = self._queues[f"{name}{end}"] = MemoryQueue(
            self.clock,
            self.faults,
            visibility_timeout=visibility_timeout,
            max_receives=max_receives,
            dead_letters=self.queue(dead_letters) if dead_letters else None,
            fifo=fifo,
            moves_dead_letters=moves_dead_letters,
        )
        self.topic(f"{name}-jobs{end}").subscribe_queue(
            queue, {"runtime": [name]}, raw_delivery=raw_delivery
        )
        self.bucket(f"{name}-results")
        return Deployment(
            runtime_name=name,
            job_topic=f"{name}-jobs{end}",
            queue_url=f"{name}{end}",
            dead_letter_queue_url=dead_letters,
            notification_topic=f"{name}-notifications{end}",
            bucket=f"{name}-results",
        )

    async def fetch(self, presigned_url: str) -> StoredObject:
        """What a presigned URL leads to, past all faults.

        Raises:
            ObjectNotFound: the URL's time is over, or the object is gone.
        """
        address = urlsplit(presigned_url.removeprefix(PRESIGNED))
        bucket, _, key = address.path.partition("/")
        if self.clock.now() >= float(parse_qs(address.query)["expires"][0]):
            raise ObjectNotFound("The link is no longer valid.")
        found = self.bucket(bucket).objects.get(unquote(key))
        if found is None:
            raise ObjectNotFound("The link leads to nothing.")
        return found


def _is_fifo(name: str) -> bool:
    """As SQS and SNS have it."""
    return name.endswith(".fifo")
