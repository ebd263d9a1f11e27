"""A job's way to its end, from what is heard and what the bucket holds."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable

from queue_agent.client.listener import Listener
from queue_agent.client.results import ResultLocation
from queue_agent.wire.notification import Notification
from queue_agent.wire.result import Result

Look = Callable[[], Awaitable[Result | None]]
"""Asks the bucket for the job's result."""


async def follow(
    listener: Listener, place: ResultLocation, look: Look, *, poll: float
) -> AsyncGenerator[Notification]:
    """The job's news as they come, the last of them final.

    Progress that came while the reader was busy is left out but for the latest. The bucket is
    asked at the beginning, when the end is heard, and every `poll` seconds.
    """
    clock = asyncio.get_running_loop().time
    shown: tuple[float | None, str | None] = None, None
    next_look = clock()
    while True:
        count, latest = listener.count(place.id), listener.latest(place.id)
        ended = latest is not None and place.ends_by(latest)
        if ended or clock() >= next_look:
            result = await look()
            if result is not None:
                yield result.notification()
                return
            next_look = clock() + poll
        if latest is not None and ended:
            yield latest  # its manifest could not be written
            return
        if latest is not None and latest.status == "running":
            told = latest.progress, latest.stage
            if told != shown:
                shown = told
                yield latest
        await listener.changed(place.id, count, patience=max(0.0, next_look - clock()))
