"""What holds for every request: an id, a line in the log, safe headers, a limit to the body."""

import asyncio
import re
import time
import uuid
from contextlib import suppress
from typing import Final

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from queue_agent.gateway.problems import render
from queue_agent.wire.problems import TOO_LARGE, Problem

log = structlog.get_logger()

ID_HEADER: Final = "X-Request-Id"
_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_DISCARD_BYTES: Final = 64 * 2**20
_DISCARD_SECONDS: Final = 10.0
_QUIET: Final = frozenset({"/healthz", "/readyz"})
_SAFE: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
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
    """Answers 413 as soon as a body is too large, whatever its headers promise."""

    def __init__(self, app: ASGIApp, *, limit: int) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        promised = Headers(scope=scope).get("content-length", "")
        refused_at_once = promised.isdecimal() and int(promised) > self._limit
        received, complete = 0, False

        async def receive_within_limit() -> Message:
            nonlocal received, complete
            message = await receive()
            received += len(message.get("body", b""))
            complete = not message.get("more_body", False)
            if received > self._limit:
                raise _too_large(self._limit)
            return message

        async def send_unless_refused(message: Message) -> None:
            if received <= self._limit:
                await send(message)

        if not refused_at_once:
            await self._app(scope, receive_within_limit, send_unless_refused)
            if received <= self._limit:
                return
        if not complete:
            await _discard(receive)
        request_id = str(scope.get("state", {}).get("request_id", ""))
        answer = render(_too_large(self._limit), path=scope["path"], request_id=request_id)
        await answer(scope, receive, send)


async def _discard(receive: Receive) -> None:
    """Take in the rest of a refused body, up to a point: a client that is still sending would
    otherwise see the connection break instead of the answer.
    """
    discarded = 0
    with suppress(TimeoutError):
        async with asyncio.timeout(_DISCARD_SECONDS):
            while discarded < _DISCARD_BYTES:
                message = await receive()
                discarded += len(message.get("body", b""))
                if not message.get("more_body", False):
                    return


def _too_large(limit: int) -> Problem:
    return Problem(
        413, TOO_LARGE, f"The body has more than {limit} bytes.",
        headers={"Connection": "close"},
    )  # fmt: skip
