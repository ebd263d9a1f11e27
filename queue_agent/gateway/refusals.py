"""Answers to requests that no route sees."""

import asyncio
from contextlib import suppress
from typing import Final

from starlette.types import Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from queue_agent.gateway.problems import render
from queue_agent.wire.problems import Problem

_DISCARD_BYTES: Final = 64 * 2**20
_DISCARD_SECONDS: Final = 10.0


async def refuse(
    problem: Problem, scope: Scope, receive: Receive, send: Send, *, discard: bool = True
) -> None:
    """Answer with the problem, in the dialect of the path.

    `discard`: what is still under way of an HTTP request's body is taken in, so that the client
    sees the answer. In any case the connection ends where there was a body.
    """
    request_id = str(scope.get("state", {}).get("request_id", ""))
    answer = render(problem, path=scope["path"], request_id=request_id)
    if scope["type"] == "websocket":
        await WebSocket(scope, receive, send).send_denial_response(answer)
        return
    if _has_body(scope):
        answer.headers["Connection"] = "close"
    if not discard or not _has_body(scope):
        await answer(scope, receive, send)
        return

    async def send_but_the_end(message: Message) -> None:
        await send({**message, "more_body": True} if "body" in message else message)

    await answer(scope, receive, send_but_the_end)
    await _discard(receive)
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def _has_body(scope: Scope) -> bool:
    return any(
        name == b"transfer-encoding" or (name == b"content-length" and value.strip(b"0"))
        for name, value in scope["headers"]
    )


async def _discard(receive: Receive) -> None:
    """Take in the rest of a refused body and keep nothing, up to a point: a client that is still
    sending would otherwise see the connection break instead of the answer.
    """
    discarded = 0
    with suppress(TimeoutError):
        async with asyncio.timeout(_DISCARD_SECONDS):
            while discarded < _DISCARD_BYTES:
                message = await receive()
                discarded += len(message.get("body", b""))
                if not message.get("more_body", False):
                    return
