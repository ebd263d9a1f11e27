"""Carries out the plan of a chaos run: pods of an agent and a runtime before one cloud."""

import asyncio
import random
import signal
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, cast

from benchmarks.chaos_plan import INNOCENT, FaultKind, Kind, Plan, PlannedJob, Strike
from benchmarks.chaos_pod import EndsRuntime, Pod
from faults import striking
from faults.ledger import Balance
from faults.rig import Rig, rigged
from faults.supervisor import Agent
from harness import JsonObject, until, webui_process
from queue_agent.tasks import background
from queue_agent.testing.aws import EmbeddedCloud
from queue_agent.testing.fault_proxy import (
    BlackHole,
    Delay,
    Fault,
    FaultProxy,
    LoseAnswer,
    Matcher,
    Reset,
    Status,
)
from queue_agent.testing.nats import NatsServer
from queue_agent.testing.process import HOST, free_port
from queue_agent.wire.errors import Unavailable
from queue_agent.worker.retry import retry_for

LEASE: Final = 5
MAX_RECEIVES: Final = 10
PATIENCE: Final = 240.0
"""Seconds that may pass after the last fault without an answer to anybody."""
_LOOK: Final = 0.05
_STEP_SECONDS: Final = "0.02"
_ENDS: Final = {
    Kind.CANCELLED: {"cancelled", "completed", "failed"},
    Kind.EXPIRED: {"expired"},
    Kind.POISON: {"failed"},
    Kind.KILLER: {"failed"},
    Kind.MISROUTED: {"failed"},
    Kind.MALFORMED: {"failed"},
}
_POISON: Final = "poison"
_KILLER: Final = "killer"
_TENANTS: Final = 5
"""Whose jobs are, by their names; those of one are nobody's."""
_REFUSED: Final = Status(
    403,
    b"<ErrorResponse><Error><Code>AccessDenied</Code><Message>by chaos</Message></Error>"
    b"</ErrorResponse>",
    {"content-type": "text/xml"},
)
_LARGE: Final = {"width": 1024, "height": 1024, "batch_size": 4}
"""Some MB each."""
_BROKEN_PATIENCE: Final = 60.0
"""Seconds until a runtime that is stuck or sick is restarted by hand."""
_OPERATIONS: Final[dict[str, Matcher]] = {
    "receive": striking.RECEIVE,
    "heartbeat": striking.HEARTBEAT,
    "delete": striking.DELETE,
    "publish": striking.PUBLISH,
    "image": striking.ARTIFACTS,
    "manifest": striking.MANIFESTS,
    "S3": striking.S3,
}
_PROXY_FAULTS: Final[dict[FaultKind, Fault]] = {
    FaultKind.RUNTIME_500: Status(500),
    FaultKind.RUNTIME_HANG: BlackHole(),
    FaultKind.CLOUD_503: Status(503),
    FaultKind.CLOUD_RESET: Reset(),
    FaultKind.CLOUD_SLOW: Delay(1.0),
    FaultKind.CLOUD_LOST: LoseAnswer(),
    FaultKind.CLOUD_REFUSES: _REFUSED,
    FaultKind.SERVER_LOST: LoseAnswer(),
}
_LATENCY: Final = 0.2


@dataclass(frozen=True)
class Blow:
    """A strike as it was; times are those of `time.time`."""

    strike: Strike
    begun: float
    ended: float
    open_jobs: frozenset[str]
    """The good jobs without an answer when it ended."""


@dataclass
class Outcome:
    """All that a run has shown."""

    balance: Balance
    blows: list[Blow]
    answers: dict[str, list[tuple[float, JsonObject]]]
    """By id: when each final notification was heard."""
    runs: list[JsonObject]
    published_twice: frozenset[str]
    idle_exits: list[float]
    """Seconds from SIGTERM to the end of agents that had nothing to do."""
    crashes: int
    """How often an agent ended by itself."""
    innocents: frozenset[str]
    """The jobs that must end with their images."""
    runtime_deaths: int
    probe_restarts: int
    """How often a runtime was restarted because its agent called it stuck or sick."""
    unseen: int
    """How often that had to be done by hand."""
    memory_mb: float
    """The most that one of the agents at the end had taken."""

    @property
    def punished(self) -> list[str]:
        """The innocents that were told to have failed."""
        return sorted(
            job_id
            for job_id in self.innocents
            if any(told["status"] != "completed" for _, told in self.answers.get(job_id, ()))
        )

    @property
    def generated_twice(self) -> list[str]:
        """The jobs published twice that were generated more than once."""
        generations = self.balance.generations
        return sorted(job_id for job_id in self.published_twice if generations.get(job_id, 0) > 1)

    def recoveries(self, fault: FaultKind) -> list[float]:
        """Seconds from the end of each such fault until all was answered that was open then."""
        return sorted(
            max([self._answered(job_id) - blow.ended for job_id in blow.open_jobs], default=0.0)
            for blow in self.blows
            if blow.strike.fault is fault
        )

    def _answered(self, job_id: str) -> float:
        """When a job was answered; never, where it was not."""
        return self.answers[job_id][0][0] if job_id in self.answers else float("inf")

    def blamed(self, moments: Iterable[float], fault: FaultKind) -> int:
        """How many of the moments were preceded most closely by the beginning of such a fault."""
        count = 0
        for moment in moments:
            before = [blow for blow in self.blows if blow.begun <= moment]
            latest = max(before, key=lambda blow: blow.begun, default=None)
            count += latest is not None and latest.strike.fault is fault
        return count


