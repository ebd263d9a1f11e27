"""Waiting for what another process does, which sets no event of ours."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from queue_agent.cloud import Backlog, Queue

SOON: Final = 60.0
"""Seconds within which what must happen at once has happened, however busy the machine."""
_PAUSE: Final = 0.02


async def eventually(
    condition: Callable[[], Awaitable[object] | object], seconds: float = SOON
) -> None:
    """Wait until the condition holds, asking again and again.

    Raises:
        AssertionError: it does not hold within `seconds`.
    """
    try:
        async with asyncio.timeout(seconds):
            while not await _holds(condition):  # noqa: ASYNC110  other processes set no events
                await asyncio.sleep(_PAUSE)
    except TimeoutError:
        raise AssertionError(f"not within {seconds} s: {condition}") from None


async def comes_to_hold(
    queue: Queue, waiting: int, in_flight: int = 0, *, seconds: float = SOON
) -> None:
    """Wait until the queue counts so many messages, which may be moments after they came.

    Raises:
        AssertionError: it does not within `seconds`.
    """
    seen: Backlog | None = None

    async def holds() -> bool:
        nonlocal seen
        seen = await queue.backlog()
        return seen == Backlog(waiting, in_flight)

    try:
        await eventually(holds, seconds)
    except AssertionError:
        raise AssertionError(f"{seen} after {seconds} s, not {waiting} and {in_flight}") from None


async def _holds(condition: Callable[[], Awaitable[object] | object]) -> bool:
    answer = condition()
    return bool(await answer if isinstance(answer, Awaitable) else answer)
