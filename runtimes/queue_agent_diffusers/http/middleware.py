"""What holds for every request: an id that comes back, and a limit to the body."""

import json
import re
import uuid
from typing import Final

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from queue_agent_diffusers.errors import BodyTooLarge, InvalidRequest, ServerError

ID_HEADER: Final = "X-Request-Id"
_CHECKPOINT: Final = re.compile(r"/v1/jobs/[^/]+/checkpoint")
_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,200}")


def request_id(request: Request) -> str:
    """The id under which a request's job is known."""
    found: str = request.state.request_id
    return found


class RequestIds:
    """Takes the client's `X-Request-Id`, or makes one, and sends it back."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Request(scope).headers.get(ID_HEADER)
        if given is not None and not _ID.fullmatch(given):
            message = f"{ID_HEADER} must be 1 to 200 of A-Z a-z 0-9 . _ : -"
            await send_error(send, InvalidRequest(message, param=ID_HEADER))
            return
        identity = given or str(uuid.uuid4())
        scope.setdefault("state", {})["request_id"] = identity

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[ID_HEADER] = identity
            await send(message)

        await self._app(scope, receive, send_with_id)


class RequestBodyLimit:
    """Answers 413 as soon as a body exceeds the limit, whatever its headers promise."""

    def __init__(self, app: ASGIApp, *, limit: int, of_checkpoints: int) -> None:
        """Bytes of any body, and of one that is a job's checkpoint."""
        self._app = app
        self._limit = limit
        self._of_checkpoints = of_checkpoints

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        received, limit = 0, self._limit
        if scope["type"] == "http" and _CHECKPOINT.fullmatch(scope["path"]):
            limit = self._of_checkpoints
        refusal = BodyTooLarge(f"The body has more than {limit} bytes.")

        async def receive_within_limit() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > limit:
                raise refusal
            return message

        async def send_unless_refused(message: Message) -> None:
            if received <= limit:
                await send(message)

        await self._app(scope, receive_within_limit, send_unless_refused)
        if received > limit:
            await send_error(send, refusal)


async def send_error(send: Send, error: ServerError) -> None:
    """Answer without the application."""
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(error.body).encode()})
