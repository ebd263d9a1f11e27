"""One fleet of GPU pods at work on queues of its own, event by event."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random

from queue_agent.planning.autoscaler import Autoscaler
from queue_agent.planning.event_queue import EventQueue
from queue_agent.planning.nodes import Circumstances, Node, Nodes
from queue_agent.planning.ordering import ONE_QUEUE, ONLY, JobOrder, SimulatedQueue, SimulatedRun
from queue_agent.planning.outcome import FleetOutcome
from queue_agent.planning.pod_agent import PodAgent
from queue_agent.planning.pod_queues import PodQueues
from queue_agent.planning.policy import FleetPolicy
from queue_agent.scaling.tracker import WorkTracker
from queue_agent.wire.capacity import SPOT_WARNING


@dataclass(eq=False, slots=True)
class _Pod:
    node: Node
    created: float
    agent: PodAgent | None
    """None: it takes what comes first when it has nothing."""
    queues: PodQueues
    ready: bool = False
    leaving: bool = False
    run: SimulatedRun | None = None
    """On its GPU."""
    model: str = ""
    """That is loaded there."""
    asked: float = 0
    """When it began to ask for what it waits for."""
    woken: int = 0
    """How often it was; a time set before it was is void."""


class SimulatedFleet:
    """Pods, and the nodes under them, that serve one queue, or several by an order."""

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
        self._random = Random(circumstances.seed)  # noqa: S311  no secret
        self._rule = ONE_QUEUE if order is None else order.queues
        self._queues = {name: SimulatedQueue() for name in self._rule.queues}
        self._in_flight = 0
        self._pods: dict[_Pod, None] = {}
        self._asking: dict[_Pod, int] = {}
        """Those that wait for jobs, and for how many."""
        self._hpa = Autoscaler(policy)
        self._tracker = None if policy.work is None else WorkTracker(policy.work)
        self._active_at = 0.0
        self._outcome = FleetOutcome(policy.name)
        self._nodes = Nodes(policy, circumstances, events, self._outcome, self._interrupt)

    def begin(self) -> None:
        """Start the pods that are always there, and have KEDA and the HPA look."""
        self._scale(self._policy.min_pods, warm=True)
        self._poll()
        self._events.at(self._policy.sync, self._look)

    def close(self) -> FleetOutcome:
        """Remove all nodes; what the fleet did."""
        self._nodes.close()
        self._outcome.sort()
        return self._outcome

    @property
    def at_rest(self) -> bool:
        """Whether no more pods and nodes are left than are to stay."""
        return len(self._pods) <= self._policy.min_pods and self._nodes.are_used

    @property
    def waiting(self) -> int:
        """Jobs in its queues."""
        return sum(map(len, self._queues.values()))

    @property
    def in_flight(self) -> int:
        """Jobs on its GPUs."""
        return self._in_flight

    # Jobs

    def take(self, run: SimulatedRun) -> None:
        """One more job in its queue."""
        self._queue_of(run).put(run, self._events.now)
        self._hand_out()

    def _queue_of(self, run: SimulatedRun) -> SimulatedQueue:
        return self._queues[run.job.priority if len(self._queues) > 1 else ONLY]

    def _hand_out(self) -> None:
        """Whatever waits goes to those that have asked, of several with agents to anybody."""
        for name, queue in self._queues.items():
            while queue and (pod := self._who_has_asked(name)) is not None:
                count = self._asking.pop(pod, 1)
                if self._order is not None:
                    pod.queues.answered(name, self._events.now)
                self._give(pod, {name: 1 if len(self._queues) > 1 else min(count, len(queue))})
                self._go_on(pod)

    def _who_has_asked(self, name: str) -> _Pod | None:
        if self._order is None:
            return next(iter(self._asking), None)
        if len(self._queues) == 1:
            pods = list(self._asking)
        else:
            pods = [pod for pod in self._pods if pod.queues.hears(name, self._events.now)]
        return self._random.choice(pods) if pods else None

    def _take(self, pod: _Pod, most: int) -> bool:
        """It asks for so many of those that wait; whether there were any."""
        now = self._events.now
        waiting = {name: len(queue) for name, queue in self._queues.items() if queue}
        taken = pod.queues.take(most, waiting, now)
        self._give(pod, taken)
        return bool(taken)

    def _give(self, pod: _Pod, counts: Mapping[str, int]) -> None:
        now = self._events.now
        runs = [
            self._queues[name].take(now) for name, count in counts.items() for _ in range(count)
        ]
        self._in_flight += len(runs)
        if pod.agent is None:
            for run in runs:
                self._begin(pod, run)
        elif runs:
            pod.agent.takes(runs, pod.asked)

    def _go_on(self, pod: _Pod) -> None:
        """Let its GPU work on what is there, and ask for more when it is time."""
        if pod.agent is not None:
            self._follow(pod, pod.agent)
        elif pod.run is None and not pod.leaving:
            self._asking[pod] = 1

    def _follow(self, pod: _Pod, agent: PodAgent) -> None:
        while not (pod.leaving or pod in self._asking):
            if pod.run is None and (run := agent.running) is not None:
                self._begin(pod, run)
            pod.woken += 1
            pod.asked = self._events.now
            room = agent.asks_for()
            if not room:
                if (pause := agent.pause) is not None:
                    self._events.at(pause, partial(self._wake, pod, pod.woken))
                return
            if agent.only_to_choose:
                room, surplus = agent.look_ahead(self.waiting, room)
                self._give_back(surplus)
                self._take(pod, room)
            elif not self._take(pod, room):
                self._asking[pod] = room
                pod.queues.wait(pod.asked)
                return

    def _wake(self, pod: _Pod, number: int) -> None:
        if pod.woken == number:
            self._go_on(pod)

    def _begin(self, pod: _Pod, run: SimulatedRun) -> None:
        loads = 0.0
        if self._order is not None and run.job.model not in ("", pod.model):
            pod.model, loads = run.job.model, self._order.switch
            self._outcome.switches += loads > 0
            self._outcome.busy_seconds += loads
        pod.run = run
        self._events.at(run.job.seconds + loads, partial(self._finish, pod, run))

    def _give_back(self, runs: Sequence[SimulatedRun]) -> None:
        for run in runs:
            self._in_flight -= 1
            self._queue_of(run).put(run, self._events.now)
        self._hand_out()

    def _finish(self, pod: _Pod, run: SimulatedRun) -> None:
        if pod.run is not run:
            return  # it was cut off
        pod.run = None
        self._in_flight -= 1
        self._queue_of(run).done(run, self._events.now)
        if pod.agent is not None:
            pod.agent.ends()
        now, job = self._events.now, run.job
        late = job.within is not None and now > run.arrived + job.within
        wait = max(0.0, now - run.arrived - job.seconds)
        self._outcome.note(wait, now, priority=job.priority, late=late)
        self._outcome.busy_seconds += job.seconds
        self._outcome.with_deadline += job.within is not None
        self._ended()
        if pod.leaving:
            self._leave(pod)
        else:
            self._go_on(pod)
            self._hand_out()

    # Scaling

    def _messages(self) -> int:
        return self.waiting + self._in_flight

    def _wanted(self) -> int:
        """What `queue-agent scaler` answers; nothing where it is not asked."""
        if self._tracker is None:
            return 0
        waiting, seconds = self.waiting, self._policy.job_seconds
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
        for node in self._nodes.places(number, warm=warm):
            pod = _Pod(node, self._events.now, self._agent(), PodQueues(self._rule))
            node.pods.add(pod)
            self._pods[pod] = None
            self._outcome.pods_started += 1
            if warm:
                self._become_ready(pod)
            else:
                boots = max(0.0, node.ready_at - self._events.now)
                self._events.at(boots + self._given.model_load, partial(self._become_ready, pod))

    def _agent(self) -> PodAgent | None:
        if self._order is None:
            return None
        return PodAgent(self._order, lambda: self._events.now, lambda: len(self._pods) - 1)

    def _become_ready(self, pod: _Pod) -> None:
        if not pod.leaving:
            pod.ready = True
            self._go_on(pod)
            self._hand_out()

    # Going

    def _stop(self, pod: _Pod, grace: float) -> None:
        pod.leaving = True
        del self._pods[pod]
        self._asking.pop(pod, None)
        if pod.agent is not None:
            self._give_back(pod.agent.leaves())
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
            self._queue_of(run).done(run, self._events.now)
        else:
            self._queue_of(run).put_first(run, self._events.now)
        self._leave(pod)
        self._hand_out()

    def _leave(self, pod: _Pod) -> None:
        self._nodes.without(pod.node, pod)

    def _interrupt(self, node: Node) -> None:
        """EC2 takes a spot node: its pods have two minutes, and others come elsewhere."""
        pods = len(self._pods)
        for pod in [pod for pod in self._pods if pod.node is node]:
            self._stop(pod, min(self._policy.grace, SPOT_WARNING))
        self._scale(pods)
