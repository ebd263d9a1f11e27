"""The nodes under a fleet's pods: Karpenter starts and removes them, EC2 may take them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from random import Random

from queue_agent.planning.event_queue import EventQueue
from queue_agent.planning.outcome import FleetOutcome
from queue_agent.planning.policy import FleetPolicy
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


@dataclass(eq=False, slots=True)
class Node:
    """One instance."""

    kind: GpuNode
    since: float
    ready_at: float
    pods: set[object] = field(default_factory=set)
    emptied: float = 0
    taken: bool = False
    """By EC2: no pod comes here any more."""

    @property
    def free(self) -> int:
        """How many pods have room."""
        return 0 if self.taken else self.kind.gpus - len(self.pods)


class Nodes:
    """Those of one fleet; what they cost is noted in its outcome."""

    def __init__(
        self,
        policy: FleetPolicy,
        circumstances: Circumstances,
        events: EventQueue,
        outcome: FleetOutcome,
        taken: Callable[[Node], None],
    ) -> None:
        """`taken` is told of each node that EC2 will take in `SPOT_WARNING` seconds."""
        self._policy = policy
        self._given = circumstances
        self._events = events
        self._outcome = outcome
        self._taken = taken
        self._random = Random(circumstances.seed)  # noqa: S311  no secret
        self._all: dict[Node, None] = {}

    @property
    def are_used(self) -> bool:
        """Whether there is none without a pod."""
        return all(node.pods for node in self._all)

    def places(self, number: int, *, warm: bool) -> Sequence[Node]:
        """Where so many more pods go: one node for each, new ones where there is no room."""
        free = [node for node in self._all for _ in range(node.free)]
        waiting = number - len(free)
        while waiting > 0:
            node = self._new(waiting, warm=warm)
            free += [node] * min(waiting, node.kind.gpus)
            waiting -= node.kind.gpus
        return free[:number]

    def without(self, node: Node, pod: object) -> None:
        """A pod is gone from there."""
        node.pods.discard(pod)
        if not node.pods:
            node.emptied = self._events.now
            wait = self._policy.consolidate_after
            self._events.at(wait, partial(self._consolidate, node, self._events.now))

    def close(self) -> None:
        """Remove all."""
        for node in list(self._all):
            self._remove(node)

    def _new(self, waiting: int, *, warm: bool) -> Node:
        kinds = self._given.nodes[:1] if self._policy.one_gpu_nodes else self._given.nodes
        kind = next((it for it in kinds if it.gpus >= waiting), kinds[-1])
        boots = 0.0 if warm else self._given.node_start + self._given.image_pull
        node = Node(kind, self._events.now, self._events.now + boots)
        self._all[node] = None
        self._outcome.nodes_started += 1
        if self._given.interruptions:
            lasts = self._random.expovariate(self._given.interruptions / 3600)
            self._events.at(lasts, partial(self._take, node))
        return node

    def _consolidate(self, node: Node, emptied: float) -> None:
        if not node.pods and node.emptied == emptied:
            self._remove(node)

    def _take(self, node: Node) -> None:
        if node in self._all:
            node.taken = True
            self._taken(node)
            self._events.at(SPOT_WARNING, partial(self._remove, node))

    def _remove(self, node: Node) -> None:
        if node in self._all:
            del self._all[node]
            lasted = self._events.now - node.since
            self._outcome.gpu_seconds += lasted * node.kind.gpus
            self._outcome.usd += lasted / 3600 * node.kind.usd
