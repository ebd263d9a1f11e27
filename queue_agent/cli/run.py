"""`queue-agent run`: the agent, put together from its settings."""

import asyncio
import gc
import os
import secrets
import signal
import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog
from pydantic import JsonValue

from queue_agent.cli.environment import warn_of_unknown_names
from queue_agent.cli.model_options import model_fetcher
from queue_agent.cli.options import (
    content_check_policy,
    content_checker,
    make_runtime,
    output_stage,
    preview_interval,
    reference_policy,
    telemetry_options,
    warm_up_job,
    webhook_policy,
)
from queue_agent.cloud import Bucket, Cloud, Queue, QueuePolicy, shortcomings
from queue_agent.cloud.connect import connect
from queue_agent.inputs.models.fetcher import ModelFetcher
from queue_agent.inputs.references import ReferenceFetcher
from queue_agent.outputs.checkers import ContentChecker
from queue_agent.runtime import Readiness, Runtime
from queue_agent.settings.agent import Settings
from queue_agent.tasks import background, together
from queue_agent.telemetry.clock import ClockWatch
from queue_agent.telemetry.export import exporting
from queue_agent.telemetry.logs import configure_logs
from queue_agent.telemetry.metrics import Metrics
from queue_agent.telemetry.probes import probes
from queue_agent.telemetry.refusals import CloudRefusals
from queue_agent.wire.errors import Unavailable
from queue_agent.wire.job import Job
from queue_agent.wire.layout import trial_key
from queue_agent.worker.agent import Agent
from queue_agent.worker.assembly import Ports, assemble
from queue_agent.worker.content_check import ContentCheck
from queue_agent.worker.health import missing
from queue_agent.worker.learning import RunLearning
from queue_agent.worker.offering import Offering
from queue_agent.worker.pod_deletion_cost import PodDeletionCost
from queue_agent.worker.policy import Allowance, Policy
from queue_agent.worker.presence import Presence
from queue_agent.worker.queue_order import by_rule
from queue_agent.worker.sampling import GaugeSampler
from queue_agent.worker.webhooks import Webhooks

log = structlog.get_logger()

_SHORTEST_LEASE = 3.0
_POLICY_PAUSE = 2.0
_LONGEST_POLICY_PAUSE = 20.0
_OBJECTS_A_COLLECTION = 5_000
"""Python's own: 700, and since 3.14 2,000."""


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; a second signal ends at once."""
    configure_logs(settings.log_level, settings.log_format)
    warn_of_unknown_names()
    runtime = make_runtime(settings)
    warm_up = warm_up_job(settings, runtime)
    checker = content_checker(settings)
    models = model_fetcher(settings, runtime)
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(_serve(settings, runtime, warm_up, models, checker))
    except asyncio.CancelledError:
        raise SystemExit(1) from None


async def _serve(
    settings: Settings,
    runtime: Runtime,
    warm_up: Job | None,
    models: ModelFetcher | None,
    checker: ContentChecker | None,
) -> None:
    stop = _stop_on_signals()
    pod = _own_pod(settings)
    cloud = connect(
        settings.topic_arn,
        *settings.served.values(),
        bucket=settings.bucket,
        region=settings.region,
        # where several jobs may end together, but not once told to stop
        batching=lambda: runtime.concurrency > 1 and not stop.is_set(),
    )
    ports = Ports(
        {name: cloud.queue(url) for name, url in settings.served.items()},
        cloud.topic(settings.topic_arn),
        cloud.bucket(settings.bucket),
        cloud.bucket,
        {name: cloud.queue(url) for name, url in settings.on_demand.items()},
    )
    references = ReferenceFetcher(reference_policy(settings), cloud.bucket)
    webhooks = Webhooks(webhook_policy(settings), now=cloud.now)
    start = _Start(runtime)
    try:
        async with (
            exporting(
                telemetry_options(settings),
                runtime=settings.name,
                task_types=runtime.task_types,
                queues={name: url.rpartition("/")[2] for name, url in settings.served.items()},
            ) as exports,
            probes(
                start.readiness,
                host=settings.health_host,
                port=settings.health_port,
                restart=start.restart,
                exposition=exports.exposition,
                notes=start.notes,
            ),
        ):
            refusals = CloudRefusals(exports.telemetry.metrics)
            learning = _learning(settings, ports.results, runtime, cloud.now)
            seen = ports.watched(refusals)
            policies = await start.policies(seen.queues, settings, stop)
            if policies is not None:
                start.agent = agent = assemble(
                    _worker_policy(settings, policies, warm_up),
                    ports,
                    runtime,
                    references,
                    webhooks,
                    exports.telemetry,
                    order=by_rule(settings.queue_rule, [*settings.served], settings.shares),
                    models=models,
                    outputs=output_stage(
                        settings,
                        _content_check(settings, checker, seen.results, exports.telemetry.metrics),
                        exports.telemetry.metrics,
                    ),
                    refusals=refusals,
                    ran=learning.ran,
                    now=cloud.now,
                )
                _collect_seldom()
                log.info("started", runtime=settings.name, adapter=settings.runtime)
                offering = Offering(
                    seen.results,
                    settings.name,
                    runtime,
                    agent.health.started,
                    previews=preview_interval(settings) is not None,
                )
                presence = Presence(
                    ports.results,  # an agent that may not tell works all the same, and is healthy
                    settings.name,
                    f"{socket.gethostname()}-{secrets.token_hex(3)}",
                    agent.slots.scheduler,
                    now=cloud.now,
                )
                agent.slots.scheduler.others = presence.others
                async with (
                    learning.keeping(agent.health.started),
                    _marking_pod(agent, pod),
                    _looking(
                        cloud,
                        [*settings.served.values(), settings.topic_arn],
                        seen.results,
                        agent,
                        links=settings.presign,
                    ),
                    background(offering.keep()),
                    background(presence.keep()),
                ):
                    await _observed(agent, stop)
    finally:
        if pod is not None:
            await pod.aclose()
        await references.aclose()
        if models is not None:
            await models.aclose()
        if checker is not None:
            await checker.aclose()
        await webhooks.aclose()
        await runtime.aclose()
        await cloud.aclose()


def _content_check(
    settings: Settings, checker: ContentChecker | None, results: Bucket, metrics: Metrics
) -> ContentCheck | None:
    """The step that asks the operator's check, if there is one."""
    if checker is None:
        return None
    return ContentCheck(content_check_policy(settings), checker, results, metrics)


