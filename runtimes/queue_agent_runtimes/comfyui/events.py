"""The events of one prompt, from ComfyUI's WebSocket.

The events: https://docs.comfy.org/development/comfyui-server/comms_messages. A connection
that was away gets no replay, so events only tell when to look; history is the truth.
"""

import asyncio
import ssl
import struct
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self

from pydantic import JsonValue
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from queue_agent.runtime.http import parse_json

_LARGEST_FRAME: Final = 64 * 1024 * 1024
_OPEN_TIMEOUT: Final = 2.0
_CLOSE_TIMEOUT: Final = 1.0
_PONG_TIMEOUT: Final = 120.0
"""The server answers no ping while it encodes images."""
_RECONNECT_PAUSE: Final = 1.0
_TYPE_IS_WITHIN: Final = 80

LOST: Final = "connection_lost"
BACK: Final = "connection_back"
BEGUN: Final = "begun"
"""What the queue tells where the event that the server began with the prompt was missed."""
IMAGE: Final = "image"
BLOCKED: Final = "ExecutionBlocked"
"""The exception's type by which the server tells that a node held back what comes after it."""
_WHOLE_IMAGE: Final = struct.pack(">II", 1, 2)
"""What a frame with a PNG begins with: event and format. Previews are JPEG, as a rule."""
PREVIEW: Final = "preview"
_PREVIEW: Final = struct.pack(">II", 1, 1)
_ENDS: Final = frozenset({"execution_success", "execution_error", "execution_interrupted"})


@dataclass(frozen=True)
class Event:
    type: str
    data: Mapping[str, JsonValue]
    image: bytes = field(default=b"", repr=False)
    """Of an event of type `IMAGE` or `PREVIEW`, which does not tell whose it is."""

    @property
    def calls_for_a_look(self) -> bool:
        """Whether history may tell more now: it is written, or we may have missed that."""
        return self.is_the_last or self.type in {LOST, BACK}

    @property
    def is_the_last(self) -> bool:
        """Whether no other of the prompt comes after it."""
        return self.type == "executing" and self.data.get("node") is None

    @property
    def announces_the_end(self) -> bool:
        """Whether the prompt has ended; its history may still be on the way."""
        return self.type in _ENDS and not self.tells_of_a_block

    @property
    def tells_of_a_block(self) -> bool:
        """Whether a node was kept from running, in a prompt that goes on and may succeed."""
        return self.type == "execution_error" and self.data.get("exception_type") == BLOCKED


class _Direct(connect):
    """Follows no redirect: where it leads nobody has checked, and credentials would go along."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


class EventStream:
    """An async context manager; connects at once, and again while the connection is lost."""

    def __init__(
        self,
        url: str,
        headers: Mapping[str, str],
        tls: ssl.SSLContext | None,
        prompt_id: str,
        *,
        previews: bool = False,
    ) -> None:
        """With `previews`, these are events too."""
        self.prompt_id = prompt_id
        self._previews = previews
        self._url = url
        self._headers = headers
        self._tls = tls if url.startswith("wss:") else None
        self._connection: ClientConnection | None = None
        self.is_whole = False
        """Whether nothing can have been missed since `begin`."""

    @property
    def connected(self) -> bool:
        """Whether events can be heard."""
        return self._connection is not None

    async def reconnect(self) -> None:
        """Do not wait to connect again, where the connection is lost; try it once."""
        if self._connection is None:
            await self._connect()

    def begin(self) -> None:
        """The prompt is about to be submitted."""
        self.is_whole = self._connection is not None

    async def __aenter__(self) -> Self:
        await self._connect()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._connection is not None:
            await self._connection.close()

    async def next(self) -> Event:
        """Wait for the next event of our prompt, or for the connection to go or come back.

        Never raises because of the connection; safe to cancel.
        """
        while True:
            if self._connection is None:
                await asyncio.sleep(_RECONNECT_PAUSE)
                await self._connect()
                if self._connection is not None:
                    return Event(BACK, {})
                continue
            try:
                frame = await self._connection.recv()
            except WebSocketException:
                self._connection = None
                self.is_whole = False
                return Event(LOST, {})
            event = parse_event(frame, self.prompt_id, previews=self._previews)
            if event is not None:
                return event

    async def _connect(self) -> None:
        with suppress(WebSocketException, OSError, TimeoutError):
            self._connection = await _Direct(
                self._url,
                additional_headers=self._headers,
                compression=None,
                max_size=_LARGEST_FRAME,
                open_timeout=_OPEN_TIMEOUT,
                close_timeout=_CLOSE_TIMEOUT,
                ping_timeout=_PONG_TIMEOUT,
                proxy=None,
                ssl=self._tls,
            )


def parse_event(frame: str | bytes, prompt_id: str, *, previews: bool = False) -> Event | None:
    """The event in a frame, if it is one of this prompt.

    Binary frames name no prompt: PNGs are events, and JPEGs are `previews`, where these are wanted.
    `progress_state` repeats, at length, what the other events say, so it is not even parsed.
    """
    if isinstance(frame, bytes):
        return _picture(frame, previews=previews)
    if prompt_id not in frame or '"progress_state"' in frame[:_TYPE_IS_WITHIN]:
        return None
    try:
        value = parse_json(frame)
    except ValueError:
        return None
    if not isinstance(value, dict):
        return None
    kind, data = value.get("type"), value.get("data")
    if isinstance(kind, str) and isinstance(data, dict) and data.get("prompt_id") == prompt_id:
        return Event(kind, data)
    return None


def _picture(frame: bytes, *, previews: bool) -> Event | None:
    if frame.startswith(_WHOLE_IMAGE):
        return Event(IMAGE, {}, frame[len(_WHOLE_IMAGE) :])
    if previews and frame.startswith(_PREVIEW):
        return Event(PREVIEW, {}, frame[len(_PREVIEW) :])
    return None
