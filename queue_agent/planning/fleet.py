"""One fleet of GPU pods at work on a queue of its own, event by event."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from random import Random

from queue_agent.planning.autoscaler import Autoscaler
from queue_agent.planning.event_queue import EventQueue
from queue_agent.planning.ordering import (
    FIRST_COME,
    JobOrder,
    PodAgent,
    SimulatedQueue,
    SimulatedRun,
)
from queue_agent.planning.policy import FleetPolicy
from queue_agent.scaling.tracker import WorkTracker
from queue_agent.wire.capacity import SPOT_WARNING


@dataclass(frozen=True, slots=True)
class GpuNode:
    """A kind of instance: its GPUs, and its price in USD an hour."""

    gpus: int
    usd: float


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What a policy does not decide. Durations in seconds, prices in USD."""

    nodes: Sequence[GpuNode] = (GpuNode(1, 0.8048), GpuNode(4, 4.6016), GpuNode(8, 13.3504))
    """From small to large; the first one is what a pod alone gets."""
    node_start: float = 60
    """From Karpenter's call to a node that takes pods."""
    image_pull: float = 30
    """On a node that has not had the pod's image."""
    model_load: float = 30
    """From the start of a pod's containers to its first job."""
    interruptions: float = 0
    """Of a spot node, each hour."""
    seed: int = 1

    @property
    def pod_start(self) -> float:
        """From the wish for a pod to its first job, on a new node."""
        return self.node_start + self.image_pull + self.model_load


