"""What jobs have used, summed from their results in the bucket."""

from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Final

from pydantic import AwareDatetime, BaseModel, ConfigDict, FiniteFloat, JsonValue, ValidationError

from queue_agent.cloud import Bucket, ListedObject
from queue_agent.tasks import together
from queue_agent.wire.errors import ObjectNotFound, Rejected
from queue_agent.wire.layout import is_manifest

_AT_ONCE: Final = 16
_LARGEST: Final = 8 * 2**20
"""Bytes of a manifest that is read."""
_MOST_SUMS: Final = 50_000
"""Beyond these, what is left is summed by day alone."""
_CLOCKS: Final = timedelta(hours=1)
"""By which the store's clock and an agent's may differ."""
OTHERS: Final = "(others)"
"""A tenant and model for what is beyond the bound."""


@dataclass(frozen=True, slots=True)
class UsagePeriod:
    """From a moment, and before another; None: no bound."""

    since: datetime | None = None
    until: datetime | None = None

    def has(self, moment: datetime) -> bool:
        return (self.since is None or moment >= self.since) and (
            self.until is None or moment < self.until
        )

    def may_have(self, modified: float | None) -> bool:
        """Whether the manifest of an end in it may have been written then."""
        if modified is None:
            return True
        moment = datetime.fromtimestamp(modified, UTC)
        return (self.since is None or moment + _CLOCKS >= self.since) and (
            self.until is None or moment - _CLOCKS < self.until
        )


@dataclass(frozen=True, slots=True, order=True)
class UsageKey:
    """What is summed together."""

    day: date
    """In UTC, on which jobs ended."""
    tenant: str
    """Empty: nobody's."""
    model: str
    """As jobs named it; empty: they named none."""


@dataclass(slots=True)
class UsageSum:
    """Of some jobs."""

    jobs: int = 0
    completed: int = 0
    images: int = 0
    gpu_seconds: float = 0.0
    cost: float = 0.0


@dataclass(slots=True)
class UsageReport:
    """Sums by day, tenant and model."""

    sums: dict[UsageKey, UsageSum] = field(default_factory=dict)
    unread: int = 0
    """Manifests that could not be read."""

    @property
    def rows(self) -> Sequence[tuple[UsageKey, UsageSum]]:
        """In order."""
        return sorted(self.sums.items(), key=lambda row: row[0])

    def add(self, bill: "_Bill", ended: datetime) -> None:
        """One job more."""
        tenant = bill.metadata.get("tenant")
        key = UsageKey(
            ended.astimezone(UTC).date(), "" if tenant is None else str(tenant), bill.model or ""
        )
        if key not in self.sums and len(self.sums) >= _MOST_SUMS:
            key = UsageKey(key.day, OTHERS, OTHERS)
        found = self.sums.setdefault(key, UsageSum())
        found.jobs += 1
        found.completed += bill.status == "completed"
        found.images += len(bill.image_url)
        found.gpu_seconds += bill.gpu_seconds or 0.0
        found.cost += bill.cost or 0.0


class _Bill(BaseModel):
    """What is read of a result."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    status: str
    image_url: list[str] = []
    gpu_seconds: FiniteFloat | None = None
    cost: FiniteFloat | None = None
    model: str | None = None
    ended_at: AwareDatetime | None = None
    metadata: dict[str, JsonValue] = {}


async def usage_of(bucket: Bucket, prefixes: Iterable[str], period: UsagePeriod) -> UsageReport:
    """Of all jobs below the prefixes that ended in the period.

    All keys below them are listed, and the manifests read that were written about then; results
    from before they told what was used count as jobs that used nothing.
    """
    usage = UsageReport()
    for prefix in _outermost(prefixes):
        async for batch in _batches(bucket, prefix, period):
            bills = await together(_read(bucket, listed) for listed in batch)
            for listed, bill in zip(batch, bills, strict=True):
                if bill is None:
                    usage.unread += 1
                    continue
                ended = bill.ended_at or datetime.fromtimestamp(listed.modified or 0.0, UTC)
                if period.has(ended):
                    usage.add(bill, ended)
    return usage


def _outermost(prefixes: Iterable[str]) -> Sequence[str]:
    """Those that lie in no other, whose jobs would count twice."""
    given = dict.fromkeys(prefixes)
    return [one for one in given if not any(one.startswith(f"{other}/") for other in given)]


async def _batches(
    bucket: Bucket, prefix: str, period: UsagePeriod
) -> AsyncIterator[Sequence[ListedObject]]:
    last = ""
    while page := await bucket.listing(f"{prefix}/", after=last):
        last = page[-1].key
        wanted = [one for one in page if is_manifest(one.key) and period.may_have(one.modified)]
        for start in range(0, len(wanted), _AT_ONCE):
            yield wanted[start : start + _AT_ONCE]


async def _read(bucket: Bucket, listed: ListedObject) -> _Bill | None:
    try:
        return _Bill.model_validate_json(await bucket.read(listed.key, limit=_LARGEST))
    except (ObjectNotFound, Rejected, ValidationError):
        return None
