"""The streams, buckets and object stores of one set of NATS servers."""

import os
from collections.abc import Mapping, Sequence
from typing import Final

from nats.js.api import StorageType

from queue_agent.cloud import Cloud
from queue_agent.cloud.clock import CloudClock
from queue_agent.cloud.nats.addresses import NatsAddress, is_nats
from queue_agent.cloud.nats.buckets import NatsBucket
from queue_agent.cloud.nats.connection import Connection
from queue_agent.cloud.nats.credentials import Credentials
from queue_agent.cloud.nats.publishing import Publisher
from queue_agent.cloud.nats.queues import Leases, NatsQueue
from queue_agent.cloud.nats.topics import NatsTopic
from queue_agent.cloud.refusals import reason_of
from queue_agent.wire.errors import Unavailable

_ENOUGH: Final = 3
"""Servers of which the majority has what was acknowledged when one fails."""


_IN_MEMORY: Final = "In memory, and gone with the server: %s."
_ON_ONE: Final = (
    "On fewer than three servers: %s. A server writes what it acknowledged to disk every two "
    "minutes unless its configuration says sync_interval: always; whether it does cannot be told "
    "from here. A host that fails loses the rest. See docs/nats.md."
)


class NatsCloud(Cloud):
    """One connection, made on first use and shared by all ports."""

    def __init__(
        self,
        servers: Sequence[str],
        environment: Mapping[str, str] | None = None,
        *,
        clock: CloudClock | None = None,
    ) -> None:
        """`servers`: each ``nats://host:port``, or ``tls://host:port``.

        Credentials and certificates are found in the environment, by the names that NATS's own
        command has for them: ``NATS_CREDS``, ``NATS_NKEY``, ``NATS_USER``, ``NATS_PASSWORD``,
        ``NATS_CA``, ``NATS_CERT``, ``NATS_KEY``.

        Raises:
            SettingsError: one of the files cannot be read, or holds nothing of use.
        """
        environment = os.environ if environment is None else environment
        self._clock = clock or CloudClock()
        self._connection = Connection(servers, Credentials(environment), clock=self._clock)
        self._leases = Leases()
        self._publisher = Publisher(self._connection)

    @property
    def connection(self) -> Connection:
        """For what the ports do not do: to make streams, and to look at the servers."""
        return self._connection

    def queue(self, url: str) -> NatsQueue:
        return NatsQueue(self._connection, NatsAddress.parse(url), self._leases, self._publisher)

    def topic(self, name: str) -> NatsTopic:
        return NatsTopic(self._connection, NatsAddress.parse(name), self._publisher)

    def bucket(self, name: str) -> NatsBucket:
        """By its address, or its bare name."""
        named = NatsAddress.parse(name).stream if is_nats(name) else name
        return NatsBucket(self._connection, named)

    def now(self) -> float:
        return self._clock.now()

    async def durability(self, addresses: Sequence[str], *, bucket: str | None = None) -> str:
        streams = list(dict.fromkeys(NatsAddress.parse(one).stream for one in addresses))
        if bucket is not None:
            streams += self.bucket(bucket).streams
        in_memory, on_one = [], []
        try:
            for stream in streams:
                async with self._connection.using(f"read the stream {stream}") as js:
                    config = (await js.stream_info(stream)).config
                if config.storage == StorageType.MEMORY:
                    in_memory.append(stream)
                elif (config.num_replicas or 1) < _ENOUGH:
                    on_one.append(stream)
        except Unavailable as error:
            if reason_of(error) != "unauthorized":
                raise
            return f"Whether what was acknowledged can be lost cannot be told: {error.message}"
        told = [_IN_MEMORY % _named(in_memory)] * bool(in_memory)
        return " ".join(told + [_ON_ONE % _named(on_one)] * bool(on_one))

    async def aclose(self) -> None:
        await self._connection.aclose()


def _named(streams: Sequence[str]) -> str:
    return f"the stream{'s' * (len(streams) > 1)} {', '.join(streams)}"
