"""What it costs to load another model, learned from how much longer such runs take."""

from collections import deque
from statistics import median
from typing import Final

from cachetools import LRUCache

from queue_agent.runtime.model_use import Lack, ModelUse
from queue_agent.worker.forecast import Kind
from queue_agent.worker.scheduling import SwitchCost

_REMEMBERED: Final = 32
"""Switches of each sort, and runs of each kind without one."""
_KINDS: Final = 256

_Sort = tuple[Kind | None, frozenset[str]]
"""Runs to compare: of one kind of job, by the same models."""


class SwitchCosts:
    """The median of a run with a switch, less the median of such runs without. In seconds."""

    def __init__(self) -> None:
        self._plain: LRUCache[_Sort, deque[float]] = LRUCache(_KINDS)
        self._switched: dict[Lack, deque[tuple[_Sort, float]]] = {
            lack: deque(maxlen=_REMEMBERED) for lack in ("loras", "model")
        }
        self.known = SwitchCost()

    def observe(self, kind: Kind | None, use: ModelUse, lack: Lack, seconds: float) -> float:
        """Learn from a finished run; what it would have taken without the switch."""
        sort = (kind, use.models)
        if lack == "nothing":
            self._plain.setdefault(sort, deque(maxlen=_REMEMBERED)).append(seconds)
        else:
            self._switched[lack].append((sort, seconds))
        self.known = SwitchCost(model=self._median("model"), loras=self._median("loras"))
        known = {"nothing": 0.0, "loras": self.known.loras, "model": self.known.model}[lack]
        if known is None:  # so that both together are what was seen
            return max(seconds - self.known.of(lack), seconds / 2)
        return max(0.0, seconds - known)

    def _median(self, lack: Lack) -> float | None:
        """None while there is nothing to compare."""
        plain = {sort: median(runs) for sort, runs in self._plain.items()}
        more = [seconds - plain[sort] for sort, seconds in self._switched[lack] if sort in plain]
        return max(0.0, median(more)) if more else None
