"""Browsers as tools: which pages may use the gateway through somebody's browser.

A page anywhere can have a name of its own resolve to the gateway's address (DNS rebinding), and
then browsers take gateway and page for the same origin; but they name in `Host` what the page
was called. It can also send forms and open WebSockets to any address; then browsers name the page
in `Origin`: https://fetch.spec.whatwg.org/#origin-header. What is no browser sends none.
"""

import ipaddress
import re
from collections.abc import Collection
from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from queue_agent.gateway.refusals import refuse
from queue_agent.wire.problems import Problem

ANY: Final = "*"
_HOST: Final = re.compile(r"(?P<name>\[[0-9a-f:.]+\]|[a-z0-9_.-]+)(:(?P<port>[0-9]{1,5}))?")
_PROBES: Final = frozenset({"/healthz", "/readyz"})
"""They are asked by address from anywhere in the cluster, and tell nothing."""
_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_DEFAULT_PORTS: Final = {"http": "80", "https": "443"}


class TrustedHosts:
    """The names and addresses that a gateway may be called by."""

    def __init__(self, names: Collection[str], *, addresses: bool) -> None:
        """`addresses`: any address will do, and not those of the loopback interface alone; no
        page can be called by an address that is not its own.
        """
        self._names = {name.lower().removesuffix(".") for name in names} | {"localhost"}
        self._addresses = addresses

    def trust(self, host: str) -> bool:
        """Whether it is one, with or without a port."""
        if ANY in self._names:
            return True
        name = host_of(host)
        if name is None:
            return False
        try:
            address = ipaddress.ip_address(name.strip("[]"))
        except ValueError:
            return name in self._names
        return self._addresses or address.is_loopback or name in self._names


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
        return origin in self._origins or _same_origin(origin, host)


def host_of(value: str) -> str | None:
    """The name or address in a `Host` header, in lower case and without the root's dot; None if
    it is neither.
    """
    found = _HOST.fullmatch(value.lower())
    if found is None or int(found["port"] or 0) > 65_535:
        return None
    return found["name"].removesuffix(".") or None


def _same_origin(origin: str, host: str) -> bool:
    """Whether a page of that origin came from here; the scheme is not compared, since a proxy may
    have taken TLS off.
    """
    scheme, _, place = origin.partition("://")
    port = _DEFAULT_PORTS.get(scheme)
    if port is None:
        return False
    page = _place(place, port)
    return page is not None and page == _place(host, port)


def _place(value: str, default_port: str) -> tuple[str, str] | None:
    found = _HOST.fullmatch(value.lower())
    return (found["name"], found["port"] or default_port) if found else None
