"""Where inputs may come from: URLs and addresses, judged before anything is contacted.

Nothing here does I/O. URLs are read strictly, because a guard and a client that read one
URL differently are a way around the guard: what has more than one spelling (``127.1``,
``0x7f000001``, full-width digits, zone ids) is refused, never interpreted. Every refusal
is `Rejected` of type ``reference_forbidden``; its message completes a sentence that
begins with the URL.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import Final, Self
from unicodedata import normalize
from urllib.parse import unquote, urljoin, urlsplit

from queue_agent.wire.errors import Rejected

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_LONGEST: Final = 16_384
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*(?=:)")
_NETLOC: Final = re.compile(
    r"(?:\[(?P<ipv6>[0-9A-Fa-f:.]+)\]|(?P<name>[^\[\]:@]+))(?::(?P<port>[0-9]{0,5}))?"
)
_NAME: Final = re.compile(r"(?=.{1,253}$)[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*")
_ENDS_IN_A_NUMBER: Final = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)")
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
_BUCKET: Final = re.compile(r"(?=.{3,63}$)[a-z0-9](?:-*[a-z0-9])*(?:\.[a-z0-9](?:-*[a-z0-9])*)*")
_LONGEST_KEY: Final = 1024
"""Bytes: https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html"""
_STEPS: Final = frozenset({".", ".."})
"""Segments of keys that some stores and proxies resolve."""

# https://www.iana.org/assignments/ipv6-unicast-address-assignments/
_GLOBAL_UNICAST: Final = IPv6Network("2000::/3")
_NAT64: Final = IPv6Network("64:ff9b::/96")
# Special-purpose networks that not every Python 3.11 counts as private:
# https://www.iana.org/assignments/iana-ipv4-special-registry/ (and ipv6)
_SPECIAL: Final[tuple[Network, ...]] = (
    IPv4Network("192.0.0.0/24"),
    IPv4Network("192.88.99.0/24"),
    IPv6Network("2001::/23"),
    IPv6Network("2001:db8::/32"),
    IPv6Network("3fff::/20"),
)
_METADATA: Final[frozenset[Address]] = frozenset(
    ip_address(address)
    for address in (
        "169.254.169.254",  # AWS, Azure, Google Cloud and others
        "fd00:ec2::254",
        "169.254.170.2",  # ECS task credentials
        "169.254.170.23",  # EKS Pod Identity
        "fd00:ec2::23",
        "fd20:ce::254",  # Google Cloud
        "168.63.129.16",  # Azure's wire server
        "100.100.100.200",  # Alibaba Cloud
        "192.0.0.192",  # Oracle Cloud
    )
)


@dataclass(frozen=True)
class HttpLocation:
    """The parts of an http(s) URL that say whom to ask for what."""

    scheme: str
    host: str
    """A name in lower case, or an address without brackets."""
    port: int
    path: str
    query: str

    @property
    def address(self) -> Address | None:
        """The host where it is an address; None where it is a name."""
        try:
            return ip_address(self.host)
        except ValueError:
            return None

    @property
    def authority(self) -> str:
        """The `Host` header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def public(self) -> str:
        """The URL without its query, which may hold a signature, for people and logs."""
        return f"{self.scheme}://{self.authority}{self.path}"

    def at(self, address: Address) -> str:
        """The URL that asks this very address."""
        host = f"[{address}]" if isinstance(address, IPv6Address) else str(address)
        query = f"?{self.query}" if self.query else ""
        return f"{self.scheme}://{host}:{self.port}{self.path or '/'}{query}"

    def redirected(self, target: str) -> Self:
        """Where a redirect from here leads; `target` may be relative.

        Raises:
            Rejected: it leads to where no reference may point, or from https to http.
        """
        try:
            location = self.parse(urljoin(self.public, target))
        except (Rejected, ValueError) as error:
            raise forbidden("redirects to where no reference may point") from error
        if self.scheme == "https" and location.scheme == "http":
            raise forbidden("redirects from https to http")
        return location

    @classmethod
    def parse(cls, url: str) -> Self:
        """Read an http(s) URL.

        Raises:
            Rejected: it has another scheme, carries credentials, or is not well-formed.
        """
        scheme = scheme_of(url)
        if scheme not in _DEFAULT_PORTS:
            raise forbidden(f"has the scheme {scheme[:20]!r}; only https, http and s3 are fetched")
        if not url.isprintable() or url != url.strip() or len(url) > _LONGEST:
            raise forbidden("is too long, or holds control characters or outer blanks")
        try:
            parts = urlsplit(url)
        except ValueError as error:
            raise forbidden("is no well-formed URL") from error
        if "@" in parts.netloc:
            raise forbidden("carries credentials")
        found = _NETLOC.fullmatch(parts.netloc)
        if not found:
            raise forbidden("names no host that can be understood")
        host = _ipv6(found["ipv6"]) if found["ipv6"] else _host(found["name"])
        port = int(found["port"] or _DEFAULT_PORTS[scheme])
        if not 0 < port < 65_536:
            raise forbidden("names no valid port")
        return cls(scheme, host, port, parts.path, parts.query)


