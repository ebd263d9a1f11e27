"""What subscribers are told: how a job ended, and on the way how far it has come."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog

from queue_agent.cloud import Ordering, Publication, Topic
from queue_agent.runtime import Progress, ProgressCallback
from queue_agent.telemetry.tracing import carrier
from queue_agent.wire.errors import Unanswered
from queue_agent.wire.notification import Notification
from queue_agent.worker.delivery import Delivery
from queue_agent.worker.policy import Policy
from queue_agent.worker.progress import ProgressRelay
from queue_agent.worker.retry import Sleep, retry_warily
from queue_agent.worker.webhooks import Webhooks

log = structlog.get_logger()

Links = Callable[[Notification, float], Awaitable[Notification]]
"""Adds links to the images of a notification that work for so many seconds."""


@dataclass(frozen=True)
class Notifier:
    """Publishes to one topic, and calls webhooks beside it."""

    policy: Policy
    topic: Topic
    webhooks: Webhooks
    with_links: Links

    async def notify(self, notification: Notification, *, sleep: Sleep = asyncio.sleep) -> None:
        """Tell how a job ended, made to fit the topic; failing webhooks are logged only.

        `sleep` passes the time between two tries.

        Raises:
            Unavailable: the topic took it not, for as long as the policy has it tried.
        """
        notification = self.webhooks.checked(notification)
        if self.policy.presign:
            notification = await self.with_links(notification, self.policy.presign)
        attributes = {**notification.attributes(), **carrier()}
        room = self.topic.size_limit - Publication("", attributes).size
        notification = notification.fitted(room)
        await self._publish(notification, attributes, sleep)
        log.debug("notified", status=notification.status)
        await self.webhooks.send(notification)

    async def tell_late(self, delivery: Delivery) -> None:
        """Tell that a job will miss its deadline, before it runs.

        Raises:
            Unavailable: the topic took it not.
        """
        await self._tell_running(delivery, Progress(0.0))

    async def _tell_running(self, delivery: Delivery, progress: Progress) -> None:
        running = Notification(
            runtime=self.policy.runtime_name,
            id=delivery.job.id,
            status="running",
            result=False,
            context=delivery.job.metadata.context,
            attempt=delivery.number,
            progress=progress.fraction,
            stage=progress.stage,
            preview=delivery.preview,
            late=True if delivery.late else None,
        )
        attributes = {**running.attributes(), **carrier()}
        await self.topic.publish(running.to_json(), attributes, Ordering(running.id))

    async def _publish(
        self, notification: Notification, attributes: Mapping[str, str], sleep: Sleep
    ) -> None:
        """Publish once, and what may be a repetition marked as one."""
        ordering = Ordering(notification.id)

        async def publish() -> None:
            nonlocal notification
            try:
                await self.topic.publish(notification.to_json(), attributes, ordering)
            except Unanswered as error:
                log.warning("notification perhaps published", reason=error.message)
                notification = notification.model_copy(update={"redelivered": True})
                raise

        await retry_warily(self.policy.store_patience, publish, sleep=sleep)

    @asynccontextmanager
    async def progress(self, delivery: Delivery) -> AsyncIterator[ProgressCallback]:
        """Where the runtime reports a run's progress to for the block.

        The slot hears of it, and subscribers where the policy says so.
        """
        slot, interval = delivery.slot, self.policy.progress_interval

        def report(progress: Progress) -> None:
            slot.report(progress.fraction)
            if progress.preview is not None:
                delivery.show(progress.preview)

        if interval is None:
            yield report
            return

        async def publish(progress: Progress) -> None:
            await self._tell_running(delivery, progress)

        relay = ProgressRelay(publish, interval=interval)
        delivery.preview_written = relay.repeat
        async with relay.relaying() as tell:

            def report_and_tell(progress: Progress) -> None:
                report(progress)
                tell(progress)

            yield report_and_tell