def _learning(
    settings: Settings, results: Bucket, runtime: Runtime, now: Callable[[], float]
) -> RunLearning:
    """What tells publishers what jobs take; a bucket that lets it not do so holds up nothing."""
    return RunLearning(
        results if settings.estimates else None,
        settings.name,
        f"{socket.gethostname()}-{secrets.token_hex(4)}",
        runtime,
        settings.gpu_price,
        now,
    )


def _collect_seldom() -> None:
    """Spare the collector what is here to stay, and have it look at more at a time.

    Jobs make many objects, of which few are cycles.
    """
    gc.freeze()
    gc.set_threshold(_OBJECTS_A_COLLECTION)


def _own_pod(settings: Settings) -> PodDeletionCost | None:
    if not settings.pod_deletion_cost:
        return None
    return PodDeletionCost.in_cluster(
        os.environ,
        do_not_disrupt=settings.pod_do_not_disrupt,
        watch_node=settings.pod_watch_node,
    )


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's event loop where there is one."""
    try:
        import uvloop  # noqa: PLC0415  not on every platform
    except ImportError:
        return None
    return uvloop.new_event_loop


@asynccontextmanager
async def _marking_pod(agent: Agent, pod: PodDeletionCost | None) -> AsyncIterator[None]:
    """Mark the pod while the agent is busy, if that is wanted."""
    if pod is None:
        yield
        return

    async with background(pod.follow(busy=agent.busy, idle=agent.idle)):
        yield


@asynccontextmanager
async def _looking(
    cloud: Cloud, addresses: Sequence[str], bucket: Bucket, agent: Agent, *, links: float
) -> AsyncIterator[None]:
    """Beside the work, look at what the operator must be told of clock, store and cloud."""
    clock = ClockWatch(cloud.now, agent.telemetry.metrics)
    key = trial_key(secrets.token_hex(8))
    async with (
        background(clock.watch()),
        background(shortcomings.warn(bucket, key, links=links)),
        background(shortcomings.warn_of_losses(cloud, addresses, bucket.name)),
    ):
        yield


async def _observed(agent: Agent, stop: asyncio.Event) -> None:
    """Run the agent, and watch what its metrics must ask for."""
    metrics = agent.telemetry.metrics
    if not metrics.exported:
        await agent.run(stop)
        return
    metrics.observe_gpu(agent.slots.gpu.seconds)
    metrics.observe_in_flight(agent.slots.counts)
    async with background(GaugeSampler(agent.queues.queues, agent.health, metrics).sample()):
        await agent.run(stop)


