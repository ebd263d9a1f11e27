"""What holds for every request: an id, a line in the log, safe headers, a limit to the body."""

import asyncio
import re
import time
import uuid
from typing import Final

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from queue_agent.gateway.refusals import refuse
from queue_agent.wire.problems import TOO_LARGE, Problem

log = structlog.get_logger()

ID_HEADER: Final = "X-Request-Id"
_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_QUIET: Final = frozenset({"/healthz", "/readyz"})
_SAFE: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' blob:; media-src 'self' blob:; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class EveryRequest:
    """Gives the request its id (the caller's own if it is a sensible one), and logs its end."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get(ID_HEADER, "")
        request_id = given if _ID.fullmatch(given) else str(uuid.uuid4())
        scope.setdefault("state", {})["request_id"] = request_id
        status, started = 0, time.monotonic()

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] in {"http.response.start", "websocket.http.response.start"}:
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers[ID_HEADER] = request_id
                for name, value in _SAFE.items():
                    headers.setdefault(name, value)
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self._app(scope, receive, send_with_headers)
            finally:
                if scope["path"] not in _QUIET:
                    log.info(
                        "request",
                        method=scope.get("method", "WEBSOCKET"),
                        path=scope["path"],
                        status=status,
                        seconds=round(time.monotonic() - started, 3),
                    )


class BodyLimit:
    """Answers 413 as soon as a body is too large, whatever its headers promise, and 408 when it
    is not there in time.
    """

    def __init__(self, app: ASGIApp, *, limit: int, seconds: float) -> None:
        self._app = app
        self._limit = limit
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        promised = Headers(scope=scope).get("content-length", "")
        if promised.isdecimal() and int(promised) > self._limit:
            await refuse(_too_large(self._limit), scope, receive, send)
            return
        body = _LimitedBody(receive, self._limit, self._seconds)

        async def send_unless_refused(message: Message) -> None:
            if body.refusal is None:
                await send(message)

        await self._app(scope, body.receive, send_unless_refused)
        if body.refusal is not None:
            await refuse(body.refusal, scope, receive, send, discard=body.is_coming)


class _LimitedBody:
    """What comes of one body; a refusal stands here too, since frameworks make of it what they
    like.
    """

    def __init__(self, receive: Receive, limit: int, seconds: float) -> None:
        self.refusal: Problem | None = None
        self.is_coming = True
        """There may be more of it, and the client sends on."""
        self._receive = receive
        self._limit = limit
        self._seconds = seconds
        self._received = 0
        self._deadline: float | None = None

    async def receive(self) -> Message:
        """The next message; while the body is coming, only in time and while it fits.

        Raises:
            Problem: 413 or 408.
        """
        if not self.is_coming:
            return await self._receive()
        if self._deadline is None:
            self._deadline = asyncio.get_running_loop().time() + self._seconds
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._receive()
        except TimeoutError:
            self.is_coming = False
            self.refusal = _too_slow(self._seconds)
            raise self.refusal from None
        self._received += len(message.get("body", b""))
        self.is_coming = message.get("more_body", False)
        if self._received > self._limit:
            self.refusal = _too_large(self._limit)
            raise self.refusal
        return message


def _too_large(limit: int) -> Problem:
    return Problem(413, TOO_LARGE, f"The body has more than {limit} bytes.")


def _too_slow(seconds: float) -> Problem:
    return Problem(408, "too_slow", f"The body was not there within {seconds:g} s.")
