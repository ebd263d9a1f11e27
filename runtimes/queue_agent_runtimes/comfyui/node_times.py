"""What an execution has cost, from the events of the WebSocket and the history. Pure."""

from collections.abc import Callable, Mapping
from typing import Final

from pydantic import JsonValue

from queue_agent_runtimes.comfyui.events import Event
from queue_agent_runtimes.comfyui.workflow import Graph, class_of

Json = dict[str, JsonValue]
_MOST_NODES: Final = 100
"""Nodes that are told of; those that took longest."""


class NodeTimes:
    """How long each node took; the time of nodes that a node becomes is its own.

    What was executed while the connection was away is not counted.
    """

    def __init__(self, graph: Graph, clock: Callable[[], float]) -> None:
        self._graph = graph
        self._clock = clock
        self._seconds: dict[str, float] = {}
        self._cached: list[JsonValue] = []
        self._current: str | None = None
        self._since = 0.0

    def forget(self) -> None:
        """The prompt is executed anew."""
        self._seconds.clear()
        self._cached.clear()
        self._current = None

    def update(self, event: Event) -> None:
        """Take in an event of the prompt, now."""
        if event.type == "execution_cached":
            nodes = event.data.get("nodes")
            found = nodes if isinstance(nodes, list) else []
            self._cached = [node for node in found if isinstance(node, str) and node in self._graph]
        elif event.type == "executing":
            node, shown = event.data.get("node"), event.data.get("display_node")
            self._enter(node if isinstance(node, str) and node in self._graph else shown)
        elif event.announces_the_end:
            self._enter(None)

    def _enter(self, node: JsonValue) -> None:
        now = self._clock()
        if self._current is not None:
            spent = self._seconds.get(self._current, 0.0)
            self._seconds[self._current] = spent + now - self._since
        self._since = now
        self._current = node if isinstance(node, str) and node in self._graph else None

    def told(self, entry: Mapping[str, JsonValue]) -> Json:
        """For the manifest: `seconds` in all by the server's clock, and by node; `cached` nodes."""
        longest = sorted(self._seconds, key=lambda node: -self._seconds[node])[:_MOST_NODES]
        nodes: Json = {
            node: {
                "class_type": class_of(self._graph[node]),
                "seconds": round(self._seconds[node], 3),
            }
            for node in longest
        }
        return {"seconds": _in_all(entry), "nodes": nodes, "cached": [*self._cached]}


def _in_all(entry: Mapping[str, JsonValue]) -> float | None:
    """By the times of the first and last message of the history, which are in milliseconds."""
    status = entry.get("status")
    messages = status.get("messages") if isinstance(status, dict) else None
    moments = [
        moment
        for message in (messages if isinstance(messages, list) else [])
        if isinstance(message, list) and len(message) == 2 and isinstance(message[1], dict)
        if isinstance(moment := message[1].get("timestamp"), int | float)
    ]
    return round((moments[-1] - moments[0]) / 1000, 3) if len(moments) > 1 else None
