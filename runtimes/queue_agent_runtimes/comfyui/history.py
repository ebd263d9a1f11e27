"""What a prompt's entry in the history says of its execution. Pure functions."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pydantic import JsonValue

from queue_agent.wire.errors import Unavailable
from queue_agent_runtimes.comfyui.outputs import MISSING


@dataclass(frozen=True)
class Executed:
    """How a prompt was executed."""

    span: tuple[float, float] | None
    """When it began and ended, in seconds since the epoch; None where that is not told."""
    cached: frozenset[str]
    """Nodes that were not executed again: what they put out is of an earlier prompt."""

    def remembered(self, node_id: str) -> bool:
        """Whether the node is one of these, or one that such a node has become (``1.0.0.3``)."""
        return any(node_id == node or node_id.startswith(f"{node}.") for node in self.cached)


class Outdated(Unavailable):
    """Files are gone that the server remembers for nodes which it did not execute again."""

    def __init__(self, nodes: Iterable[str]) -> None:
        super().__init__("Files of an earlier prompt are gone.", type=MISSING)
        self.nodes = frozenset(nodes)


def executed(entry: Mapping[str, JsonValue]) -> Executed:
    """What the events in the entry say."""
    status = entry.get("status")
    messages = status.get("messages") if isinstance(status, dict) else None
    times: list[float] = []
    cached: set[str] = set()
    for message in messages if isinstance(messages, list) else ():
        event, data = message if isinstance(message, list) and len(message) == 2 else ("", None)
        if not isinstance(data, dict):
            continue
        at, nodes = data.get("timestamp"), data.get("nodes")
        if isinstance(at, int | float):
            times.append(at / 1000)
        if event == "execution_cached" and isinstance(nodes, list):
            cached |= {str(node) for node in nodes}
    return Executed((min(times), max(times)) if len(times) > 1 else None, frozenset(cached))
