"""Browsers as tools: which pages may use the gateway through somebody's browser.

A page anywhere can have a name of its own resolve to the gateway's address (DNS rebinding), and
then browsers take gateway and page for the same origin; but they name in `Host` what the page
was called. It can also send forms and open WebSockets to any address; then browsers name the page
in `Origin`: https://fetch.spec.whatwg.org/#origin-header. What is no browser sends none.
"""

from collections.abc import Collection
from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from queue_agent.gateway.refusals import refuse
from queue_agent.wire.problems import Problem
from queue_agent.wire.web_origin import ANY, TrustedHosts, same_origin

_PROBES: Final = frozenset({"/healthz", "/readyz"})
"""They are asked by address from anywhere in the cluster, and tell nothing."""
_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})


class Browsers:
    """Refuses what comes by another name, and what pages of others would change or read."""

    def __init__(
        self, app: ASGIApp, *, hosts: TrustedHosts | None, origins: Collection[str]
    ) -> None:
        """Without `hosts` any name will do; pages of `origins` may do everything."""
        self._app = app
        self._hosts = hosts
        self._origins = {origin.lower() for origin in origins}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in {"http", "websocket"} and scope["path"] not in _PROBES:
            headers = Headers(scope=scope)
            problem = self._fault(scope, headers.getlist("host"), headers.getlist("origin"))
            if problem is not None:
                await refuse(problem, scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _fault(self, scope: Scope, hosts: list[str], origins: list[str]) -> Problem | None:
        host = hosts[0] if len(hosts) == 1 else ""
        if self._hosts is not None and not self._hosts.trust(host):
            return Problem(
                421, "unknown_host", "The gateway is not called so (see "
                "QUEUE_AGENT_GATEWAY_TRUSTED_HOSTS).",
            )  # fmt: skip
        changes = scope["type"] == "websocket" or scope["method"] not in _SAFE_METHODS
        if changes and origins and not self._may(origins, host):
            return Problem(
                403, "forbidden_origin", "Pages of that origin may not use the gateway (see "
                "QUEUE_AGENT_GATEWAY_CORS_ORIGINS).",
            )  # fmt: skip
        return None

    def _may(self, origins: list[str], host: str) -> bool:
        if ANY in self._origins:
            return True
        origin = origins[0].lower() if len(origins) == 1 else ""
        return origin in self._origins or same_origin(origin, host)
