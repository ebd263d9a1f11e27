"""The end of one delivery's work when its agent must end.

Most messages are given back and worked on elsewhere. One that nobody would get again, since its
queue puts it aside after this delivery, is answered first: its work is ended, and what is left
to tell is told, within `LAST_WORDS` seconds.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from queue_agent.wire.errors import Unavailable

LAST_WORDS: Final = 8.0
"""Seconds for all that a delivery does after it was interrupted: to stop the runtime, to store
what is to be stored, to tell."""
_TO_STORE: Final = 2.0
"""Seconds of them for what is stored while others wait to be told."""
_PAUSE: Final = 1.0
"""Seconds between two tries at the longest, from then on."""


class Interruption:
    """Asked for at most once in a delivery's life."""

    def __init__(self) -> None:
        self._asked = asyncio.Event()
        self._work: asyncio.Timeout | None = None

    def ask(self, *, storing: bool) -> None:
        """End the work under way: at once, or soon where it is only `storing` what was made."""
        self._asked.set()
        if self._work is not None:
            now = asyncio.get_running_loop().time()
            self._work.reschedule(now + _TO_STORE if storing else now)

    @asynccontextmanager
    async def ends(self) -> AsyncIterator[None]:
        """A block that an interruption ends; one that begins after it has two seconds.

        Raises:
            Unavailable: it was ended (type ``agent_stopped``).
        """
        try:
            async with asyncio.timeout(_TO_STORE if self._asked.is_set() else None) as self._work:
                yield
        except TimeoutError:
            if self._work is None or not self._work.expired():
                raise
            raise Unavailable(
                "The agent was told to stop during the last attempt that the queue allows.",
                type="agent_stopped",
            ) from None
        finally:
            self._work = None

    async def pause(self, seconds: float) -> None:
        """Sleep between two tries; an interruption ends that, for tries in what time is left."""
        if self._asked.is_set():
            await asyncio.sleep(min(seconds, _PAUSE))
            return
        try:
            async with asyncio.timeout(seconds):
                await self._asked.wait()
        except TimeoutError:
            return
