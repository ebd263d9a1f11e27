"""What attempts at one job have kept in the bucket, each file under a key of its own.

A key says how far the work has come, and by which attempt. Nothing is written over: each file is
created, and those less far are removed after it, so that the furthest is there whatever the order
in which agents write, and however long a request is on its way. An agent whose message was given to
another sees so from the other's keys.
"""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Final

from queue_agent.cloud import Bucket
from queue_agent.runtime import Checkpoint
from queue_agent.wire.errors import ObjectExists, ObjectNotFound, Rejected
from queue_agent.wire.layout import CheckpointPlace, Storable, checkpoint_key, checkpoints_folder

MEDIA_TYPE: Final = "application/octet-stream"

_Places = Mapping[CheckpointPlace, str]
"""Keys by what they say."""


class CheckpointFolder:
    """One job's, as one attempt at it reads and writes them."""

    def __init__(self, bucket: Bucket, runtime: str, job: Storable, attempt: int) -> None:
        self.superseded = False
        """Whether the job has ended elsewhere, or a later attempt keeps what it does."""
        self._bucket = bucket
        self._runtime = runtime
        self._job = job
        self._attempt = attempt
        self._looked = False
        self._own: CheckpointPlace | None = None
        """The one that this attempt has taken up, or its latest."""
        self.holds_some = False
        """Whether there may be some, as far as this attempt has seen."""

    async def latest(self, *, limit: int) -> bytes | None:
        """The furthest one, to be taken up; None where there is none, or where it was asked before.

        Raises:
            Rejected: it has more bytes than `limit`; it is as if it had been taken up in vain.
            Unavailable: the bucket does not answer.
        """
        while not self._looked:
            places = await self._places()
            furthest = max(places, default=None)
            if furthest is None:
                self._looked = True
                return None
            self.holds_some = True
            with suppress(ObjectNotFound):  # one further on has just taken its place
                try:
                    data = await self._bucket.read(places[furthest], limit=limit)
                except Rejected:
                    self._take_up(furthest)
                    raise
                self._take_up(furthest)
                return data
        return None

    async def add(self, checkpoint: Checkpoint) -> bool:
        """Keep one, unless another is further; whether it was kept.

        The one that was taken up does not count: where this one is not as far, it was of no use.

        Raises:
            Unavailable: the bucket does not answer.
        """
        place, places = CheckpointPlace(checkpoint.done, self._attempt), await self._places()
        if self._is_lost(places):
            self.superseded = True
            return False
        if any(other.done > place.done for other in places if other != self._own):
            return False
        if place in places:
            self._own = place
        else:
            await self._create(place, checkpoint.data)
            await self._remove(places.values())
        return True

    async def clear(self) -> None:
        """Remove all: the job has ended."""
        self._own = None
        await self._remove((await self._places()).values())
        self.holds_some = False

    def _take_up(self, place: CheckpointPlace) -> None:
        self._looked, self._own = True, place
        # Deliveries of a message that was sent anew are counted anew.
        self._attempt = max(self._attempt, place.attempt + 1)

    def _is_lost(self, places: _Places) -> bool:
        """Whether a later attempt has kept something, or all were removed after the job's end."""
        ended = self._own is not None and not places
        return ended or any(other.attempt > self._attempt for other in places)

    async def _create(self, place: CheckpointPlace, data: bytes) -> None:
        key = checkpoint_key(self._runtime, self._job, place)
        self.holds_some = True  # whatever becomes of the answer
        with suppress(ObjectExists):  # by one that is as far
            await self._bucket.write(key, data, media_type=MEDIA_TYPE, create_only=True)
        self._own = place

    async def _places(self) -> _Places:
        keys = await self._bucket.keys(checkpoints_folder(self._runtime, self._job))
        return {place: key for key in keys if (place := CheckpointPlace.of(key))}

    async def _remove(self, keys: Iterable[str]) -> None:
        for key in keys:
            await self._bucket.delete(key)
