"""A whole worker on a cloud in memory, in a loop whose time passes as soon as nothing else does."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar

from queue_agent.cloud import Queue
from queue_agent.cloud.deployment import Deployment
from queue_agent.cloud.memory import Clock, MemoryCloud, Timer
from queue_agent.inputs.references import ReferenceFetcher, ReferencePolicy
from queue_agent.outputs import OutputStage
from queue_agent.runtime import (
    Artifact,
    Assets,
    Output,
    Prepared,
    Progress,
    ProgressCallback,
    Readiness,
    Reference,
    Runtime,
    RuntimeOptions,
)
from queue_agent.runtime.model_use import ModelUse
from queue_agent.tasks import background
from queue_agent.testing import sample_png
from queue_agent.wire.errors import Rejected, RunLost, RuntimeAway, Unavailable
from queue_agent.wire.job import Job
from queue_agent.wire.notification import Notification
from queue_agent.wire.result import Result
from queue_agent.worker.agent import Agent
from queue_agent.worker.assembly import Ports, assemble
from queue_agent.worker.job_models import Models
from queue_agent.worker.policy import Policy
from queue_agent.worker.queue_order import QueueOrder
from queue_agent.worker.webhooks import WebhookPolicy, Webhooks

NAME = "sdruntime"
EPOCH = 1_767_225_600.0
RUN = 10.0
"""Seconds that a run takes unless a test says otherwise."""

JsonObject = dict[str, Any]
Behaviour = Callable[[Prepared, ProgressCallback], Awaitable[Output]]


class LoopClock(Clock):
    """The time of the running loop, as seconds since the epoch."""

    def now(self) -> float:
        return EPOCH + asyncio.get_running_loop().time()

    def call_at(self, moment: float, callback: Callable[[], None]) -> Timer:
        return asyncio.get_running_loop().call_at(moment - EPOCH, callback)


class ScriptedRuntime(Runtime):
    """Does what a test says, so many jobs at a time; by default a picture after `RUN` seconds."""

    name: ClassVar[str] = "scripted"
    task_types: ClassVar[frozenset[str]] = frozenset({"text-to-image", "image-to-image"})
    default_url: ClassVar[str] = "http://127.0.0.1:1"

    def __init__(
        self, options: RuntimeOptions | None = None, *, concurrency: int = 1, backlog: int = 0
    ) -> None:
        self.options = options
        self.concurrency, self.backlog = concurrency, backlog
        self.up = True
        self.lost: list[str] = []
        """The ids of the jobs that the runtime had when it died, as each run tells."""
        self.runs: list[str] = []
        """The ids of the jobs whose runs began, in order."""
        self.interrupted: list[str] = []
        self.prepared: list[str] = []
        self.cleaned: list[tuple[str, bool]] = []
        """The ids of the jobs that were cleaned up after, and whether they may come again."""
        self.needs: dict[str, ModelUse] = {}
        """By their ids, what jobs have to be loaded; others say nothing of it."""
        self.cleaning: Callable[[], Awaitable[None]] = _at_once
        """What cleaning up does."""
        self.began = asyncio.Event()
        self.usually: Behaviour = drawing()
        """What runs do of jobs without a script."""
        self._behaviours: dict[str, list[Behaviour]] = {}
        self._free = asyncio.Semaphore(concurrency)
        self._death = asyncio.Event()
        self.notice: Callable[[], float] = lambda: 0.0
        """Seconds until a run notices that the runtime died."""

    def script(self, job_id: str, *behaviours: Behaviour) -> None:
        """What the next runs of a job do; the last holds for all that follow."""
        self._behaviours[job_id] = list(behaviours)

    async def ready(self) -> bool | Readiness:
        return self.up

    def references(self, job: Job) -> Iterable[Reference]:
        for number, url in enumerate(images_of(job)):
            yield Reference(url, ("init_images", number))

    async def prepare(self, job: Job, assets: Assets) -> Prepared:
        assert assets.keys() == set(images_of(job))
        self.prepared.append(job.id)
        if job.content.get("refused"):
            raise Rejected("The runtime cannot draw that.", details={"status": 422})
        warnings = ("prepared oddly",) if job.content.get("odd") else ()
        return Prepared(job, {}, warnings=warnings, use=self.needs.get(job.id, ModelUse()))

    async def run(self, prepared: Prepared, progress: ProgressCallback) -> Output:
        if not self.up:
            raise RuntimeAway("connection refused")
        job_id, death = prepared.job.id, self._death
        work = asyncio.create_task(self._work(prepared, progress))
        dying = asyncio.create_task(death.wait())
        try:
            await asyncio.wait({work, dying}, return_when=asyncio.FIRST_COMPLETED)
            if not death.is_set():
                return await work
        finally:
            for task in (work, dying):
                task.cancel()
            await asyncio.gather(work, dying, return_exceptions=True)
        await asyncio.sleep(self.notice())
        self.lost.append(job_id)
        raise RunLost("the connection broke")

    async def _work(self, prepared: Prepared, progress: ProgressCallback) -> Output:
        job_id, death = prepared.job.id, self._death
        async with self._free:
            self.runs.append(job_id)
            self.began.set()
            try:
                return await self._behaviour(job_id)(prepared, progress)
            except asyncio.CancelledError:
                if not death.is_set():
                    self.interrupted.append(job_id)
                raise

    def die(self, back_after: float) -> None:
        """Take down all runs, and be away for so many seconds."""
        self._death.set()
        self._death, self._free = asyncio.Event(), asyncio.Semaphore(self.concurrency)
        self.up = False

        def start() -> None:
            self.up = True

        asyncio.get_running_loop().call_later(back_after, start)

    def killing(self, *, after: float, back_after: float) -> Behaviour:
        """Ends this runtime after so long, which starts again."""

        async def behave(prepared: Prepared, report: ProgressCallback) -> Output:
            await asyncio.sleep(after)
            self.die(back_after)
            await asyncio.Event().wait()
            raise AssertionError("the dead do not go on")

        return behave

    async def clean_up(self, job: Job, *, again: bool) -> None:
        self.cleaned.append((job.id, again))
        await self.cleaning()

    async def aclose(self) -> None:
        """Nothing is open."""

    def _behaviour(self, job_id: str) -> Behaviour:
        waiting = self._behaviours.get(job_id) or [self.usually]
        return waiting.pop(0) if len(waiting) > 1 else waiting[0]


async def _at_once() -> None:
    """Nothing was left."""


def images_of(job: Job) -> list[str]:
    """The input images that a job names."""
    images = job.content.get("init_images")
    return [str(image) for image in images] if isinstance(images, list) else []


def drawing(seconds: float = RUN, *, progress: Sequence[float] = ()) -> Behaviour:
    """A picture after so long, with these reports evenly on the way."""

    async def behave(prepared: Prepared, report: ProgressCallback) -> Output:
        for fraction in progress:
            await asyncio.sleep(seconds / (len(progress) + 1))
            report(Progress(fraction))
        await asyncio.sleep(seconds / (len(progress) + 1))
        picture = Artifact(sample_png(8, 8), "image/png", seed=7)
        return Output((picture,), {"seed": 7}, ("came out oddly",) if prepared.warnings else ())

    return behave


def failing(error: Exception | None = None, *, after: float = 0.0) -> Behaviour:
    """A runtime that fails after so long, as one that is down does unless told otherwise."""

    async def behave(prepared: Prepared, report: ProgressCallback) -> Output:
        await asyncio.sleep(after)
        raise error or Unavailable("connection refused")

    return behave


@dataclass
class Bench:
    """One runtime's deployment, its agents, and what subscribers hear."""

    cloud: MemoryCloud = field(default_factory=lambda: MemoryCloud(LoopClock()))
    runtime: ScriptedRuntime = field(default_factory=ScriptedRuntime)
    max_receives: int | None = 3
    visibility: float = 30.0
    fifo: bool = False
    moves_dead_letters: bool = True
    """Whether the queue does that itself, as SQS's; else its receivers bury them, as on NATS."""
    policy: JsonObject = field(default_factory=dict)
    """What differs from the policy's defaults."""
    models: Models | None = None
    """What fetches jobs' models."""
    outputs: OutputStage | None = None
    """What is done with what runs make."""
    queues: Mapping[str, Queue] = field(default_factory=dict)
    """Several queues by name, instead of the deployment's."""
    order: QueueOrder | None = None
    on_demand: str | None = None
    """The queue for jobs that have lost their attempts here."""
    heard: list[Notification] = field(default_factory=list)
    """All notifications while agents work, in order."""
    _news: asyncio.Condition = field(default_factory=asyncio.Condition, init=False)

    def __post_init__(self) -> None:
        self.deployment: Deployment = self.cloud.deploy(
            NAME,
            visibility_timeout=self.visibility,
            max_receives=self.max_receives,
            fifo=self.fifo,
            moves_dead_letters=self.moves_dead_letters,
        )
        self.queue = self.cloud.queue(self.deployment.queue_url)
        self.topic = self.cloud.topic(self.deployment.notification_topic)
        self.results = self.cloud.bucket(self.deployment.bucket)

    def agent(
        self, runtime: Runtime | None = None, *, others: Callable[[], int] = lambda: 0
    ) -> Agent:
        """An agent of the deployment, not started; `others` tells how many more there are."""
        policy = Policy(
            **{
                "runtime_name": NAME,
                "serves": NAME,
                "lease": self.visibility,
                "max_receives": self.max_receives or 5,
                "has_dead_letter_queue": self.max_receives is not None,
                "spread": lambda _low, high: high,
                **self.policy,
            }
        )
        reading = ReferencePolicy(buckets=frozenset({self.results.name}))
        agent = assemble(
            policy,
            Ports(
                self.queues or {"": self.queue},
                self.topic,
                self.results,
                self.cloud.bucket,
                {} if self.on_demand is None else {"": self.cloud.queue(self.on_demand)},
            ),
            runtime or self.runtime,
            ReferenceFetcher(reading, self.cloud.bucket),
            Webhooks(WebhookPolicy()),
            order=self.order,
            models=self.models,
            outputs=self.outputs,
            clock=asyncio.get_running_loop().time,
            now=self.cloud.now,
        )
        agent.slots.scheduler.others = others
        return agent

    @asynccontextmanager
    async def working(self, *agents: Agent) -> AsyncIterator[None]:
        """Agents at work for the block, one unless they are given, which are drained after it."""
        stop = asyncio.Event()
        async with (
            self.topic.subscribe() as bodies,
            background(self._listen(bodies)),
            asyncio.TaskGroup() as tasks,
        ):
            for agent in agents or (self.agent(),):
                tasks.create_task(agent.run(stop))
            try:
                yield
            finally:
                stop.set()

    async def _listen(self, bodies: AsyncIterator[str]) -> None:
        async for body in bodies:
            async with self._news:
                self.heard.append(Notification.read(body))
                self._news.notify_all()

    async def pass_time(self, seconds: float) -> None:
        """Let so much of the loop's time pass, which takes none of the machine's."""
        await asyncio.sleep(seconds)

    def body(self, job_id: str, content: JsonObject | None = None, **metadata: Any) -> str:
        """A job's message body."""
        given = {"id": job_id, "tasktype": "text-to-image", "runtime": NAME, "prefix": "out"}
        picture = {"prompt": f"picture {job_id}", "steps": 20}
        return json.dumps({"metadata": {**given, **metadata}, "content": content or picture})

    async def publish(
        self, job_id: str, content: JsonObject | None = None, **metadata: Any
    ) -> None:
        """Publish a job to the job topic, as a publisher does."""
        jobs = self.cloud.topic(self.deployment.job_topic)
        await jobs.publish(self.body(job_id, content, **metadata), {"runtime": NAME})

    def told(self, job_id: str | None = None) -> list[Notification]:
        """All final notifications so far, or those of one job."""
        every = [Notification.read(published.body) for published in self.topic.published]
        return [one for one in every if one.status != "running" and job_id in {None, one.id}]

    async def answer(self, job_id: str | None = None, *, nth: int = 1) -> Notification:
        """The `nth` final notification, of a job or of any, once it is there."""
        async with self._news:
            await self._news.wait_for(lambda: len(self.told(job_id)) >= nth)
        return self.told(job_id)[nth - 1]

    async def emptied(self) -> None:
        """Wait until no message is in the queue, delivered or not."""
        while self.queue.bodies:  # noqa: ASYNC110  a queue tells nobody
            await asyncio.sleep(0.1)

    async def settled(self, job_id: str | None = None) -> Notification:
        """The first answer to a job, once its message is gone too."""
        answer = await self.answer(job_id)
        await self.emptied()
        return answer

    def manifests(self) -> list[Result]:
        """All result manifests in the bucket."""
        return [
            Result.model_validate_json(stored.data)
            for key, stored in self.results.objects.items()
            if key.endswith(".out")
        ]

    def keys(self, prefix: str = "") -> list[str]:
        return sorted(key for key in self.results.objects if key.startswith(prefix))

    def operations(self) -> Counter[str]:
        """How often each operation of the cloud was asked for."""
        return Counter(call.operation for call in self.cloud.calls)

    @property
    def dead_letters(self) -> Sequence[str]:
        assert self.deployment.dead_letter_queue_url
        return self.cloud.queue(self.deployment.dead_letter_queue_url).bodies
