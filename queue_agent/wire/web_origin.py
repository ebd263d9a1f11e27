"""By which names a server may be called, and which pages are its own.

Read from a request's `Host` and `Origin`: https://fetch.spec.whatwg.org/#origin-header.
"""

import ipaddress
import re
from collections.abc import Collection
from typing import Final

ANY: Final = "*"
_HOST: Final = re.compile(r"(?P<name>\[[0-9a-f:.]+\]|[a-z0-9_.-]+)(:(?P<port>[0-9]{1,5}))?")
_DEFAULT_PORTS: Final = {"http": "80", "https": "443"}


class TrustedHosts:
    """The names and addresses that a server may be called by."""

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


def host_of(value: str) -> str | None:
    """The name or address in a `Host` header, in lower case and without the root's dot; None if
    it is neither.
    """
    found = _HOST.fullmatch(value.lower())
    if found is None or int(found["port"] or 0) > 65_535:
        return None
    return found["name"].removesuffix(".") or None


def same_origin(origin: str, host: str) -> bool:
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
