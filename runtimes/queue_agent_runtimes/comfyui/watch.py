"""Waiting for a prompt's end: events tell when to look, history and queue tell the truth."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from pydantic import JsonValue

from queue_agent.wire.errors import RunLost, RuntimeStuck, Unavailable
from queue_agent_runtimes.comfyui.api import ComfyUIApi
from queue_agent_runtimes.comfyui.events import (
    BACK,
    BEGUN,
    IMAGE,
    LOST,
    PREVIEW,
    Event,
    EventStream,
)

Json = dict[str, JsonValue]

SILENCE: Final = 3.0
"""Seconds without an event of ours after which the server is asked."""
LONGEST_UNSEEN: Final = 30.0
"""Seconds after which the server is asked though there are events: those of others' previews bear
no name, and a node's own may go on for ever."""
_AGAIN: Final = 0.5
"""Seconds until the next look after one that told nothing certain."""
_SOON: Final = 0.1
"""Seconds between looks while the history of an ended prompt is being written."""
_SOON_LOOKS: Final = 20
STRANDED: Final = 15.0
"""Seconds for which a prompt may wait while nothing runs; models are freed between two prompts."""
SILENT: Final = 120.0
"""Seconds without an event after which a prompt that an earlier process of ours left running is
told to stop: the longest nodes tell of no progress, and a dead worker does not either."""
SILENT_STILL: Final = 180.0
"""Seconds without an event, once it was told, after which the worker is held to be dead."""
LAST_FRAMES: Final = 120.0
"""Seconds that images may take to come after their prompt has ended: the server encodes large ones
while it answers nothing else."""
_MAX_FAILURES: Final = 3
"""Looks in a row that may fail (the server is busy loading a model) or find nothing."""


class RunIsSilent(Exception):
    """Nothing was heard of a prompt that runs, for as long as was allowed."""


class Watch:
    """One wait for the history entry of a prompt."""

    def __init__(
        self,
        api: ComfyUIApi,
        stream: EventStream,
        on_event: Callable[[Event], Awaitable[None]],
        *,
        silence: float | None = None,
        of_images: bool = False,
    ) -> None:
        """`silence` is for how many seconds the prompt may run without an event. With `of_images`
        all that the server sends is awaited, too; if it is too long in coming, the stream is no
        longer whole."""
        self._api = api
        self._stream = stream
        self._on_event = on_event
        self._of_images = of_images
        self._end_heard = False
        self._ended_since: float | None = None
        self._soon_looks = 0
        self._failures = 0
        self._absences = 0
        self._stranded_since: float | None = None
        self._begun = False
        self._silence = silence
        self._heard_at = asyncio.get_running_loop().time()

    async def entry(self) -> Json:
        """The prompt's history entry, once it has ended.

        Raises:
            Unavailable: the server does not answer.
            RunLost: it does not know the prompt any more (type ``prompt_lost``).
            RuntimeStuck: it holds the prompt, and works on nothing.
            RunIsSilent: it runs, and nothing is heard of it.
        """
        loop = asyncio.get_running_loop()
        look_at, latest = loop.time() + SILENCE, loop.time() + LONGEST_UNSEEN
        while True:
            event = await self._next_event(min(look_at, latest))
            if event is not None and not event.calls_for_a_look and loop.time() < latest:
                self._soon_looks = _SOON_LOOKS if event.announces_the_end else 0
                look_at = loop.time() + self._pause()
                continue
            entry = await self._look()
            if entry is not None and self._all_came():
                return entry
            look_at, latest = loop.time() + self._pause(), loop.time() + LONGEST_UNSEEN

    async def _next_event(self, until: float) -> Event | None:
        try:
            async with asyncio.timeout_at(until):
                event = await self._stream.next()
        except TimeoutError:
            return None
        self._begun = self._begun or event.type not in {LOST, BACK, IMAGE, PREVIEW}
        self._heard_at = asyncio.get_running_loop().time()
        await self._on_event(event)
        if event.type == "execution_start":
            self._end_heard = False
        elif event.announces_the_end or event.is_the_last:
            self._end_heard = True
        return event

    def _all_came(self) -> bool:
        """Whether no image of the prompt that has ended can be on its way."""
        if not self._of_images or self._end_heard or not self._stream.is_whole:
            return True
        now = asyncio.get_running_loop().time()
        self._ended_since = self._ended_since or now
        if now < self._ended_since + LAST_FRAMES:
            return False
        self._stream.is_whole = False
        return True

    async def _look(self) -> Json | None:
        try:
            entry = await self._api.history(self._stream.prompt_id)
            place = await self._api.whereabouts(self._stream.prompt_id) if entry is None else None
        except Unavailable as error:
            self._failures += 1
            if self._failures >= _MAX_FAILURES or error.type != Unavailable.default_type:
                raise
            return None
        self._failures = 0
        if entry is None:
            self._note_absence(absent=place == "unknown")
            self._note_standstill(stranded=place == "stranded")
            self._note_silence(running=place == "running")
        if place == "running" and not self._begun:
            self._begun = True
            await self._on_event(Event(BEGUN, {}))
        return entry

    def _note_standstill(self, *, stranded: bool) -> None:
        now = asyncio.get_running_loop().time()
        if not stranded:
            self._stranded_since = None
        elif self._stranded_since is None:
            self._stranded_since = now
        elif now >= self._stranded_since + STRANDED:
            raise RuntimeStuck(
                "ComfyUI has a prompt waiting and works on none: its worker is dead or hangs."
            )

    def _note_silence(self, *, running: bool) -> None:
        now = asyncio.get_running_loop().time()
        if self._silence is None or not running or not self._stream.connected:
            self._heard_at = now
        elif now >= self._heard_at + self._silence:
            raise RunIsSilent

    def _note_absence(self, *, absent: bool) -> None:
        """Between the two questions the prompt may have ended, so one absence is no proof."""
        self._absences = self._absences + 1 if absent else 0
        if self._absences >= _MAX_FAILURES:
            raise RunLost(
                "ComfyUI does not know the prompt any more: it restarted, or its queue or "
                "history was cleared.",
                type="prompt_lost",
            )

    def _pause(self) -> float:
        if self._failures or self._absences:
            return _AGAIN
        if self._soon_looks:
            self._soon_looks -= 1
            return _SOON
        return SILENCE
