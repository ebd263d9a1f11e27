"""The parts of an agent, put together."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Self

from queue_agent.cloud import Bucket, Queue, Topic
from queue_agent.cloud.pauses import PausesMarker
from queue_agent.cloud.watched import Watch, watched
from queue_agent.inputs.references import ReferenceFetcher
from queue_agent.outputs import OutputStage
from queue_agent.runtime import Runtime
from queue_agent.telemetry.refusals import CloudRefusals
from queue_agent.telemetry.tracing import Telemetry
from queue_agent.worker.agent import Agent
from queue_agent.worker.answer_rate import AnswerRate
from queue_agent.worker.cancellation import CancellationWatch
from queue_agent.worker.checkpoints import Checkpoints
from queue_agent.worker.claims import Claims
from queue_agent.worker.deadlines import Deadlines
from queue_agent.worker.delivery import Delivery
from queue_agent.worker.forecast import Forecast, Kind
from queue_agent.worker.health import RuntimeHealth
from queue_agent.worker.ignored import IgnoredMessages
from queue_agent.worker.inbox import Inbox
from queue_agent.worker.job_models import JobModels, Models
from queue_agent.worker.leftovers import Leftovers
from queue_agent.worker.misrouted import MisroutedJobs
from queue_agent.worker.notifier import Notifier
from queue_agent.worker.on_demand import OnDemandQueues
from queue_agent.worker.pausing import Pausing
from queue_agent.worker.policy import Policy
from queue_agent.worker.previews import Previews
from queue_agent.worker.processor import Processor
from queue_agent.worker.queue_order import QueueOrder, strict
from queue_agent.worker.queues import Queues
from queue_agent.worker.runner import JobRunner
from queue_agent.worker.scheduler import JobScheduler
from queue_agent.worker.slots import Slots
from queue_agent.worker.store import ResultStore
from queue_agent.worker.tenant_limit import TenantLimit
from queue_agent.worker.warm_up import WarmUp
from queue_agent.worker.webhooks import Webhooks

_WORTH_CLAIMING: Final = 0.25
"""Seconds on the GPU; for less, a claim costs more than doing some jobs twice."""


@dataclass(frozen=True)
class Ports:
    """What an agent uses of the cloud."""

    queues: Mapping[str, Queue]
    """Where jobs come from, the most urgent first; the name of an only one is empty."""
    topic: Topic
    """For notifications."""
    results: Bucket
    bucket: Callable[[str], Bucket]
    """Any bucket by its name, for offloaded payloads."""
    on_demand: Mapping[str, Queue] = field(default_factory=dict)
    """For jobs that have lost their attempts on spot nodes, by their queue; else they stay."""

    def watched(self, watch: Watch) -> Self:
        """The same, of whose calls `watch` is told; not of those to the buckets of others."""
        return replace(
            self,
            queues={
                name: watched(queue, f"queue:{name}" if name else "queue", watch)
                for name, queue in self.queues.items()
            },
            topic=watched(self.topic, "topic", watch),
            results=watched(self.results, "bucket", watch),
        )


def assemble(
    policy: Policy,
    ports: Ports,
    runtime: Runtime,
    references: ReferenceFetcher,
    webhooks: Webhooks,
    telemetry: Telemetry | None = None,
    *,
    order: QueueOrder | None = None,
    models: Models | None = None,
    outputs: OutputStage | None = None,
    refusals: CloudRefusals | None = None,
    ran: Callable[[Delivery], None] = lambda _: None,
    clock: Callable[[], float] = time.monotonic,
    now: Callable[[], float] = time.time,
) -> Agent:
    """An agent of one runtime. `clock` tells what passes, `now` the seconds since the epoch.

    `order` says from which of several queues messages are taken: strictly, if it is not given.
    Without `models`, none are fetched; without `outputs`, files are delivered as they are made.
    `refusals` hears those of the ports; else they have their own. `ran` hears of each job whose run
    went well.
    """
    forecast = Forecast()
    job_models = JobModels(runtime, models) if models is not None else None

    def worth(kind: Kind | None) -> bool:
        return not forecast.knows_runs or forecast.run(kind) >= _WORTH_CLAIMING

    telemetry = telemetry or Telemetry()
    refusals = refusals or CloudRefusals(telemetry.metrics, clock=clock)
    results = ports.results
    ports = ports.watched(refusals)
    store = ResultStore(
        ports.results,
        runtime_name=policy.runtime_name,
        patience=policy.store_patience,
        gpu_price=policy.gpu_price,
        now=now,
    )
    inbox = Inbox(
        ports.bucket,
        may_read=references.may_read,
        task_types=runtime.task_types,
        runtime_name=policy.serves,
    )
    health = RuntimeHealth(runtime, clock)
    slots = Slots(
        concurrency=runtime.concurrency,
        backlog=runtime.backlog,
        prefetch=policy.prefetch,
        scheduler=JobScheduler(
            forecast,
            by_deadline=policy.by_deadline,
            look_ahead=policy.look_ahead,
            tenant_limit=policy.tenant_in_flight,
            horizon=policy.hold_limit,
            now=now,
        ),
        clock=clock,
    )
    if policy.warm_up is not None:
        health.warm_up = WarmUp(
            policy.warm_up,
            runtime,
            references,
            slots,
            policy.run_timeout_of(policy.warm_up),
            telemetry.metrics,
            clock,
            job_models,
        )
    cancellations = CancellationWatch(ports.results, poll=policy.cancel_poll, now=now, clock=clock)
    pausing = Pausing(  # an agent that may not see pauses works all the same, and is healthy
        PausesMarker(results, policy.runtime_name),
        policy.pause_poll,
        now,
        policy.spread,
        slots.changed.set,
        telemetry.metrics,
        cancellations.check,
    )
    notifier = Notifier(policy, ports.topic, webhooks, store.with_links)
    leftovers = Leftovers(runtime, slots, health, clock)
    processor = Processor(
        policy=policy,
        inbox=inbox,
        store=store,
        claims=Claims(ports.results, lease=policy.lease, worth=worth, now=now, clock=clock),
        previews=Previews(ports.results, policy.preview_interval),
        cancellations=cancellations,
        deadlines=Deadlines(policy, slots, notifier, now),
        runner=JobRunner(
            runtime,
            health,
            leftovers,
            references,
            time_limit=policy.run_timeout_of,
            is_last=policy.is_last,
            models=job_models,
            checkpoints=Checkpoints(  # one that may not keep them works all the same
                results,
                runtime,
                policy.runtime_name,
                policy.checkpoint_limit,
                policy.checkpoint_every,
                telemetry.metrics,
            ),
        ),
        outputs=outputs or OutputStage(),
        notifier=notifier,
        ignored=IgnoredMessages(clock),
        misrouted=MisroutedJobs(policy.runtime_name, clock),
        pausing=pausing,
        tenants=TenantLimit(slots, policy.tenant_in_flight if policy.tenant_strict else None),
        on_demand=OnDemandQueues(ports.on_demand) if ports.on_demand else None,
        answer_rate=AnswerRate(policy.answer_burst, policy.answers_per_second, clock),
        ran=ran,
    )
    return Agent(
        queues=Queues(
            ports.queues,
            order or strict(tuple(ports.queues)),
            policy.lease,
            telemetry.metrics,
            clock,
            now,
        ),
        runtime=runtime,
        health=health,
        leftovers=leftovers,
        pausing=pausing,
        processor=processor,
        slots=slots,
        policy=policy,
        refusals=refusals,
        telemetry=telemetry,
        clock=clock,
        now=now,
    )
