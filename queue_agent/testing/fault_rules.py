"""Which of the messages that pass a proxy are struck, and by what."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

M = TypeVar("M")
"""What passes: a request, a message."""
F = TypeVar("F")
"""What can happen to it."""


@dataclass
class _Rule(Generic[M, F]):
    fault: F
    matches: Callable[[M], bool]
    times: int | None

    def takes(self, message: M) -> bool:
        if self.times == 0 or not self.matches(message):
            return False
        if self.times is not None:
            self.times -= 1
        return True


class FaultRules(Generic[M, F]):
    """Those of one proxy, now."""

    def __init__(self) -> None:
        self._rules: list[_Rule[M, F]] = []

    @contextmanager
    def holding(
        self, fault: F, matches: Callable[[M], bool], *, times: int | None = None
    ) -> Iterator[None]:
        """Do this to matching messages, the first `times` of them, while the context lasts.

        Of several faults that match, the one added first strikes.
        """
        rule = _Rule(fault, matches, times)
        self._rules.append(rule)
        try:
            yield
        finally:
            self._rules.remove(rule)

    def fault_for(self, message: M) -> F | None:
        """What is to be done to this message, which is counted; None: nothing."""
        rule = next((rule for rule in self._rules if rule.takes(message)), None)
        return rule.fault if rule else None
