"""Trying again: a few times in place, or for as long as it is worth."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception,
    stop_after_attempt,
    wait_exponential,
    wait_random,
    wait_random_exponential,
)

from queue_agent.wire.errors import (
    RunLost,
    RuntimeAway,
    RuntimeSick,
    RuntimeStuck,
    TimedOut,
    Unanswered,
    Unavailable,
)

T = TypeVar("T")
Sleep = Callable[[float], Awaitable[None]]

LASTING: Final = (TimedOut, RuntimeAway, RunLost, RuntimeStuck, RuntimeSick)
"""What is not over within a second or two."""
LONGEST_IN_PLACE: Final = 30.0
"""Seconds that the other side may ask for before what it refused is tried again in place."""
_IN_PLACE: Final = wait_random_exponential(multiplier=0.2, max=1.0)
_QUICK: Final = wait_random_exponential(multiplier=0.2, max=5.0)
_WARY: Final = wait_exponential(multiplier=2.0, max=60.0) + wait_random(0.0, 1.0)


async def retry_for(seconds: float, action: Callable[[], Awaitable[T]]) -> T:
    """Repeat what finished work depends on while it is `Unavailable`, for so many seconds."""
    time = asyncio.get_running_loop().time
    end = time() + seconds
    return await _repeat(action, lambda _: time() >= end, _QUICK)


async def retry_warily(
    seconds: float,
    action: Callable[[], Awaitable[T]],
    *,
    sleep: Sleep = asyncio.sleep,
) -> T:
    """Like `retry_for`, for what is heard twice where it is done twice.

    After an attempt that may have been heard (`Unanswered`) the next one waits longer and longer,
    by `sleep`, which may know better.
    """
    time = asyncio.get_running_loop().time
    end = time() + seconds

    def pause(state: RetryCallState) -> float:
        failed = state.outcome.exception() if state.outcome else None
        wait = _WARY if isinstance(failed, Unanswered) else _QUICK
        return min(wait(state), max(0.0, end - time()))

    return await _repeat(action, lambda _: time() >= end, pause, sleep)


async def retry_in_place(action: Callable[[], Awaitable[T]], *, attempts: int = 3) -> T:
    """Repeat what is `Unavailable` a few times within a second or two.

    Where the other side says when (`retry_after`), not before that, and not at all where it is
    longer than `LONGEST_IN_PLACE`: the message is released for so long instead.
    What took too long (`TimedOut`) is not repeated: another pod may do better. Neither is what
    says that the runtime is away, stuck or sick: it takes longer than that to come back.
    """
    return await _repeat(action, stop_after_attempt(attempts), _when_asked)


def _when_asked(state: RetryCallState) -> float:
    failed = state.outcome.exception() if state.outcome else None
    asked = failed.retry_after if isinstance(failed, Unavailable) else 0.0
    return max(asked, _IN_PLACE(state))


async def _repeat(
    action: Callable[[], Awaitable[T]],
    stop: Callable[[RetryCallState], bool],
    pause: Callable[[RetryCallState], float],
    sleep: Sleep = asyncio.sleep,
) -> T:
    try:
        return await action()  # nearly always all: what repeats is made when it is needed
    except Unavailable as error:
        if not _may_pass(error):
            raise
        failed: Unavailable | None = error
    retrying = AsyncRetrying(
        retry=retry_if_exception(_may_pass),
        stop=stop,
        wait=pause,
        sleep=sleep,
        reraise=True,
    )

    async def attempt() -> T:
        nonlocal failed
        if failed is not None:  # the first one, which counts
            error, failed = failed, None
            raise error
        return await action()

    return await retrying(attempt)


def _may_pass(error: BaseException) -> bool:
    if not isinstance(error, Unavailable) or isinstance(error, LASTING):
        return False
    return error.retry_after <= LONGEST_IN_PLACE
