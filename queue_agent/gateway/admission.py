"""Who may ask, told by the headers alone, before a byte of the body is read."""

from typing import Final

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from queue_agent.gateway.dependencies import gateway_of
from queue_agent.gateway.refusals import refuse
from queue_agent.wire.problems import Problem

_PUBLIC: Final = frozenset({"/", "/healthz", "/readyz", "/openapi.json"})
_PUBLIC_FOLDER: Final = "/static/"


class Admission:
    """Lets requests and WebSockets in whose key is valid and not used too often.

    Everything is behind it but the page, the probes and the description; what takes a body is
    never public.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in {"http", "websocket"} and not _is_public(scope["path"]):
            connection = HTTPConnection(scope)
            try:
                scope.setdefault("state", {})["caller"] = gateway_of(connection).admit(connection)
            except Problem as problem:
                await refuse(problem, scope, receive, send)
                return
        await self._app(scope, receive, send)


def _is_public(path: str) -> bool:
    return path in _PUBLIC or path.startswith(_PUBLIC_FOLDER)