class Chaos:
    """One run: publishes and strikes by plan, then waits until everything has settled."""

    def __init__(self, plan: Plan, rig: Rig, pods: list[Pod]) -> None:
        self._plan = plan
        self._rig = rig
        self._pods = pods
        self._start = time.time()
        self._good: set[str] = set()
        self._unseen = 0
        self._server = asyncio.Lock()
        self._blows: list[Blow] = []
        self._answers: dict[str, list[tuple[float, JsonObject]]] = {}

    async def run(self) -> Outcome:
        """Carry out the plan; raises AssertionError when it does not settle."""
        async with AsyncExitStack() as beside:
            await beside.enter_async_context(background(self._listen()))
            for pod in self._pods:
                await beside.enter_async_context(pod.probed())
            async with asyncio.TaskGroup() as doing:
                for publication in self._plan.publications:
                    doing.create_task(self._publish(publication))
                for strike in self._plan.strikes:
                    doing.create_task(self._strike(strike))
            await self._settle()
            await asyncio.sleep(2 * _LOOK)
        runs = [run for pod in self._pods for run in await pod.runs()]
        balance = await self._rig.ledger.reconcile(self._rig.scene, runs)
        memory = max(pod.memory_mb() for pod in self._pods)
        idle_exits = [await _seconds_to_exit(pod.agent) for pod in self._pods]
        twice = frozenset(p.name for p in self._plan.publications if p.kind is Kind.TWICE)
        crashes = sum(len(pod.agent.crashes) for pod in self._pods)
        return Outcome(
            balance,
            self._blows,
            self._answers,
            runs,
            twice,
            idle_exits,
            crashes,
            innocents=frozenset(self._good),
            runtime_deaths=sum(pod.deaths for pod in self._pods),
            probe_restarts=sum(pod.probe_restarts for pod in self._pods),
            unseen=self._unseen,
            memory_mb=memory,
        )

    async def _settle(self) -> None:
        """Wait until nothing is open, or nobody is answered for long: the ledger will tell."""

        async def settled() -> bool:
            if self._rig.ledger.unanswered(self._rig.scene):
                return False
            with suppress(Unavailable):
                return await self._rig.scene.depth() == (0, 0)
            return False

        answers = -1
        while len(self._answers) > answers:
            answers = len(self._answers)
            try:
                await until(settled, what="the end", timeout=PATIENCE)
            except AssertionError as error:
                print(error)
            else:
                break

    async def _listen(self) -> None:
        seen = 0
        while True:
            heard = self._rig.scene.notifications
            for notification in heard[seen:]:
                self._answers.setdefault(notification["id"], []).append((time.time(), notification))
            seen = len(heard)
            await asyncio.sleep(_LOOK)

    async def _publish(self, publication: PlannedJob) -> None:
        await self._at(publication.at)
        kind, name = publication.kind, publication.name
        if kind is Kind.MALFORMED:
            sent = await retry_for(PATIENCE, lambda: self._rig.scene.send(f"{name}: no JSON"))
            self._rig.ledger.enter(sent, _ENDS[kind])
            return
        if kind is Kind.POISON:
            name = f"{name}-{_POISON}"
        if kind is Kind.KILLER:
            name = f"{name}-{_KILLER}"
        if kind in INNOCENT:
            self._good.add(name)
        metadata = {}
        if owner := sum(name.encode()) % _TENANTS:
            metadata["tenant"] = f"tenant-{owner}"
        if kind is Kind.EXPIRED:
            metadata["expires_at"] = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()
        if kind is Kind.MISROUTED:
            metadata["tasktype"] = "no-such-task"
        ends = _ENDS.get(kind, {"completed", "failed"})
        size = _LARGE if kind is Kind.LARGE else {}
        await asyncio.gather(
            *(
                self._rig.publish_as(
                    name, steps=publication.steps, ends=ends, content=size, **metadata
                )
                for _ in range(1 + (kind is Kind.TWICE))
            )
        )
        if kind is Kind.CANCELLED:
            await self._at(publication.at + publication.patience)
            await retry_for(PATIENCE, lambda: self._rig.cancel(name))

    async def _strike(self, strike: Strike) -> None:
        await self._at(strike.at)
        begun = time.time()
        await self._do(strike)
        unanswered = frozenset(self._good - self._answers.keys())
        self._blows.append(Blow(strike, begun, time.time(), unanswered))

    async def _do(self, strike: Strike) -> None:
        pod = self._pods[strike.pod]
        match strike.fault:
            case FaultKind.KILL:
                pod.agent.kill()
            case FaultKind.TERM:
                pod.agent.send(signal.SIGTERM)
            case FaultKind.FREEZE:
                pod.agent.send(signal.SIGSTOP)
                await asyncio.sleep(LEASE + strike.length)
                pod.agent.send(signal.SIGCONT)
            case FaultKind.RUNTIME_RESTART:
                await pod.restart_runtime()
            case FaultKind.RUNTIME_STUCK | FaultKind.RUNTIME_SICK:
                kind = "hang" if strike.fault is FaultKind.RUNTIME_STUCK else "cuda"
                seen = await pod.break_runtime(kind, patience=_BROKEN_PATIENCE)
                self._unseen += not seen
            case FaultKind.RUNTIME_500 | FaultKind.RUNTIME_HANG:
                fault = _PROXY_FAULTS[strike.fault]
                with pod.proxy.fault(fault, striking.GENERATIONS):
                    await asyncio.sleep(strike.length)
            case FaultKind.SERVER_KILLED | FaultKind.SERVER_AWAY | FaultKind.SERVER_FROZEN:
                async with self._server:
                    await self._strike_server(strike)
            case FaultKind.SERVER_SLOW:
                self._rig.cloud.latency = _LATENCY
                await asyncio.sleep(strike.length)
                self._rig.cloud.latency = 0.0
            case FaultKind.SERVER_CUT:
                self._rig.cloud.cut()
            case _:
                fault = _PROXY_FAULTS[strike.fault]
                with self._rig.cloud.fault(fault, _OPERATIONS[strike.operation]):
                    await asyncio.sleep(strike.length)

    async def _strike_server(self, strike: Strike) -> None:
        server = cast("NatsServer", self._rig.scene.embedded)
        if strike.fault is FaultKind.SERVER_FROZEN:
            server.freeze()
            await asyncio.sleep(LEASE + strike.length)
            server.send_signal(signal.SIGCONT)
            return
        server.kill()
        if strike.fault is FaultKind.SERVER_AWAY:
            await asyncio.sleep(strike.length)
        await asyncio.to_thread(server.start)

    async def _at(self, moment: float) -> None:
        await asyncio.sleep(self._start + moment - time.time())