@dataclass(frozen=True)
class ObjectLocation:
    """A bucket and a key, from ``s3://bucket/key``: the one judge of such names.

    Raises:
        Rejected: it names no bucket or key, or the key steps out of its prefix, as it stands or
            as a store or proxy may read it.
    """

    bucket: str
    key: str

    def __post_init__(self) -> None:
        if not _BUCKET.fullmatch(self.bucket) or _is_address(self.bucket):
            raise forbidden("names no bucket")
        key, read = self.key, normalize("NFKC", unquote(self.key))
        if not key or not key.isprintable() or len(key.encode()) > _LONGEST_KEY:
            raise forbidden("names no valid object key")
        if not read.isprintable() or _STEPS & {*re.split(r"[/\\]", read)}:
            raise forbidden("names no valid object key")

    @property
    def public(self) -> str:
        return f"s3://{self.bucket}/{self.key.partition('?')[0]}"

    @classmethod
    def parse(cls, url: str) -> Self:
        """Read an s3 URL; the key stands as it is, nothing in it is percent-decoded.

        Raises:
            Rejected: it is none.
        """
        bucket, _, key = url.partition("://")[2].partition("/")
        return cls(bucket, key)


@dataclass(frozen=True)
class Allowlist:
    """Networks and hosts that the operator trusts although they are not public."""

    networks: tuple[Network, ...]
    hosts: frozenset[str]
    suffixes: tuple[str, ...]
    """With their leading dot."""

    @classmethod
    def parse(cls, entries: Iterable[str]) -> Self:
        """Read networks (CIDR), addresses, host names and ``*.suffix`` entries.

        Raises:
            ValueError: an entry is none of these.
        """
        networks: list[Network] = []
        hosts: set[str] = set()
        suffixes: list[str] = []
        for entry in entries:
            name = entry.lower().removesuffix(".")
            if "/" in name or _is_address(name):
                networks.append(ip_network(name))
            elif not _is_name(name.removeprefix("*.")):
                raise ValueError(f"{entry!r} is no network, address, host name or *.suffix")
            elif name.startswith("*."):
                suffixes.append(name[1:])
            else:
                hosts.add(name)
        return cls(tuple(networks), frozenset(hosts), tuple(suffixes))

    def names(self, place: HttpLocation) -> bool:
        """Whether the entries name the host of a URL, wherever that leads."""
        if place.address is not None:
            return any(place.address in network for network in self.networks)
        return place.host in self.hosts or place.host.endswith(self.suffixes)

    def permits(self, host: str, address: Address) -> bool:
        """Whether an input may be fetched from `host` at `address`.

        A cloud's metadata service is reached only where its very address is listed:
        a trusted network or suffix (``*.ec2.internal``) may well hold it unnoticed.
        """
        address = _embedded(address)
        if address in _METADATA:
            return ip_network(address) in self.networks
        return (
            is_public(address)
            or any(address in network for network in self.networks)
            or host in self.hosts
            or host.endswith(self.suffixes)
        )


def is_public(address: Address) -> bool:
    """Whether the address is one host of the public internet, and of nothing nearer."""
    address = _embedded(address)
    if address in _METADATA or any(address in network for network in _SPECIAL):
        return False
    if isinstance(address, IPv6Address):
        return address in _GLOBAL_UNICAST and address.is_global
    return address.is_global and not (address.is_multicast or address.is_reserved)


def scheme_of(url: str) -> str:
    """The URL's scheme in lower case; empty where it has none."""
    found = _SCHEME.match(url)
    return found[0].lower() if found else ""


def forbidden(reason: str) -> Rejected:
    """The refusal of a reference; `reason` continues "https://… "."""
    return Rejected(reason, type="reference_forbidden")


def _embedded(address: Address) -> Address:
    """The IPv4 address that an IPv6 address stands for, or the address itself.

    NAT64 (RFC 6052), IPv4-mapped and 6to4 addresses are routed to the IPv4 host they hold.
    """
    if isinstance(address, IPv4Address):
        return address
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped or address.sixtofour or address


def _ipv6(text: str) -> str:
    try:
        return str(IPv6Address(text))
    except ValueError as error:
        raise forbidden("names no valid IPv6 address") from error


def _host(text: str) -> str:
    """A host name or a canonical IPv4 address, in lower case.

    Names of other scripts must come in their ASCII form (``xn--…``): mapping them ourselves
    would turn full-width digits and dots into addresses.
    """
    if _is_address(text):
        return text
    name = text.lower().removesuffix(".")
    if not _is_name(name):
        raise forbidden("names no valid host: a name in ASCII or a plain address is expected")
    return name


def _is_name(text: str) -> bool:
    return bool(_NAME.fullmatch(text)) and not _ENDS_IN_A_NUMBER.fullmatch(text)


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return "%" not in text
