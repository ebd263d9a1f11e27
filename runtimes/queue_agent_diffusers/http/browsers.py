"""Browsers as tools: no page may use the server through somebody's browser.

A page can have a name of its own resolve to the server's address (DNS rebinding), but browsers
then say that name in `Host`. It can send forms to any address, but browsers then name the page in
`Origin`: https://fetch.spec.whatwg.org/#origin-header. Agents and probes send none.
"""

from collections.abc import Collection
from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from queue_agent.wire.web_origin import TrustedHosts, same_origin
from queue_agent_diffusers.errors import ForbiddenOrigin, ServerError, UnknownHost
from queue_agent_diffusers.http.middleware import send_error

_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})


class BrowserGuard:
    """Refuses what comes by a name that is not the server's, and what pages would change.

    The server may be called `localhost`, by any address (no page is called by an address that
    is not its own), and by the names given; `*` stands for every name.
    """

    def __init__(self, app: ASGIApp, *, hosts: Collection[str] = ()) -> None:
        self._app = app
        self._hosts = TrustedHosts(hosts, addresses=True)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        fault = self._fault(scope) if scope["type"] == "http" else None
        if fault is None:
            await self._app(scope, receive, send)
        else:
            await send_error(send, fault)

    def _fault(self, scope: Scope) -> ServerError | None:
        headers = Headers(scope=scope)
        hosts, origins = headers.getlist("host"), headers.getlist("origin")
        if len(hosts) != 1 or not self._hosts.trust(hosts[0]):
            return UnknownHost("The server is not called so; --allow-host names more.")
        if scope["method"] in _SAFE_METHODS or not origins:
            return None
        if len(origins) == 1 and same_origin(origins[0].lower(), hosts[0]):
            return None
        return ForbiddenOrigin("Pages of others may not use the server.")
