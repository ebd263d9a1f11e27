"""The fake's WebSocket connections and what is sent over them."""

import asyncio
import io
import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

from fastapi import WebSocket, WebSocketDisconnect
from PIL import Image
from pydantic import JsonValue

from fakes.comfyui.faults import Faults

Json = dict[str, JsonValue]
_FLOOD_FRAMES = 300
_PNG_HEAD = struct.pack(">II", 1, 2)
_PREVIEW_HEAD = struct.pack(">II", 1, 1)


def _jpeg() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (64, 64), (90, 30, 200)).save(file, "JPEG")
    return file.getvalue()


@dataclass
class Sockets:
    """One outgoing queue per connected client."""

    faults: Faults = field(default_factory=Faults)
    _outgoing: dict[str, asyncio.Queue[str | bytes | None]] = field(default_factory=dict)
    opened: int = 0
    _preview: bytes = field(default_factory=_jpeg)

    @property
    def connected(self) -> int:
        return len(self._outgoing)

    def send(self, event: str, data: Json, client_id: str | None) -> None:
        """Queue an event for one client, or for all; nobody there means nobody hears it."""
        if self.faults.socket == "silent":
            return
        frame = json.dumps({"type": event, "data": data})
        for outgoing in self._queues(client_id):
            if self.faults.socket == "flood":
                self._flood(outgoing)
            outgoing.put_nowait(frame)
            if self.faults.socket == "drop" and event == "progress":
                outgoing.put_nowait(None)

    def send_preview(self, client_id: str | None) -> None:
        for outgoing in self._queues(client_id):
            outgoing.put_nowait(_PREVIEW_HEAD + self._preview)

    def send_image(self, png: bytes, client_id: str | None) -> None:
        for outgoing in self._queues(client_id):
            outgoing.put_nowait(_PNG_HEAD + png)
            if self.faults.socket == "drop":
                outgoing.put_nowait(None)

    async def serve(
        self, socket: WebSocket, client_id: str, first: Sequence[tuple[str, Json]]
    ) -> None:
        """Send the first events, and what is queued until the client goes away or is dropped."""
        outgoing: asyncio.Queue[str | bytes | None] = asyncio.Queue()
        self._outgoing[client_id] = outgoing
        self.opened += 1
        try:
            for event, data in first:
                await socket.send_json({"type": event, "data": data})
            async with asyncio.TaskGroup() as tasks:
                sender = tasks.create_task(self._send_queued(socket, outgoing))
                await _wait_until_closed(socket)
                sender.cancel()
        finally:
            if self._outgoing.get(client_id) is outgoing:
                del self._outgoing[client_id]

    async def _send_queued(
        self, socket: WebSocket, outgoing: asyncio.Queue[str | bytes | None]
    ) -> None:
        try:
            while (frame := await outgoing.get()) is not None:
                if isinstance(frame, bytes):
                    while self.faults.socket == "busy" and frame.startswith(_PNG_HEAD):  # noqa: ASYNC110  simple enough
                        await asyncio.sleep(0.001)
                    await socket.send_bytes(frame)
                else:
                    await socket.send_text(frame)
            await socket.close()
        except (WebSocketDisconnect, RuntimeError):
            return  # the client went away while we were sending

    def _queues(self, client_id: str | None) -> list[asyncio.Queue[str | bytes | None]]:
        if client_id is None:
            return list(self._outgoing.values())
        return [self._outgoing[client_id]] if client_id in self._outgoing else []

    def _flood(self, outgoing: asyncio.Queue[str | bytes | None]) -> None:
        status: Json = {"status": {"exec_info": {"queue_remaining": 1}}}
        for number in range(_FLOOD_FRAMES):
            outgoing.put_nowait(json.dumps({"type": "status", "data": status}))
            outgoing.put_nowait(b"\x00\x00\x00\x63" + bytes(64))
            foreign: Json = {"value": number, "max": 1, "prompt_id": "another", "node": "1"}
            outgoing.put_nowait(json.dumps({"type": "progress", "data": foreign}))


async def _wait_until_closed(socket: WebSocket) -> None:
    try:
        while True:
            await socket.receive_text()
    except (WebSocketDisconnect, RuntimeError):
        return
