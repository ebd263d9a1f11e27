"""The markers of what is paused: read again and again at little cost, and changed."""

from collections.abc import AsyncIterator, Callable
from typing import Final

from queue_agent.cloud.ports import Bucket
from queue_agent.wire.errors import ObjectNotFound, QueueAgentError, Unavailable
from queue_agent.wire.layout import PAUSES, pauses_key, runtime_of_pauses
from queue_agent.wire.pause import LARGEST, Pauses

_ATTEMPTS: Final = 5
"""At a change that others undo, who change the same marker at the same moment."""


class PausesMarker:
    """The marker of one runtime, as it was when it was looked at last."""

    def __init__(self, bucket: Bucket, runtime: str) -> None:
        self._bucket = bucket
        self._key = pauses_key(runtime)
        self._version: str | None = None
        self.pauses = Pauses()

    async def look(self) -> Pauses:
        """What it says now; without one, nothing is paused.

        Raises:
            Unavailable: the bucket cannot be asked.
            Rejected: it cannot be understood; it says what it said before.
        """
        try:
            found = await self._bucket.read_changed(self._key, self._version, limit=LARGEST)
        except ObjectNotFound:
            self._version, self.pauses = None, Pauses()
            return self.pauses
        if found is not None:
            self.pauses = Pauses.read(found.data)
            self._version = found.version
        return self.pauses


async def change_pauses(bucket: Bucket, runtime: str, change: Callable[[Pauses], Pauses]) -> Pauses:
    """Change what is paused of a runtime, which others may do too; what is paused then.

    Not all stores have conditions for this, so it is looked whether the change is there.

    Raises:
        Unavailable: it is not, or the bucket does not answer.
        Rejected: what is there cannot be understood.
    """
    key = pauses_key(runtime)
    for _ in range(_ATTEMPTS):
        before = await PausesMarker(bucket, runtime).look()
        wanted = change(before)
        if wanted == before:
            return wanted
        if wanted.pauses:
            await bucket.write(key, wanted.to_json(), media_type="application/json")
        else:
            await bucket.delete(key)
    raise Unavailable("Others change the pauses all the time.", type="cloud_unavailable")


async def paused_runtimes(bucket: Bucket) -> AsyncIterator[tuple[str, Pauses]]:
    """The runtimes of which something is or will be paused, by name; what cannot be read is not."""
    last = ""
    while keys := await bucket.keys(f"{PAUSES}/", after=last):
        for key in keys:
            runtime = runtime_of_pauses(key)
            try:
                pauses = await PausesMarker(bucket, runtime).look()
            except Unavailable:
                raise
            except QueueAgentError:
                continue
            if pauses.pauses:
                yield runtime, pauses
        last = keys[-1]
