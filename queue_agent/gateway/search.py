"""Finding some of a caller's jobs among all of them.

Nothing is indexed: the marks of the newest jobs are gone through, their records are read (most
are remembered), and only of jobs that the records do not rule out is asked how they stand. One
request goes through `_LOOKED_AT` jobs at most; whoever wants more comes again with its cursor.
"""

from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from typing import Any, Final

from pydantic import JsonValue

from queue_agent.gateway.records import Record, Records
from queue_agent.gateway.schemas import JobPage, JobStatus, JobView
from queue_agent.tasks import together

_LOOKED_AT: Final = 500
_AT_ONCE: Final = 50

View = Callable[[Record], Coroutine[Any, Any, JobView]]


@dataclass(frozen=True)
class Wanted:
    """Which jobs are wanted; all of them, unless something is said."""

    statuses: frozenset[JobStatus] = frozenset()
    runtime: str | None = None
    task_types: frozenset[str] = frozenset()
    words: tuple[str, ...] = ()
    """Each stands in the id or in a text of the content, in capitals or not."""

    @classmethod
    def of(cls, statuses: tuple[JobStatus, ...], runtime: str | None, text: str) -> "Wanted":
        words = tuple(text.casefold().split())
        return cls(frozenset(statuses), runtime or None, words=words)

    def may_be(self, record: Record) -> bool:
        """Whether the job is wanted, if its status is."""
        if self.runtime is not None and record.runtime != self.runtime:
            return False
        if self.task_types and record.task_type not in self.task_types:
            return False
        if not self.words:
            return True
        text = "\n".join((record.id, *_texts(record.content))).casefold()
        return all(word in text for word in self.words)

    def is_now(self, view: JobView) -> bool:
        """Whether its status is wanted."""
        return not self.statuses or view.status in self.statuses


async def search(
    records: Records, view: View, owner: str, wanted: Wanted, *, cursor: str | None, limit: int
) -> JobPage:
    """Up to `limit` of the owner's jobs that are wanted, the newest first.

    There may be fewer, or none, and yet a next page.

    Raises:
        Problem: 422, `cursor` is no place to begin.
    """
    found: list[JobView] = []
    for _ in range(_LOOKED_AT // _AT_ONCE):
        some, following = await records.recent(owner, after=cursor, limit=_AT_ONCE)
        likely = [record for record in some if wanted.may_be(record)]
        if not wanted.statuses:
            likely = likely[: limit - len(found)]
        views = await together(view(record) for record in likely)
        for record, shown in zip(likely, views, strict=True):
            if wanted.is_now(shown):
                found.append(shown)
            if len(found) == limit:
                is_last = following is None and record is some[-1]
                return JobPage(jobs=found, next=None if is_last else record.cursor)
        cursor = following
        if cursor is None:
            break
    return JobPage(jobs=found, next=cursor)


def _texts(value: JsonValue) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for part in value:
            yield from _texts(part)
    elif isinstance(value, dict):
        for part in value.values():
            yield from _texts(part)
