"""Images of the work under way: the latest of each job lies beside its results until its end.

Only of jobs that ask for them, one object a job, made small, written as often as the operator
allows. Nothing waits for them and no job fails by them.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import structlog

from queue_agent.cloud import Bucket
from queue_agent.media.facts import UnreadableImage
from queue_agent.media.previews import PREVIEW_MEDIA_TYPE, small_preview
from queue_agent.wire.errors import QueueAgentError
from queue_agent.wire.layout import ResultKeys
from queue_agent.wire.notification import LatestPreview
from queue_agent.worker.delivery import Delivery

log = structlog.get_logger()

_REMOVAL_PATIENCE: Final = 5.0


@dataclass(frozen=True)
class Previews:
    """Those of one agent's jobs, in the bucket of the results."""

    bucket: Bucket
    interval: float | None
    """Seconds between two of a job; None: there are none."""

    @asynccontextmanager
    async def kept(self, delivery: Delivery) -> AsyncIterator[None]:
        """Write what the delivery is given to show in the block, and remove it after that.

        What an attempt before has left, whose agent was killed, is removed too.
        """
        if self.interval is None:
            yield
            return
        relay = _Relay(self.bucket, self.interval, delivery)
        delivery.show = relay.show
        try:
            yield
        finally:
            await relay.end()


@dataclass
class _Relay:
    bucket: Bucket
    interval: float
    delivery: Delivery
    _latest: bytes | None = None
    _news: asyncio.Event = field(default_factory=asyncio.Event)
    _task: asyncio.Task[None] | None = None
    _write: asyncio.Task[None] | None = None
    _written: int = 0

    def show(self, preview: bytes) -> None:
        """Take the latest one; returns at once."""
        if not self.delivery.job.wants_previews:
            return
        self._latest = preview
        self._news.set()
        if self._task is None:
            self._task = asyncio.create_task(self._relay())

    async def end(self) -> None:
        """Write no more and remove what there is; never raises for that."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
        try:
            async with asyncio.timeout(_REMOVAL_PATIENCE):
                await self._remove()
        except (QueueAgentError, TimeoutError) as error:
            log.debug("preview not removed", reason=str(error))
        finally:
            if self._write is not None:
                self._write.cancel()

    async def _remove(self) -> None:
        """Once no write is under way, which would come after the removal."""
        if self._write is not None:
            await asyncio.wait({self._write})
        elif not self._may_be_left():
            return
        await self.bucket.delete(self._key)

    def _may_be_left(self) -> bool:
        delivery = self.delivery
        return delivery.number > 1 and delivery.is_parsed and delivery.job.wants_previews

    async def _relay(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            preview, self._latest = self._latest, None
            if preview is not None:
                self._write = asyncio.create_task(self._put(preview))
                await asyncio.shield(self._write)
            await asyncio.sleep(self.interval)

    async def _put(self, preview: bytes) -> None:
        try:
            made = await asyncio.to_thread(small_preview, preview)
            await self.bucket.write(self._key, made, media_type=PREVIEW_MEDIA_TYPE)
        except (UnreadableImage, QueueAgentError) as error:
            log.debug("preview not shown", reason=str(error))
        else:
            self._written += 1
            url = self.bucket.url(self._key)
            self.delivery.preview = LatestPreview(url=url, number=self._written)
            self.delivery.preview_written()

    @property
    def _key(self) -> str:
        return ResultKeys.of(self.delivery.job).preview