async def _seconds_to_exit(agent: Agent) -> float:
    ends = len(agent.exits) + 1
    start = time.monotonic()
    agent.terminate()
    await agent.ended(times=ends)
    return time.monotonic() - start


@asynccontextmanager
async def staged(plan: Plan, folder: Path, pods: int, cloud: str) -> AsyncIterator[Chaos]:
    """A cloud on this machine and so many pods, for one run."""
    async with AsyncExitStack() as stack:
        log = folder / "cloud.log"
        embedded = (
            NatsServer(folder / "nats", log=log) if cloud == "nats" else EmbeddedCloud(log=log)
        )
        await asyncio.to_thread(embedded.start)
        stack.callback(embedded.stop)
        webuis = [
            webui_process("--step-seconds", _STEP_SECONDS, "--noise", "1") for _ in range(pods)
        ]
        for webui in webuis:
            stack.callback(webui.stop)
            await asyncio.to_thread(webui.start)
        rig = await stack.enter_async_context(
            rigged(embedded, webuis[0], folder, visibility_timeout=LEASE, max_receives=MAX_RECEIVES)
        )
        proxies = [await stack.enter_async_context(FaultProxy(webui.url)) for webui in webuis]
        for proxy in proxies:
            poison = striking.both(striking.GENERATIONS, striking.naming(_POISON))
            stack.enter_context(proxy.fault(Status(500), poison))
        ports = [free_port() for _ in proxies]
        agents = [
            await rig.agent(
                QUEUE_AGENT_RUNTIME_URL=proxy.url,
                QUEUE_AGENT_LOG_LEVEL="INFO",
                QUEUE_AGENT_RUN_TIMEOUT="5",
                QUEUE_AGENT_SHUTDOWN_GRACE="2",
                QUEUE_AGENT_RETRY_DELAY="0.25",  # of ten deliveries the last two minutes later
                QUEUE_AGENT_HEALTH_HOST=HOST,
                QUEUE_AGENT_HEALTH_PORT=str(port),
            )
            for proxy, port in zip(proxies, ports, strict=True)
        ]
        made = [Pod(*parts) for parts in zip(agents, ports, webuis, proxies, strict=True)]
        killers = striking.both(striking.GENERATIONS, striking.naming(_KILLER))
        for number, pod in enumerate(made):
            kills = EndsRuntime(pod, random.Random(number))  # noqa: S311  no secret
            stack.enter_context(pod.proxy.fault(kills, killers))
        yield Chaos(plan, rig, made)
