"""HTTP to places that publishers name: only to addresses that may be contacted.

A host is resolved once, all its addresses are checked, and the connection goes to one of
the checked addresses, so that a second answer of the name server cannot lead elsewhere.
No redirect is followed here. See `queue_agent.inputs.addresses` for what is refused, and why.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

from queue_agent.inputs.addresses import Address, Allowlist, HttpLocation, forbidden
from queue_agent.wire.errors import Rejected, Unavailable
from queue_agent.wire.retry_after import seconds_asked_for

if TYPE_CHECKING:
    import httpx

Resolver = Callable[[str, int], Awaitable[Sequence[str]]]
"""From a host name and a port to addresses; raises `socket.gaierror` as getaddrinfo does."""

# Not every C library knows EAI_NODATA.
_NO_SUCH_HOST: Final = frozenset(
    {socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)}
)


class GuardedHttp:
    """A client without proxies, cookies, redirects, or logged query strings.

    `timeout` is in seconds and shared by the attempts to connect to a host's addresses; the
    caller limits the whole exchange. `connections` may be open at a time.
    """

    def __init__(
        self,
        allowlist: Allowlist,
        *,
        timeout: float,
        connections: int,
        resolve: Resolver | None = None,
    ) -> None:
        self._allowlist = allowlist
        self._timeout = timeout
        self._connections = connections
        self._resolve = resolve or _resolve
        self._opened: httpx.AsyncHTTPTransport | None = None

    @asynccontextmanager
    async def exchange(
        self,
        method: str,
        place: HttpLocation,
        *,
        headers: Mapping[str, str] | None = None,
        content: bytes = b"",
    ) -> AsyncIterator["httpx.Response"]:
        """A response whose body is still to be read, within the block.

        Raises:
            Rejected: of type ``reference_forbidden`` or ``reference_not_found`` (no such host);
                like that of `Unavailable`, its message continues "https://… ".
            Unavailable: there is no connection, or it breaks within the block.
        """
        import httpx  # noqa: PLC0415  a tenth of a second that most commands need not pay

        try:
            response = await self._ask(method, place, headers or {}, content)
            try:
                yield response
            finally:
                await response.aclose()
        except httpx.TransportError as error:
            reason = str(error) or type(error).__name__
            raise Unavailable(f"cannot be reached: {reason}") from error

    async def aclose(self) -> None:
        """Close what is open; a later `exchange` opens anew."""
        if self._opened:
            await self._opened.aclose()
            self._opened = None

    async def _ask(
        self, method: str, place: HttpLocation, headers: Mapping[str, str], content: bytes
    ) -> "httpx.Response":
        """The response of the first address that can be connected to."""
        import httpx  # noqa: PLC0415

        addresses = await self._checked_addresses(place)
        each = self._timeout / len(addresses)
        timeouts = httpx.Timeout(self._timeout, connect=each).as_dict()
        extensions: dict[str, object] = {"timeout": timeouts}
        if place.address is None:
            # Names the certificate that the server must show, too.
            extensions["sni_hostname"] = place.host
        for address in addresses:
            request = httpx.Request(
                method,
                place.at(address),
                headers={
                    "Host": place.authority,
                    "Accept-Encoding": "identity",
                    "User-Agent": "queue-agent",
                    **headers,
                },
                content=content,
                extensions=extensions,
            )
            try:
                return await self._transport.handle_async_request(request)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                if address == addresses[-1]:
                    raise
        raise AssertionError("unreachable: there is at least one address")

    async def _checked_addresses(self, place: HttpLocation) -> Sequence[Address]:
        """All addresses of the host, if every one of them may be contacted.

        One bad address condemns the name: no honest host is public and private at once,
        and picking the good ones would leave the choice to whoever wrote the answer.
        """
        if place.address is not None:
            addresses = [place.address]
        else:
            try:
                found = await self._resolve(place.host, place.port)
            except socket.gaierror as error:
                if error.errno in _NO_SUCH_HOST:
                    raise _no_such_host(place) from error
                raise Unavailable(f"cannot be reached: {place.host} is not resolved") from error
            addresses = [ip_address(address) for address in found]
            if not addresses:
                raise _no_such_host(place)
        if not all(self._allowlist.permits(place.host, address) for address in addresses):
            raise forbidden(f"leads to {place.host}, which is not on the public internet")
        return addresses

    @property
    def _transport(self) -> "httpx.AsyncHTTPTransport":
        """Connections are not kept: they are pooled by address, and one that was made for
        (and whose certificate names) one host must not serve another at the same address.
        """
        if self._opened is None:
            import httpx  # noqa: PLC0415

            self._opened = httpx.AsyncHTTPTransport(
                verify=httpx.create_ssl_context(),
                limits=httpx.Limits(max_connections=self._connections, max_keepalive_connections=0),
            )
        return self._opened


def refusal_for_now(response: "httpx.Response") -> Unavailable | None:
    """What the status means, if asking again may end better, and not before its server says so.

    Its message continues "https://… ".
    """
    status = response.status_code
    if status not in {408, 425, 429} and status < 500:
        return None
    asked = seconds_asked_for(response.headers.get("Retry-After", ""))
    return Unavailable(f"is not available now (HTTP {status})", retry_after=asked)


async def _resolve(host: str, port: int) -> Sequence[str]:
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(info[4][0]) for info in found))


def _no_such_host(place: HttpLocation) -> Rejected:
    return Rejected(f"leads to {place.host}, which does not exist", type="reference_not_found")
