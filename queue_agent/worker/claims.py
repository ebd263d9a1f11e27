"""Who works on a job that came as several messages: an object beside its manifest says so.

A job that was published twice comes as two messages, whose leases know nothing of each other.
Whoever creates the claim works; the others wait, off the way to the GPU, for the result or for
the end of the claim. It is renewed while the work lasts, removed after it, and lapses where its
owner has died; the same message coming again takes it over at once. It only saves GPU time: the
conditional write of the manifest decides, and where no claim can be made the work goes on.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import structlog
from pydantic import TypeAdapter, ValidationError

from queue_agent.cloud import Bucket
from queue_agent.tasks import background, together
from queue_agent.wire.errors import (
    ObjectExists,
    ObjectNotFound,
    QueueAgentError,
    Rejected,
    Unavailable,
)
from queue_agent.wire.layout import ResultKeys
from queue_agent.wire.result import Result
from queue_agent.worker.delivery import Delivery
from queue_agent.worker.forecast import Kind

log = structlog.get_logger()

_LONGEST: Final = 60.0
_LOOK: Final = 2.0
_REMOVAL_PATIENCE: Final = 5.0

Find = Callable[[], Awaitable[Result | None]]


@dataclass(frozen=True)
class Claim:
    """Whose a job is, and until when (seconds since the epoch) unless it is renewed."""

    message: str
    until: float


_CLAIM: Final = TypeAdapter(Claim)
_LARGEST: Final = 1024


class Claims:
    """The claims of one agent, kept in the bucket of the results."""

    def __init__(
        self,
        bucket: Bucket,
        *,
        lease: float,
        worth: Callable[[Kind | None], bool] = lambda _: True,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`worth` says of which kinds of jobs doing one twice costs more than claiming it."""
        self._bucket = bucket
        self._duration = min(lease, _LONGEST)
        self._worth = worth
        self._now = now
        self._clock = clock

    async def first(self, delivery: Delivery, find: Find) -> Result | None:
        """What `find` finds of work done before or meanwhile; None: the job is ours to do."""
        if not self._worth(delivery.slot.kind):
            return await find()
        done, other = await self._look(delivery, find)
        if done is not None or other is None:
            return done
        log.info("claimed by another message", other=other.message)
        with delivery.slot.elsewhere():
            return await self._after(other, delivery, find)

    @asynccontextmanager
    async def renewed(self, delivery: Delivery) -> AsyncIterator[None]:
        """Keep the claim, if one was made, while the block works on the job."""
        if delivery.claim is None:
            yield
            return
        async with background(self._renew(delivery.claim, delivery.message.id)):
            yield

    @asynccontextmanager
    async def removed(self, delivery: Delivery) -> AsyncIterator[None]:
        """Remove the claim, if one was made, after the block; never raises for that."""
        try:
            yield
        finally:
            if delivery.claim is not None:
                try:
                    async with asyncio.timeout(_REMOVAL_PATIENCE):
                        await self._bucket.delete(delivery.claim)
                except (QueueAgentError, TimeoutError) as error:
                    log.debug("claim not removed", reason=str(error))

    async def _after(self, other: Claim, delivery: Delivery, find: Find) -> Result | None:
        """Wait for the other's result, or for its claim to end, and then claim the job."""
        seen = self._clock()
        while True:
            await asyncio.sleep(_LOOK)
            done, standing = await self._look(delivery, find)
            if done is not None:
                return done
            if standing is None:  # the other may have ended between the look and the claim
                return await find()
            if standing != other:
                other, seen = standing, self._clock()
            elif self._clock() - seen >= self._duration:  # whatever its owner's clock says
                await self._claim(delivery, over=True)
                return None

    async def _look(self, delivery: Delivery, find: Find) -> tuple[Result | None, Claim | None]:
        """The result, if there is one, and the claim of another, if the job is not ours."""
        found: Result | None = None

        async def look() -> Claim | None:
            nonlocal found
            found = await find()
            return None

        _, other = await together([look(), self._claim(delivery)])
        return found, other

    async def _claim(self, delivery: Delivery, *, over: bool = False) -> Claim | None:
        """Claim the job, `over` another's claim if need be; the claim that forbids it."""
        key, message = ResultKeys.of(delivery.job).claim, delivery.message.id
        try:
            try:
                await self._write(key, message, create_only=not over)
            except ObjectExists:
                other = await self._read(key)
                if other and other.message != message and other.until > self._now():
                    return other
                await self._write(key, message)
        except Unavailable as error:
            log.warning("not claimed", reason=error.message)
        else:
            delivery.claim = key
        return None

    async def _renew(self, key: str, message: str) -> None:
        while True:
            await asyncio.sleep(self._duration / 2)
            try:
                await self._write(key, message)
            except Unavailable as error:
                log.warning("claim not renewed", reason=error.message)

    async def _read(self, key: str) -> Claim | None:
        try:
            return _CLAIM.validate_json(await self._bucket.read(key, limit=_LARGEST))
        except (ObjectNotFound, Rejected, ValidationError):
            return None

    async def _write(self, key: str, message: str, *, create_only: bool = False) -> None:
        claim = Claim(message, self._now() + self._duration)
        await self._bucket.write(
            key,
            _CLAIM.dump_json(claim),
            media_type="application/json",
            create_only=create_only,
        )
