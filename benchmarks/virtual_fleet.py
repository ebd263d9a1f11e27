"""Real agents on a cloud in memory, with GPUs that only pass time, in a loop that skips it."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import ClassVar

import looptime
import structlog
from pydantic import JsonValue

from queue_agent.client import Client
from queue_agent.cloud.memory import Clock, MemoryCloud, MemoryQueue, Timer
from queue_agent.inputs.references import ReferenceFetcher, ReferencePolicy
from queue_agent.planning.outcome import nearest_rank
from queue_agent.runtime import (
    Artifact,
    Assets,
    ModelUse,
    Output,
    Prepared,
    Progress,
    ProgressCallback,
    Reference,
    Runtime,
    RuntimeOptions,
)
from queue_agent.tasks import background
from queue_agent.testing import sample_png
from queue_agent.wire.estimate import JobEstimate
from queue_agent.wire.job import Job
from queue_agent.wire.notification import Notification
from queue_agent.wire.publication import publication_of
from queue_agent.worker.agent import Agent
from queue_agent.worker.assembly import Ports, assemble
from queue_agent.worker.learning import RunLearning
from queue_agent.worker.policy import Policy
from queue_agent.worker.queue_order import QueueOrder
from queue_agent.worker.webhooks import WebhookPolicy, Webhooks

NAME = "virtual"
EPOCH = 1_767_225_600.0
_PRIORITIES = f"{NAME}-priorities"


@dataclass(frozen=True)
class TimedJob:
    """A job of a plan; durations in seconds."""

    at: float
    """When it is published, from the start."""
    seconds: float
    """On the GPU, without loading."""
    model: str = "a"
    within: float | None = None
    """It is wanted so long after its publication; None: whenever."""
    tenant: str = ""
    """Whose it is, among whom the queue is fair; empty: nobody's."""
    priority: str = ""
    """By which it goes to one of several queues; empty: there is one."""
    content: Mapping[str, JsonValue] = field(default_factory=dict)
    """What else it asks for; the virtual GPU takes no notice of it."""


@dataclass(frozen=True)
class EstimateAndTruth:
    """What was told of a job when it was submitted, and what came of it; in seconds."""

    told: JobEstimate
    start: float
    end: float
    gpu_seconds: float


@dataclass
class OrderOutcome:
    """What came of a plan."""

    gpu_seconds: float = 0.0
    """Of runs, with what they loaded."""
    switches: int = 0
    waits: list[float] = field(default_factory=list)
    """Of each job, from its publication to its end, without its own seconds."""
    waits_by_priority: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """The same by priority."""
    missed: int = 0
    """Jobs that were told after their deadline."""
    with_deadline: int = 0
    lasted: float = 0.0
    """From the start to the last answer."""
    again: int = 0
    """Answers of jobs that were delivered more than once."""
    estimates: list[EstimateAndTruth] = field(default_factory=list)
    """Of each job, by its end, where they are asked for."""

    def wait(self, percent: float) -> float:
        """What so many percent of the jobs do not exceed (nearest rank)."""
        return nearest_rank(sorted(self.waits), percent)


class VirtualGpu(Runtime):
    """Keeps one model, loads another for `switch` seconds, and has a queue of its own for one."""

    name: ClassVar[str] = "virtual"
    task_types: ClassVar[frozenset[str]] = frozenset({"text-to-image"})
    default_url: ClassVar[str] = "http://127.0.0.1:1"
    backlog: int = 1

    def __init__(self, options: RuntimeOptions, *, switch: float = 0.0, tells: bool = True) -> None:
        """`tells`: its agent knows which model a job needs."""
        del options
        self._switch = switch
        self._tells = tells
        self._free = asyncio.Lock()
        self._model = ""
        self.gpu_seconds = 0.0
        self.switches = 0

    async def ready(self) -> bool:
        return True

    def references(self, job: Job) -> Iterable[Reference]:
        del job
        return ()

    async def prepare(self, job: Job, assets: Assets) -> Prepared:
        del assets
        models = [str(job.content["model"])] if self._tells else []
        return Prepared(job, {}, use=ModelUse.named(models))

    async def run(self, prepared: Prepared, progress: ProgressCallback) -> Output:
        model, seconds = prepared.job.content["model"], prepared.job.content["seconds"]
        if not isinstance(model, str) or not isinstance(seconds, int | float):
            raise TypeError("no job of a plan")
        async with self._free:
            if model != self._model:
                self._model = model
                self.switches += 1
                await asyncio.sleep(self._switch)
                self.gpu_seconds += self._switch
            await asyncio.sleep(seconds)
            self.gpu_seconds += seconds
        progress(Progress(1.0))
        return Output((Artifact(sample_png(8, 8), "image/png"),))

    async def aclose(self) -> None:
        """Nothing is open."""


def run_fleet(
    plan: Sequence[TimedJob],
    *,
    agents: int,
    switch: float = 0.0,
    estimated: bool = False,
    models_known: bool = True,
    queues: QueueOrder | None = None,
    **policy: object,
) -> OrderOutcome:
    """So many agents at work on the plan; `policy` is what differs from the defaults of one.

    `estimated`: each job is estimated when it is submitted, by what the agents tell, of loads too
    where they have `models_known`. `queues`: the rule by which agents take from several, which are
    called as jobs' priorities are.
    """
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    with asyncio.Runner(loop_factory=looptime.new_event_loop) as runner:
        gpus = [
            VirtualGpu(RuntimeOptions(), switch=switch, tells=models_known) for _ in range(agents)
        ]
        return runner.run(_run_fleet(plan, gpus, policy, queues, estimated=estimated))


