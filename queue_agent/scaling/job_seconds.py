"""How long jobs keep a pod busy, learned by kind."""

from collections import deque
from collections.abc import Mapping
from typing import Final

from cachetools import LRUCache

_KINDS: Final = 64
_RUNS: Final = 20
"""Of each kind that are remembered."""
_SHARES: Final = 100
"""Jobs whose kinds say how common each is."""


class JobSeconds:
    """What jobs take on average: each kind's own mean, by how common it is among the last jobs.

    So a kind that is seldom keeps its mean, and one that comes or goes counts at once.
    """

    def __init__(self, usual: float) -> None:
        """`usual`: what is said until a job was seen, in seconds."""
        self._usual = usual
        self._runs: LRUCache[str, deque[float]] = LRUCache(_KINDS)
        self._latest: deque[str] = deque(maxlen=_SHARES)

    def learn(self, kind: str, seconds: float) -> None:
        """A job of the kind took so long; the latest are to be learned last."""
        if kind not in self._runs:
            self._runs[kind] = deque(maxlen=_RUNS)
        self._runs[kind].append(seconds)
        self._latest.append(kind)

    @property
    def mean(self) -> float:
        """Of a job as they have been coming lately; above zero."""
        means = self.by_kind
        known = [means[kind] for kind in self._latest if kind in means]
        return (sum(known) / len(known) if known else 0.0) or self._usual

    @property
    def by_kind(self) -> Mapping[str, float]:
        """The mean of each kind that is remembered."""
        return {kind: sum(runs) / len(runs) for kind, runs in self._runs.items()}
