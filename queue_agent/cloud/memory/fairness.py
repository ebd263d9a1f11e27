"""Which tenants of a queue are noisy, and wait for the others, as SQS's fair queues do it.

https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-fair-queues-detailed.html
"""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

_SHARE: Final = 0.1
"""Of what is in flight, or of the time of processing: a noisy tenant has more."""
_IN_FLIGHT: Final = 30
"""Messages in flight from which on a tenant's share of them counts."""
_AGE: Final = 300.0
"""Seconds. Who has sent nothing for so long is noisy no more. AWS does not say how much of the
past is "recent" processing; here it is as much."""


class _Work(NamedTuple):
    tenant: str | None
    begin: float
    end: float


class Fairness:
    """Knows what the tenants of one queue have sent, and what work it was."""

    def __init__(self) -> None:
        self._sent: dict[str, float] = {}
        self._quiet_since: dict[str, float] = {}
        self._done: deque[_Work] = deque()

    def sent(self, tenant: str, now: float) -> None:
        """A message of the tenant has come."""
        self._sent[tenant] = now

    def processed(self, tenant: str | None, begin: float, end: float) -> None:
        """A message was in flight for so long."""
        self._done.append(_Work(tenant, begin, end))

    def used_up(self, tenants: Iterable[str | None], now: float) -> None:
        """Nothing of these waits any more; what they did until now counts no longer."""
        self._quiet_since.update((tenant, now) for tenant in tenants if tenant is not None)

    def rank(
        self, in_flight: Sequence[tuple[str | None, float]], now: float
    ) -> Callable[[str | None], int]:
        """Whose message goes first: the lower; of quiet tenants, and of nobody, 0.

        `in_flight` is of whom, and since when. Of noisy tenants the one goes first that has the
        fewest in flight.
        """
        while self._done and self._done[0].end < now - _AGE:
            self._done.popleft()
        counts = Counter(tenant for tenant, _ in in_flight)
        noisy = self._working_long(in_flight, now)
        noisy |= {
            tenant
            for tenant, count in counts.items()
            if count >= _IN_FLIGHT and count > _SHARE * len(in_flight)
        }

        def of(tenant: str | None) -> int:
            if tenant not in noisy or self._sent.get(tenant or "", now) < now - _AGE:
                return 0
            return 1 + counts[tenant]

        return of

    def _working_long(
        self, in_flight: Sequence[tuple[str | None, float]], now: float
    ) -> set[str | None]:
        spent: dict[str, float] = {}
        total = 0.0
        works = [*self._done, *(_Work(tenant, since, now) for tenant, since in in_flight)]
        for tenant, begin, end in works:
            total += max(0.0, end - max(begin, now - _AGE))
            if tenant is not None:
                start = max(begin, now - _AGE, self._quiet_since.get(tenant, begin))
                spent[tenant] = spent.get(tenant, 0.0) + max(0.0, end - start)
        return {tenant for tenant, seconds in spent.items() if seconds > _SHARE * total}
