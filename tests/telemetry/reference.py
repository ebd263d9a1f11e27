"""What the reference page says of the metrics."""

import re
from pathlib import Path

REFERENCE = Path(__file__).parents[2] / "docs" / "reference" / "metrics.md"
ROW = re.compile(r"\| `(queue_agent_\w+)` \| (\w+) \| (.*?) \| (.*?) \|")

Described = dict[str, tuple[str, frozenset[str], str]]


def documented() -> Described:
    """Type, labels and meaning of each metric of the reference page."""
    rows = ROW.findall(REFERENCE.read_text())
    return {
        name: (kind, frozenset(re.findall(r"`(\w+)`", labels)), meaning)
        for name, kind, labels, meaning in rows
    }