def _stop_on_signals() -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    main = asyncio.current_task()

    def handle() -> None:
        if stop.is_set() and main is not None:
            main.cancel()
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, handle)
    return stop


@dataclass
class _Start:
    """The way to an agent: what must be known of the queue, and what is missing until then."""

    runtime: Runtime
    agent: Agent | None = None
    waiting: str = "The queue has not answered yet."

    async def readiness(self) -> Mapping[str, str | None]:
        """The agent's own, once there is one."""
        if self.agent is not None:
            return await self.agent.readiness()
        runtime = Readiness.of(await self.runtime.ready())
        return {"runtime": missing(runtime), "queue": self.waiting}

    def notes(self) -> Mapping[str, JsonValue]:
        """What is told beside, and makes nothing missing."""
        return {} if self.agent is None else self.agent.notes()

    async def restart(self) -> tuple[bool, Mapping[str, str]]:
        """Whether the runtime should be started anew; before there is an agent, nobody knows."""
        if self.agent is None:
            return False, {"state": "unknown"}
        wanted, known = await self.agent.health.to_restart()
        return wanted, {"state": known.state, "reason": known.reason}

    async def policies(
        self, queues: Mapping[str, Queue], settings: Settings, stop: asyncio.Event
    ) -> Mapping[str, QueuePolicy] | None:
        """What the queues prescribe; waits for all, None if told to stop meanwhile."""
        asking = asyncio.create_task(self._policies(queues, settings))
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({asking, stopping}, return_when=asyncio.FIRST_COMPLETED)
            return asking.result() if asking.done() else None
        finally:
            for task in (asking, stopping):
                task.cancel()
            await asyncio.wait({asking, stopping})

    async def _policies(
        self, queues: Mapping[str, Queue], settings: Settings
    ) -> Mapping[str, QueuePolicy]:
        found = await together(
            self._policy(name, queue, settings) for name, queue in queues.items()
        )
        return dict(zip(queues, found, strict=True))

    async def _policy(self, name: str, queue: Queue, settings: Settings) -> QueuePolicy:
        pause = _POLICY_PAUSE
        while True:
            try:
                return await queue.policy()
            except Unavailable as error:
                self.waiting = f"{name}: {error.message}" if name else error.message
                if error.type == "cloud_unauthorized" and settings.visibility_timeout:
                    return QueuePolicy(settings.visibility_timeout)
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_POLICY_PAUSE)


def _worker_policy(
    settings: Settings, queues: Mapping[str, QueuePolicy], warm_up: Job | None
) -> Policy:
    """What settings and queues prescribe together; the shortest lease is every queue's."""
    lease = settings.visibility_timeout or min(it.visibility_timeout for it in queues.values())
    allowances = {
        name: Allowance(it.max_receives or settings.max_receives, it.max_receives is not None)
        for name, it in queues.items()
    }
    first = next(iter(allowances.values()))
    return Policy(
        runtime_name=settings.name,
        serves=settings.runtime_name,
        lease=max(_SHORTEST_LEASE, lease),
        max_receives=first.max_receives,
        has_dead_letter_queue=first.has_dead_letter_queue,
        allowances=allowances,
        run_timeout=settings.run_timeout,
        run_timeouts=settings.run_timeout_by_type,
        store_patience=settings.store_patience,
        retry_delay=settings.retry_delay,
        hold_limit=settings.hold_limit,
        on_late=settings.on_late,
        by_deadline=settings.by_deadline,
        tenant_in_flight=settings.tenant_in_flight,
        tenant_strict=settings.tenant_strict,
        gpu_price=settings.gpu_price,
        look_ahead=settings.look_ahead,
        cancel_poll=settings.cancel_poll,
        pause_poll=settings.pause_poll,
        receive_wait=settings.receive_wait,
        prefetch=settings.prefetch,
        grace=settings.shutdown_grace,
        max_jobs=settings.max_jobs,
        idle_limit=settings.idle_limit,
        progress_interval=settings.progress_interval if settings.notify_running else None,
        preview_interval=preview_interval(settings),
        checkpoint_limit=settings.checkpoint_limit,
        checkpoint_every=settings.checkpoint_every,
        presign=settings.presign,
        warm_up=warm_up,
        keep_warm=settings.keep_warm,
    )
