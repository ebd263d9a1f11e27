"""What was seen to fit in the device's memory, and what was seen not to, though it was alone.

Used in the engine's thread only. Sizes are compared in rows and in pixels, each for itself: what
has no fewer rows and no fewer pixels than what did not fit will not fit either. What has fitted
once is never refused, and what did not fit is tried again after a while, or when fewer models are
loaded.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from queue_agent_diffusers.engine.model import Sample
from queue_agent_diffusers.engine.requests import ImageRequest

FORGET_AFTER: Final = 600.0
"""Seconds after which what did not fit is tried again."""


@dataclass(frozen=True)
class Need:
    """What one sample takes; of another model or kind, it says nothing about this one."""

    model: str
    kind: tuple[bool, bool, tuple[tuple[int, int], ...]]
    """Whether there is an image to start from, and a mask, and how large the images beside it are.

    What models make of those before they look at them is their own, so no size stands for others.
    """
    rows: int
    pixels: int

    @classmethod
    def of(cls, model: str, request: ImageRequest, samples: Sequence[Sample]) -> "Need | None":
        """Of one of these samples, all of the request; None where the model chooses the size."""
        if request.pixels is None:
            return None
        rows = samples[0].rows * request.count // len(samples)
        beside = tuple(picture.size for picture in request.references)
        kind = request.image is not None, request.mask is not None, beside
        return cls(model, kind, rows, request.pixels)

    def covers(self, other: "Need") -> bool:
        """Whether it takes as much as the other, or more."""
        same = (self.model, self.kind) == (other.model, other.kind)
        return same and self.rows >= other.rows and self.pixels >= other.pixels


class Fitting:
    """Remembers the largest that fitted, and what did not."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._fitted: set[Need] = set()
        self._failed: dict[Need, tuple[float, frozenset[str]]] = {}

    def fitted(self, need: Need) -> None:
        """So much was seen to fit."""
        if not any(other.covers(need) for other in self._fitted):
            self._fitted = {one for one in self._fitted if not need.covers(one)} | {need}
        self._failed = {one: seen for one, seen in self._failed.items() if not need.covers(one)}

    def failed(self, need: Need, loaded: frozenset[str]) -> None:
        """So much did not fit alone, with those models loaded."""
        self._failed[need] = self._clock(), loaded

    def refuses(self, need: Need, loaded: frozenset[str]) -> bool:
        """Whether it is known that so much cannot fit beside the models that are loaded."""
        if any(other.covers(need) for other in self._fitted):
            return False
        late = self._clock() - FORGET_AFTER
        self._failed = {one: seen for one, seen in self._failed.items() if seen[0] > late}
        return any(
            need.covers(one) and beside <= loaded for one, (_, beside) in self._failed.items()
        )
