"""What the reference page says of the metrics."""

import re
from pathlib import Path

REFERENCE = Path(__file__).parents[2] / "docs" / "reference" / "metrics.md"
ROW = re.compile(r"\| `(queue_agent_\w+)` \| (\w+) \| (.*?) \| (.*?) \|")

ROW_OF_THE_SCALER = re.compile(r"\| `(queue_agent_scaler_\w+)` \| [^|]* \|$", re.MULTILINE)

Described = dict[str, tuple[str, frozenset[str], str]]


def documented() -> Described:
    """Type, labels and meaning of each metric of the reference page."""
    rows = ROW.findall(REFERENCE.read_text())
    return {
        name: (kind, frozenset(re.findall(r"`(\w+)`", labels)), meaning)
        for name, kind, labels, meaning in rows
    }


def documented_of_the_scaler() -> set[str]:
    """The names of the scaler's metrics on the reference page."""
    return set(ROW_OF_THE_SCALER.findall(REFERENCE.read_text()))
