"""Waiting for what another process does, which sets no event of ours."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

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


async def _holds(condition: Callable[[], Awaitable[object] | object]) -> bool:
    answer = condition()
    return bool(await answer if isinstance(answer, Awaitable) else answer)
