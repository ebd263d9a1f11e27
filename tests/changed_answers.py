"""A fake server in the test's own process, whose answers and frames a test may change."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import uvicorn
from pydantic import JsonValue
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from queue_agent.tasks import background
from queue_agent.testing import eventually


@dataclass(frozen=True)
class Answer:
    """Of an HTTP request."""

    status: int
    body: bytes
    headers: Mapping[str, str]

    def json(self) -> Any:
        return json.loads(self.body)

    def saying(self, value: JsonValue) -> "Answer":
        """The same with another body."""
        return replace(self, body=json.dumps(value).encode())


Frame = str | bytes | None
"""Of a WebSocket; None closes it."""


class ChangedAnswers:
    """The server; `change` and `frames` hold until they are replaced."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.url = ""
        self.asked: list[str] = []
        """Method and path of each request."""
        self.change: Callable[[str, Answer], Answer] = lambda _, answer: answer
        """By method and path, another answer than the fake's."""
        self.frames: Callable[[str | bytes], Iterable[Frame]] = lambda frame: [frame]
        """What is sent instead of a frame."""
        self.beside: Callable[[Send], Awaitable[None]] | None = None
        """What each WebSocket does besides."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._websocket(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        key = f"{scope['method']} {scope['path']}"
        self.asked.append(key)
        status, headers, pieces = 0, {}, []

        async def collect(message: Message) -> None:
            nonlocal status, headers
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = {name.decode(): value.decode() for name, value in message["headers"]}
            else:
                pieces.append(message.get("body", b""))

        await self._app(scope, receive, collect)
        answer = self.change(key, Answer(status, b"".join(pieces), headers))
        told = {**answer.headers, "content-length": str(len(answer.body))}
        await send(
            {
                "type": "http.response.start",
                "status": answer.status,
                "headers": [(name.encode(), value.encode()) for name, value in told.items()],
            }
        )
        await send({"type": "http.response.body", "body": answer.body})

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        opened = asyncio.Event()

        async def open_first(message: Message) -> None:
            await self._framing(send)(message)
            opened.set()

        async def work_beside(work: Callable[[Send], Awaitable[None]]) -> None:
            await opened.wait()
            await work(send)

        if self.beside is None:
            await self._app(scope, receive, self._framing(send))
            return
        async with background(work_beside(self.beside)):
            await self._app(scope, receive, open_first)

    def _framing(self, send: Send) -> Send:
        async def framed(message: Message) -> None:
            if message["type"] != "websocket.send":
                await send(message)
                return
            said = message.get("text")
            for frame in self.frames(said if said is not None else message["bytes"]):
                if frame is None:
                    await send({"type": "websocket.close", "code": 1011})
                    return
                kind = "text" if isinstance(frame, str) else "bytes"
                await send({"type": "websocket.send", kind: frame})

        return framed


@asynccontextmanager
async def changed_answers(app: ASGIApp) -> AsyncIterator[ChangedAnswers]:
    """Serve the application, on the loop of whoever asks for it."""
    changed = ChangedAnswers(app)
    config = uvicorn.Config(changed, port=0, log_level="critical", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    await eventually(lambda: server.started)
    changed.url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    try:
        yield changed
    finally:
        server.should_exit = True
        await serving
