"""How far a prompt has come, from the events of the WebSocket. Pure."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final, TypeGuard

from pydantic import JsonValue

from queue_agent.runtime import Progress
from queue_agent_runtimes.comfyui.events import BACK, LOST, Event
from queue_agent_runtimes.comfyui.workflow import Graph, inputs_of

_LARGEST_COUNT: Final = 2**53
_BEFORE_THE_END: Final = 0.99
"""What remains for fetching the outputs; the adapter itself reports the end."""


class ProgressTracker:
    """Adds up finished nodes and the steps of the one under way.

    A node with an input `steps` weighs as many times more than the others, since a sampler's
    step is what takes time. Where a node becomes several others, theirs are its steps.
    """

    def __init__(self, graph: Graph) -> None:
        self._weights = {node_id: _weight(inputs_of(node)) for node_id, node in graph.items()}
        self._total = max(1, sum(self._weights.values()))
        self._done: set[str] = set()
        self._current: str | None = None
        self._parents: dict[str, str] = {}
        """Of nodes that others have become, by their ids."""
        self._latest = Progress(0.0)
        self.is_under_way = False
        """Whether the server is seen to work on a node of the prompt, and so on no other's."""

    def with_preview(self, image: bytes) -> Progress:
        """What was told last, and an image of the work under way."""
        return replace(self._latest, preview=image)

    def update(self, event: Event) -> Progress | None:
        """Take in an event of our prompt; the progress if the event tells of any."""
        if event.type in {"executing", "progress"}:
            self.is_under_way = event.data.get("node") is not None
        elif event.announces_the_end or event.type in {LOST, BACK}:
            self.is_under_way = False
        match event.type:
            case "execution_start" | "begun":
                return self._progress()
            case "execution_cached":
                nodes = event.data.get("nodes")
                self._done |= {str(node) for node in nodes} if isinstance(nodes, list) else set()
                return self._progress()
            case "executing":
                self._enter(event.data.get("node"), event.data.get("display_node"))
                return self._progress()
            case "progress":
                return self._step(event)
            case _:
                return None

    def _step(self, event: Event) -> Progress | None:
        value, steps = event.data.get("value"), event.data.get("max")
        node = event.data.get("node")
        if not (_is_count(value) and _is_count(steps) and steps >= 1):
            return None
        if isinstance(node, str):
            self._current = self._parent(node)
        return self._progress(min(1.0, value / steps), int(value), int(steps))

    def _enter(self, node: JsonValue, shown: JsonValue) -> None:
        if isinstance(node, str) and isinstance(shown, str) and node not in self._weights:
            self._parents[node] = shown
        entered = self._parent(node) if isinstance(node, str) else None
        if self._current not in {None, entered}:
            self._done.add(str(self._current))
        self._done.discard(str(entered))  # it may have become others, which come later
        self._current = entered

    def _parent(self, node: str) -> str:
        """The node of the workflow that this one is, or that became it."""
        return self._parents.get(node, node)

    def _progress(
        self, part: float = 0.0, step: int | None = None, steps: int | None = None
    ) -> Progress:
        done: float = sum(self._weights.get(node, 0) for node in self._done)
        if self._current is not None and self._current not in self._done:
            done += part * self._weights.get(self._current, 0)
        fraction = min(_BEFORE_THE_END, done / self._total)
        fraction = max(self._latest.fraction, fraction)
        self._latest = Progress(fraction, step=step, steps=steps, node=self._current)
        return self._latest


def _is_count(value: object) -> TypeGuard[float]:
    """Whether it can be reckoned with: custom nodes report what they like."""
    return isinstance(value, int | float) and 0 <= value <= _LARGEST_COUNT


def _weight(inputs: Mapping[str, object]) -> int:
    steps = inputs.get("steps")
    return min(steps, 10_000) if isinstance(steps, int) and steps > 0 else 1
