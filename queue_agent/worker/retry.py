"""Trying again: a few times in place, or for as long as it is worth."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception,
    stop_after_attempt,
    wait_random_exponential,
)

from queue_agent.wire.errors import TimedOut, Unavailable

T = TypeVar("T")


async def retry_for(seconds: float, action: Callable[[], Awaitable[T]]) -> T:
    """Repeat what finished work depends on while it is `Unavailable`, for so many seconds."""
    time = asyncio.get_running_loop().time
    end = time() + seconds
    return await _repeat(action, lambda _: time() >= end, longest_pause=5.0)


async def retry_in_place(action: Callable[[], Awaitable[T]], *, attempts: int = 3) -> T:
    """Repeat what is `Unavailable` a few times within a second or two.

    What took too long (`TimedOut`) is not repeated: another pod may do better.
    """
    return await _repeat(action, stop_after_attempt(attempts), longest_pause=1.0)


async def _repeat(
    action: Callable[[], Awaitable[T]],
    stop: Callable[[RetryCallState], bool],
    *,
    longest_pause: float,
) -> T:
    retrying = AsyncRetrying(
        retry=retry_if_exception(_may_pass),
        stop=stop,
        wait=wait_random_exponential(multiplier=0.2, max=longest_pause),
        reraise=True,
    )

    async def attempt() -> T:
        return await action()

    return await retrying(attempt)


def _may_pass(error: BaseException) -> bool:
    return isinstance(error, Unavailable) and not isinstance(error, TimedOut)