class _LoopClock(Clock):
    """The time of the running loop, as seconds since the epoch."""

    def now(self) -> float:
        return EPOCH + asyncio.get_running_loop().time()

    def call_at(self, moment: float, callback: Callable[[], None]) -> Timer:
        return asyncio.get_running_loop().call_at(moment - EPOCH, callback)


async def _run_fleet(
    plan: Sequence[TimedJob],
    gpus: Sequence[VirtualGpu],
    policy: dict[str, object],
    order: QueueOrder | None,
    *,
    estimated: bool,
) -> OrderOutcome:
    cloud = MemoryCloud(_LoopClock())
    deployment = cloud.deploy(NAME, visibility_timeout=600, max_receives=10)
    topic = cloud.topic(deployment.notification_topic)
    queues = {"": cloud.queue(deployment.queue_url)} if order is None else _queues(cloud, order)
    jobs = cloud.topic(deployment.job_topic if order is None else _PRIORITIES)
    loop, stop = asyncio.get_running_loop(), asyncio.Event()

    async def work(number: int, gpu: VirtualGpu) -> None:
        results = cloud.bucket(deployment.bucket) if estimated else None
        learning = RunLearning(results, NAME, f"agent-{number}", gpu, now=cloud.now)
        made = agent(gpu, learning)
        async with learning.keeping(made.health.started):
            await made.run(stop)

    def agent(gpu: VirtualGpu, learning: RunLearning) -> Agent:
        made = assemble(
            replace(_POLICY, **policy),  # type: ignore[arg-type]  # by the caller's names
            Ports(
                queues,
                topic,
                cloud.bucket(deployment.bucket),
                cloud.bucket,
            ),
            gpu,
            ReferenceFetcher(ReferencePolicy(), cloud.bucket),
            Webhooks(WebhookPolicy()),
            order=order,
            ran=learning.ran,
            clock=loop.time,
            now=cloud.now,
        )
        made.slots.scheduler.others = lambda: len(gpus) - 1
        return made

    client = Client(
        cloud,
        job_topic=deployment.job_topic,
        bucket=deployment.bucket,
        looks_up=False,
        spot_queue=deployment.queue_url,
    )

    async def publish() -> None:
        for number, planned in enumerate(plan):
            await asyncio.sleep(max(0.0, planned.at - loop.time()))
            if estimated:
                await client.submit(_job(number, planned), estimate=True)
                continue
            sent = publication_of(_job(number, planned))
            await jobs.publish(sent.body, sent.attributes, sent.ordering)

    outcome = OrderOutcome()
    async with topic.subscribe() as bodies, asyncio.TaskGroup() as tasks, background(publish()):
        for number, gpu in enumerate(gpus):
            tasks.create_task(work(number, gpu))
        await _answers(bodies, plan, outcome)
        stop.set()
    outcome.gpu_seconds = sum(gpu.gpu_seconds for gpu in gpus)
    outcome.switches = sum(gpu.switches for gpu in gpus)
    return outcome


def _queues(cloud: MemoryCloud, order: QueueOrder) -> Mapping[str, MemoryQueue]:
    """One for each priority, filled from a topic of theirs."""
    queues = {
        name: MemoryQueue(
            cloud.clock, visibility_timeout=600, max_receives=10, dead_letters=cloud.queue("dead")
        )
        for name in order.queues
    }
    for name, queue in queues.items():
        cloud.topic(_PRIORITIES).subscribe_queue(queue, {"runtime": [NAME], "priority": [name]})
    return queues


_POLICY = Policy(
    runtime_name=NAME,
    lease=600,
    max_receives=10,
    has_dead_letter_queue=True,
    spread=lambda _low, high: high,
)


def _job(number: int, planned: TimedJob) -> Job:
    metadata: dict[str, object] = {
        "id": str(number),
        "runtime": NAME,
        "tasktype": "text-to-image",
    }
    if planned.priority:
        metadata["priority"] = planned.priority
    if planned.tenant:
        metadata["tenant"] = planned.tenant
    if planned.within is not None:
        moment = EPOCH + planned.at + planned.within
        metadata["deadline"] = datetime.fromtimestamp(moment, UTC).isoformat()
    content = {
        "prompt": "x",
        **planned.content,
        "model": planned.model,
        "seconds": planned.seconds,
    }
    return Job.model_validate({"metadata": metadata, "content": content})


async def _answers(
    bodies: AsyncIterator[str], plan: Sequence[TimedJob], outcome: OrderOutcome
) -> None:
    """Take note of each job's end until all have one."""
    loop = asyncio.get_running_loop()
    left = set(range(len(plan)))
    async for body in bodies:
        news = Notification.read(body)
        planned = plan[int(news.id)]
        if news.status != "completed" or int(news.id) not in left:
            raise RuntimeError(f"not what was planned: {news}")
        left.remove(int(news.id))
        outcome.lasted = loop.time()
        outcome.again += news.attempt > 1
        wait = max(0.0, loop.time() - planned.at - planned.seconds)
        outcome.waits.append(wait)
        outcome.waits_by_priority[planned.priority].append(wait)
        if news.estimate is not None:
            steps = news.timings
            started = steps.queued + steps.prepare + steps.wait
            ended = loop.time() - planned.at
            truth = EstimateAndTruth(news.estimate, started, ended, news.gpu_seconds or 0.0)
            outcome.estimates.append(truth)
        if planned.within is not None:
            outcome.with_deadline += 1
            outcome.missed += loop.time() > planned.at + planned.within
        if not left:
            return