@dataclass(slots=True)
class FleetOutcome:
    """What a simulated fleet did."""

    policy: str
    waits: list[float] = field(default_factory=list)
    """Of each finished job, seconds from its arrival to its end beyond its own length; sorted."""
    gpu_seconds: float = 0
    """Paid, with GPUs of a node that no pod has."""
    busy_seconds: float = 0
    """Of finished jobs."""
    usd: float = 0
    killed: int = 0
    """Runs that were cut off, and done again."""
    pods_started: int = 0
    nodes_started: int = 0
    most_pods: int = 0
    ended: float = 0
    """When the last job did."""
    with_deadline: int = 0
    """Finished jobs that were wanted by some moment."""
    missed: int = 0
    """Those of them that ended later."""
    switches: int = 0
    """Loads of another model."""
    pods_over_time: list[tuple[float, int]] = field(default_factory=list)

    def wait(self, percent: float) -> float:
        """The shortest wait that so many percent of the jobs do not exceed (nearest rank)."""
        rank = -(-len(self.waits) * percent // 100)
        return self.waits[max(0, int(rank) - 1)]

    @property
    def mean_wait(self) -> float:
        """Of all jobs."""
        return sum(self.waits) / len(self.waits)

    @property
    def usd_per_1000(self) -> float:
        """USD for 1,000 jobs."""
        return 1000 * self.usd / len(self.waits)


@dataclass(eq=False, slots=True)
class _Node:
    kind: GpuNode
    since: float
    ready_at: float
    pods: set["_Pod"] = field(default_factory=set)
    emptied: float = 0
    taken: bool = False
    """By EC2: no pod comes here any more."""

    @property
    def free(self) -> int:
        return 0 if self.taken else self.kind.gpus - len(self.pods)


@dataclass(eq=False, slots=True)
class _Pod:
    node: _Node
    created: float
    ready: bool = False
    leaving: bool = False
    run: SimulatedRun | None = None
    agent: PodAgent = field(default_factory=lambda: PodAgent(FIRST_COME))
    ends: float = 0
    """When the runtime is done with what it has."""
    submitted: tuple[SimulatedRun, float] | None = None
    """With the runtime, after the one that runs; seconds that it loads a model for."""


class SimulatedFleet:
    """Pods, and the nodes under them, that serve one queue."""

    def __init__(
        self,
        policy: FleetPolicy,
        circumstances: Circumstances,
        events: EventQueue,
        ended: Callable[[], None],
        *,
        leaves: Callable[[SimulatedRun], bool] = lambda _: False,
        order: JobOrder | None = None,
    ) -> None:
        """`ended` is told of each job's end, and `leaves` asked, when an attempt was cut off,
        whether it has taken the job elsewhere. By an `order`, pods hold and choose as agents do;
        else each takes what comes first when it has nothing."""
        self._order = order
        self._policy = policy
        self._given = circumstances
        self._events = events
        self._ended = ended
        self._leaves = leaves
        self._random = Random(circumstances.seed)  # noqa: S311 — no secret
        self._queue = SimulatedQueue()
        self._in_flight = 0
        self._pods: dict[_Pod, None] = {}
        self._idle: dict[_Pod, None] = {}
        self._nodes: dict[_Node, None] = {}
        self._hpa = Autoscaler(policy)
        self._tracker = None if policy.work is None else WorkTracker(policy.work)
        self._active_at = 0.0
        self._outcome = FleetOutcome(policy.name)

    def begin(self) -> None:
        """Start the pods that are always there, and have KEDA and the HPA look."""
        self._scale(self._policy.min_pods, warm=True)
        self._poll()
        self._events.at(self._policy.sync, self._look)

    def close(self) -> FleetOutcome:
        """Remove all nodes; what the fleet did."""
        for node in list(self._nodes):
            self._remove(node)
        self._outcome.waits.sort()
        return self._outcome

    @property
    def at_rest(self) -> bool:
        """Whether no more pods and nodes are left than are to stay."""
        return len(self._pods) <= self._policy.min_pods and all(it.pods for it in self._nodes)

    @property
    def waiting(self) -> int:
        """Jobs in its queue."""
        return len(self._queue)

    @property
    def in_flight(self) -> int:
        """Jobs on its GPUs."""
        return self._in_flight

    # Jobs

    def take(self, run: SimulatedRun) -> None:
        """One more job in the queue."""
        self._queue.put(run, self._events.now)
        self._hand_out()

    def _hand_out(self) -> None:
        while self._queue and self._idle:
            # of several that ask, anybody gets it
            asking = list(self._idle) if self._order is not None else ()
            pod = self._random.choice(asking) if asking else next(iter(self._idle))
            del self._idle[pod]
            self._receive(pod)
            self._advance(pod)

    def _receive(self, pod: _Pod) -> None:
        pod.agent.held.append(self._queue.take(self._events.now))
        self._in_flight += 1

    def _advance(self, pod: _Pod) -> None:
        """Give the runtime what it has room for: one that runs and, by an order, another."""
        now, agent = self._events.now, pod.agent
        if pod.run is None:
            if pod.submitted is None and (run := agent.next(now, now)) is not None:
                pod.submitted = run, agent.load(run)
            if pod.submitted is None:
                self._idle[pod] = None
                return
            (pod.run, loads), pod.submitted = pod.submitted, None
            pod.ends = now + pod.run.job.seconds + loads
            self._outcome.switches += loads > 0
            self._outcome.busy_seconds += loads
            self._events.at(pod.ends - now, partial(self._finish, pod, pod.run))
            if self._order is not None:
                self._events.at(agent.asks_after(loads), partial(self._ask, pod, pod.run))
        if self._order is None or pod.submitted is not None:
            return
        if (run := agent.next(now, pod.ends)) is not None:
            loads = agent.load(run)
            pod.submitted = run, loads
            pod.ends += loads + run.job.seconds

    def _ask(self, pod: _Pod, run: SimulatedRun) -> None:
        """The run is about to end, by what runs take: another is asked for."""
        if pod.run is run and pod.submitted is None and not pod.leaving:
            self._idle[pod] = None
            self._hand_out()

    def _look_ahead(self, pod: _Pod) -> None:
        """Take more to choose from, or give back what others would begin with sooner."""
        now = self._events.now
        more = min(pod.agent.wanted(now, pod.ends), len(self._queue) // max(1, len(self._pods)))
        for _ in range(more):
            self._receive(pod)
        if not self._queue and len(self._pods) > 1:
            self._give_back(pod.agent.given_back(now, pod.ends))
        self._advance(pod)

    def _give_back(self, runs: Sequence[SimulatedRun]) -> None:
        for run in runs:
            self._in_flight -= 1
            self._queue.put(run, self._events.now)
        self._hand_out()

    def _finish(self, pod: _Pod, run: SimulatedRun) -> None:
        if pod.run is not run:
            return  # it was cut off
        pod.run = None
        self._in_flight -= 1
        self._queue.done(run, self._events.now)
        pod.agent.forecast.observe_run(None, run.job.seconds)
        outcome = self._outcome
        outcome.waits.append(max(0.0, self._events.now - run.arrived - run.job.seconds))
        outcome.busy_seconds += run.job.seconds
        outcome.ended = self._events.now
        if run.job.within is not None:
            outcome.with_deadline += 1
            outcome.missed += self._events.now > run.arrived + run.job.within
        self._ended()
        if pod.leaving:
            self._leave(pod)
        else:
            self._take_work(pod)

    def _take_work(self, pod: _Pod) -> None:
        self._idle.pop(pod, None)
        self._advance(pod)
        if pod.run is not None and self._order is not None:
            self._look_ahead(pod)
        self._hand_out()

    # Scaling

    def _messages(self) -> int:
        return len(self._queue) + self._in_flight

    def _wanted(self) -> int:
        """What `queue-agent scaler` answers; nothing where it is not asked."""
        if self._tracker is None:
            return 0
        waiting, seconds = len(self._queue), self._policy.job_seconds
        self._tracker.look(self._events.now, waiting, self._in_flight, seconds)
        return self._tracker.pods

    def _poll(self) -> None:
        """KEDA: from zero and, where no pods are to stay, to zero."""
        wanted = self._wanted()
        if self._messages() or wanted:
            self._active_at = self._events.now
            if not self._pods:
                self._scale(1)
        elif (
            not self._policy.min_pods
            and self._events.now - self._active_at >= self._policy.cooldown
        ):
            self._scale(0)
        self._events.at(self._policy.polling_interval, self._poll)

    def _look(self) -> None:
        """The HPA, which is there while there are pods."""
        if self._pods:
            pods, wanted = len(self._pods), self._wanted()
            self._scale(self._hpa.desired(self._events.now, self._messages(), pods, wanted=wanted))
        self._events.at(self._policy.sync, self._look)

    def _scale(self, wanted: int, *, warm: bool = False) -> None:
        change = wanted - len(self._pods)
        if change == 0:
            return
        if change > 0:
            self._start(change, warm=warm)
        else:
            for pod in sorted(self._pods, key=self._first_to_go)[:-change]:
                self._stop(pod, self._policy.grace)
        outcome = self._outcome
        outcome.most_pods = max(outcome.most_pods, len(self._pods))
        outcome.pods_over_time.append((self._events.now, len(self._pods)))

    def _first_to_go(self, pod: _Pod) -> tuple[bool, bool, float]:
        """The ReplicaSet's order: what is not ready, what costs less to delete, what is newest."""
        return pod.ready, self._policy.spares_busy and pod.run is not None, -pod.created

    def _start(self, number: int, *, warm: bool) -> None:
        free = [node for node in self._nodes for _ in range(node.free)]
        waiting = number - len(free)
        while waiting > 0:
            node = self._new_node(waiting, warm=warm)
            free += [node] * min(waiting, node.kind.gpus)
            waiting -= node.kind.gpus
        for node in free[:number]:
            pod = _Pod(node, self._events.now, agent=PodAgent(self._order or FIRST_COME))
            node.pods.add(pod)
            self._pods[pod] = None
            self._outcome.pods_started += 1
            if warm:
                self._become_ready(pod)
            else:
                boots = max(0.0, node.ready_at - self._events.now)
                self._events.at(boots + self._given.model_load, partial(self._become_ready, pod))

    def _new_node(self, waiting: int, *, warm: bool) -> _Node:
        kinds = self._given.nodes[:1] if self._policy.one_gpu_nodes else self._given.nodes
        kind = next((it for it in kinds if it.gpus >= waiting), kinds[-1])
        boots = 0.0 if warm else self._given.node_start + self._given.image_pull
        node = _Node(kind, self._events.now, self._events.now + boots)
        self._nodes[node] = None
        self._outcome.nodes_started += 1
        if self._given.interruptions:
            lasts = self._random.expovariate(self._given.interruptions / 3600)
            self._events.at(lasts, partial(self._interrupt, node))
        return node

    def _become_ready(self, pod: _Pod) -> None:
        if not pod.leaving:
            pod.ready = True
            self._take_work(pod)

    # Going

    def _stop(self, pod: _Pod, grace: float) -> None:
        pod.leaving = True
        del self._pods[pod]
        self._idle.pop(pod, None)
        ahead = [pod.submitted[0]] if pod.submitted else []
        pod.submitted, waiting = None, [*ahead, *pod.agent.held]
        pod.agent.held.clear()
        self._give_back(waiting)
        if pod.run is None:
            self._leave(pod)
        else:
            self._events.at(grace, partial(self._cut_off, pod, pod.run))

    def _cut_off(self, pod: _Pod, run: SimulatedRun) -> None:
        """The job is back in the queue, and the first to be taken again."""
        if pod.run is not run:
            return
        pod.run = None
        self._in_flight -= 1
        self._outcome.killed += 1
        run.lost += 1
        if self._leaves(run):
            self._queue.done(run, self._events.now)
        else:
            self._queue.put_first(run, self._events.now)
        self._leave(pod)
        self._hand_out()

    def _leave(self, pod: _Pod) -> None:
        node = pod.node
        node.pods.discard(pod)
        if not node.pods:
            node.emptied = self._events.now
            wait = self._policy.consolidate_after
            self._events.at(wait, partial(self._consolidate, node, self._events.now))

    def _consolidate(self, node: _Node, emptied: float) -> None:
        if not node.pods and node.emptied == emptied:
            self._remove(node)

    def _interrupt(self, node: _Node) -> None:
        """EC2 takes a spot node: its pods have two minutes, and others come elsewhere."""
        if node not in self._nodes:
            return
        pods = len(self._pods)
        for pod in [pod for pod in node.pods if not pod.leaving]:
            self._stop(pod, min(self._policy.grace, SPOT_WARNING))
        node.taken = True
        self._events.at(SPOT_WARNING, partial(self._remove, node))
        self._scale(pods)

    def _remove(self, node: _Node) -> None:
        if node in self._nodes:
            del self._nodes[node]
            lasted = self._events.now - node.since
            self._outcome.gpu_seconds += lasted * node.kind.gpus
            self._outcome.usd += lasted / 3600 * node.kind.usd
