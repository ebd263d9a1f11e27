"""Carries out the plan of a chaos run: pods of an agent and a runtime before one cloud."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from benchmarks.chaos_plan import FaultKind, Kind, Plan, PlannedJob, Strike
from faults import striking
from faults.ledger import Balance
from faults.rig import Rig, rigged, runs_of
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
from queue_agent.testing.process import ServerProcess

LEASE: Final = 5
MAX_RECEIVES: Final = 10
PATIENCE: Final = 400.0
"""Seconds that may pass after the last fault until everything is answered."""
_LOOK: Final = 0.05
_STEP_SECONDS: Final = "0.02"
_ENDS: Final = {
    Kind.CANCELLED: {"cancelled", "completed", "failed"},
    Kind.EXPIRED: {"expired"},
    Kind.POISON: {"failed"},
    Kind.MISROUTED: {"failed"},
    Kind.MALFORMED: {"failed"},
}
_POISON: Final = "poison"
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
}


@dataclass
class Pod:
    """An agent with a runtime of its own behind a proxy of its own."""

    agent: Agent
    webui: ServerProcess
    proxy: FaultProxy
    past_runs: list[JsonObject] = field(default_factory=list)
    """Of runtimes that were killed."""
    restarting: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def runs(self) -> list[JsonObject]:
        return [*self.past_runs, *await runs_of(self.webui)]

    async def restart_runtime(self) -> None:
        async with self.restarting:
            self.past_runs += await runs_of(self.webui)
            self.webui.kill()
            await asyncio.to_thread(self.webui.start)


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

    def recoveries(self, fault: FaultKind) -> list[float]:
        """Seconds from the end of each such fault until all was answered that was open then."""
        return sorted(
            max([self.answers[job_id][0][0] - blow.ended for job_id in blow.open_jobs], default=0.0)
            for blow in self.blows
            if blow.strike.fault is fault
        )

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
        self._blows: list[Blow] = []
        self._answers: dict[str, list[tuple[float, JsonObject]]] = {}

    async def run(self) -> Outcome:
        """Carry out the plan; raises AssertionError when it does not settle."""
        async with background(self._listen()):
            async with asyncio.TaskGroup() as doing:
                for publication in self._plan.publications:
                    doing.create_task(self._publish(publication))
                for strike in self._plan.strikes:
                    doing.create_task(self._strike(strike))
            await self._settle()
            await asyncio.sleep(2 * _LOOK)
        runs = [run for pod in self._pods for run in await pod.runs()]
        balance = await self._rig.ledger.reconcile(self._rig.scene, runs)
        idle_exits = [await _seconds_to_exit(pod.agent) for pod in self._pods]
        twice = frozenset(p.name for p in self._plan.publications if p.kind is Kind.TWICE)
        crashes = sum(len(pod.agent.crashes) for pod in self._pods)
        return Outcome(balance, self._blows, self._answers, runs, twice, idle_exits, crashes)

    async def _settle(self) -> None:
        """Wait until nothing is open, or for as long as patience lasts: the ledger will tell."""

        async def settled() -> bool:
            answered = not self._rig.ledger.unanswered(self._rig.scene)
            return answered and await self._rig.scene.depth() == (0, 0)

        try:
            await until(settled, what="the end", timeout=PATIENCE)
        except AssertionError as error:
            print(error)

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
            self._rig.ledger.enter(await self._rig.scene.send(f"{name}: no JSON"), _ENDS[kind])
            return
        if kind is Kind.POISON:
            name = f"{name}-{_POISON}"
        if kind in {Kind.GOOD, Kind.TWICE}:
            self._good.add(name)
        metadata = {}
        if kind is Kind.EXPIRED:
            metadata["expires_at"] = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()
        if kind is Kind.MISROUTED:
            metadata["tasktype"] = "no-such-task"
        ends = _ENDS.get(kind, {"completed", "failed"})
        for _ in range(1 + (kind is Kind.TWICE)):
            await self._rig.publish_as(name, steps=publication.steps, ends=ends, **metadata)
        if kind is Kind.CANCELLED:
            await self._at(publication.at + publication.patience)
            await self._rig.cancel(name)

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
            case FaultKind.RUNTIME_500 | FaultKind.RUNTIME_HANG:
                fault = _PROXY_FAULTS[strike.fault]
                with pod.proxy.fault(fault, striking.GENERATIONS):
                    await asyncio.sleep(strike.length)
            case _:
                fault = _PROXY_FAULTS[strike.fault]
                with self._rig.cloud.fault(fault, _OPERATIONS[strike.operation]):
                    await asyncio.sleep(strike.length)

    async def _at(self, moment: float) -> None:
        await asyncio.sleep(self._start + moment - time.time())


async def _seconds_to_exit(agent: Agent) -> float:
    ends = len(agent.exits) + 1
    start = time.monotonic()
    agent.terminate()
    await agent.ended(times=ends)
    return time.monotonic() - start


@asynccontextmanager
async def staged(plan: Plan, folder: Path, pods: int) -> AsyncIterator[Chaos]:
    """An emulated cloud and so many pods, for one run."""
    async with AsyncExitStack() as stack:
        embedded = EmbeddedCloud(log=folder / "cloud.log")
        await asyncio.to_thread(embedded.start)
        stack.callback(embedded.stop)
        webuis = [webui_process("--step-seconds", _STEP_SECONDS) for _ in range(pods)]
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
        agents = [
            await rig.agent(
                QUEUE_AGENT_RUNTIME_URL=proxy.url,
                QUEUE_AGENT_LOG_LEVEL="INFO",
                QUEUE_AGENT_RUN_TIMEOUT="5",
                QUEUE_AGENT_SHUTDOWN_GRACE="2",
            )
            for proxy in proxies
        ]
        made = [Pod(*parts) for parts in zip(agents, webuis, proxies, strict=True)]
        yield Chaos(plan, rig, made)
