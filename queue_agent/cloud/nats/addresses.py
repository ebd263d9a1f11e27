"""How queues, topics and buckets on NATS are named: ``nats://SERVERS/STREAM[/NAME[/PRIORITY]]``.

SERVERS are hosts, each with a port unless it is 4222, by commas; ``tls://`` wants TLS. A topic
is a stream, a queue the consumer NAME of a stream, a bucket a key-value bucket and an object
store of the same name. With the priority ``high`` or ``low`` it is the consumer ``NAME~PRIORITY``,
of jobs that name it.
"""

import re
from dataclasses import dataclass
from typing import Final, Self

from queue_agent.cloud.nats.subjects import queue_subject, token
from queue_agent.wire.priorities import URGENCIES

_SCHEMES: Final = ("nats", "tls")
_PORT: Final = 4222
_NAME: Final = re.compile(r"[A-Za-z0-9_-]+")
"""What streams and buckets may be called; the servers allow a little more."""
_HOST: Final = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?")


@dataclass(frozen=True)
class NatsAddress:
    """One such address."""

    servers: tuple[str, ...]
    """Each as ``nats://host:port``, or ``tls://host:port``."""
    stream: str
    """Or the bucket."""
    name: str = ""
    """Of the runtime whose jobs the consumer gets; empty for topics and buckets."""
    priority: str = ""
    """Of the jobs that it gets; empty: all that no other consumer does."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """The parts of an address.

        Raises:
            ValueError: it is none.
        """
        scheme, separator, rest = text.partition("://")
        hosts, _, path = rest.partition("/")
        if not separator or scheme not in _SCHEMES:
            raise ValueError("is no address of NATS; it looks like nats://host:4222/STREAM")
        if "@" in hosts:
            raise ValueError("holds credentials, which belong in NATS_USER and NATS_PASSWORD")
        servers = hosts.split(",")
        if not all(_HOST.fullmatch(server) for server in servers):
            raise ValueError("names no servers; it looks like nats://host:4222,other:4222/STREAM")
        stream, _, name = path.rstrip("/").partition("/")
        if not _NAME.fullmatch(stream):
            raise ValueError("names no stream or bucket of letters, digits, - and _ after the host")
        runtime, _, priority = name.rpartition("/")
        if not runtime or priority not in URGENCIES:
            runtime, priority = name, ""
        hosts_of = tuple(_with_port(scheme, server) for server in servers)
        return cls(hosts_of, stream, runtime, priority)

    @property
    def consumer(self) -> str:
        """The consumer's name; ``~`` stands in no `token`."""
        name = token(self.name)
        return f"{name}~{self.priority}" if self.priority else name

    @property
    def turns(self) -> str:
        """The name of the consumer of those of its jobs that go before earlier ones."""
        return f"{self.consumer}~turns"

    def subject(self, stream: str | None = None) -> str:
        """Where its jobs are published to, or to what they come as dead letters of a stream."""
        return queue_subject(stream or self.stream, self.name, self.priority)


def is_nats(text: str) -> bool:
    """Whether an address is one of NATS, right or wrong."""
    return text.partition("://")[0] in _SCHEMES and "://" in text


def queue_url(text: str) -> str:
    """A queue's address, as it is.

    Raises:
        ValueError: it is none.
    """
    if not NatsAddress.parse(text).name:
        raise ValueError("names no queue; it looks like nats://host:4222/STREAM/RUNTIME")
    return text


def topic(text: str) -> str:
    """A topic's address, as it is.

    Raises:
        ValueError: it is none.
    """
    if NatsAddress.parse(text).name:
        raise ValueError("is no topic; it looks like nats://host:4222/STREAM")
    return text


def bucket(text: str) -> str:
    """A bucket's address, as it is.

    Raises:
        ValueError: it is none.
    """
    if NatsAddress.parse(text).name:
        raise ValueError("is no bucket; it looks like nats://host:4222/BUCKET")
    return text.rstrip("/")


def _with_port(scheme: str, server: str) -> str:
    has_port = re.search(r":\d+$", server)
    return f"{scheme}://{server}" if has_port else f"{scheme}://{server}:{_PORT}"
