"""Hears notifications for everyone in the process who waits for some job."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import structlog
from cachetools import LRUCache

from queue_agent.cloud.refusals import remedy_of
from queue_agent.tasks import background
from queue_agent.telemetry.outages import Outages
from queue_agent.wire.errors import QueueAgentError, Unavailable
from queue_agent.wire.notification import Notification

log = structlog.get_logger()

_JOBS_REMEMBERED: Final = 10_000
_PAUSE: Final = 2.0
_LONGEST_PAUSE: Final = 30.0

Subscribe = Callable[[], AbstractAsyncContextManager[AsyncIterator[Notification]]]
Hook = Callable[[Notification], None]


@dataclass
class _News:
    latest: Notification | None = None
    count: int = 0
    at: float = 0.0
    bell: asyncio.Event = field(default_factory=asyncio.Event)


class Listener:
    """The latest notification of each job, and a bell per job for those who wait.

    What is heard is a hint: the truth is in the bucket, so whoever waits looks there from
    time to time too, and a lost notification costs only time.
    """

    def __init__(
        self, subscribe: Subscribe, *, hook: Hook | None = None, pause: float = _PAUSE
    ) -> None:
        """`hook` is called with each notification that is heard.

        `pause`: at least so many seconds between two attempts to subscribe, and more after each
        that fails.
        """
        self._pause = pause
        self._subscribe = subscribe
        self._hook = hook
        self._news: LRUCache[str, _News] = LRUCache(_JOBS_REMEMBERED)
        self._listening = asyncio.Event()
        self._missing = "not_subscribed_yet"
        self._outages = Outages()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Listen while the block runs; a subscription that breaks is made anew."""
        async with background(self._listen()):
            yield

    async def ready(self, *, patience: float) -> bool:
        """Wait until notifications are heard, at most so many seconds; whether they are."""
        try:
            async with asyncio.timeout(patience):
                await self._listening.wait()
        except TimeoutError:
            return False
        return True

    @property
    def missing(self) -> str | None:
        """Why notifications are not heard, in a word; None while they are."""
        return None if self._listening.is_set() else self._missing

    def latest(self, job_id: str) -> Notification | None:
        """The last notification heard of a job."""
        news = self._news.get(job_id)
        return news.latest if news else None

    def count(self, job_id: str) -> int:
        """How many notifications of a job were heard so far; `changed` takes it."""
        return self._entry(job_id).count

    async def changed(self, job_id: str, count: int, *, patience: float) -> None:
        """Wait until more than `count` notifications were heard, at most so many seconds."""
        news = self._entry(job_id)
        if news.count == count:
            try:
                async with asyncio.timeout(patience):
                    await news.bell.wait()
            except TimeoutError:
                return

    def hear(self, notification: Notification) -> None:
        """Take note, and wake those who wait."""
        news = self._entry(notification.id)
        late = (
            notification.status == "running" and news.latest is not None and _is_over(news.latest)
        )
        if not late:  # progress may arrive after the end
            news.latest = notification
        news.at = time.monotonic()
        _ring(news)
        if self._hook is not None:
            self._hook(notification)

    def heard_at(self, job_id: str) -> float:
        """When a notification of the job was last heard, on the monotonic clock."""
        return self._entry(job_id).at

    def nudge(self, job_id: str) -> None:
        """Wake those who wait for the job, without news."""
        _ring(self._entry(job_id))

    def forget(self, job_id: str) -> None:
        """The job begins anew: what was heard of it before says nothing any more."""
        self._entry(job_id).latest = None

    def _entry(self, job_id: str) -> _News:
        return self._news.setdefault(job_id, _News())

    async def _listen(self) -> None:
        pause = self._pause
        while True:
            started = time.monotonic()
            try:
                async with self._subscribe() as notifications:
                    self._is_heard()
                    pause = self._pause
                    async for notification in notifications:
                        self.hear(notification)
            except QueueAgentError as error:
                self._missing = error.type
                self._is_not_heard(error)
                if _is_cancelled():  # it was the subscription's removal that failed
                    return
            finally:
                self._listening.clear()
            await asyncio.sleep(max(0.0, pause - (time.monotonic() - started)))
            pause = min(2 * pause, max(_LONGEST_PAUSE, self._pause))

    def _is_heard(self) -> None:
        self._listening.set()
        if over := self._outages.works():
            log.info("notifications are heard again", **over._asdict())

    def _is_not_heard(self, error: QueueAgentError) -> None:
        if due := self._outages.failed(error.type):
            said = {"remedy": remedy_of(error)} if isinstance(error, Unavailable) else {}
            log.warning(
                "notifications are not heard", reason=error.message, **said, **due._asdict()
            )


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _ring(news: _News) -> None:
    news.count += 1
    news.bell.set()
    news.bell = asyncio.Event()


def _is_over(notification: Notification) -> bool:
    error = notification.error
    return notification.status != "running" and not (error is not None and error.retryable)
