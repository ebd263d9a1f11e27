"""The streams, buckets and object stores of one set of NATS servers."""

import os
import ssl
from collections.abc import Mapping, Sequence
from typing import Any, Final

from nats.js.api import StorageType

from queue_agent.cloud import Cloud
from queue_agent.cloud.clock import CloudClock
from queue_agent.cloud.nats.addresses import NatsAddress, is_nats
from queue_agent.cloud.nats.buckets import NatsBucket
from queue_agent.cloud.nats.connection import Connection
from queue_agent.cloud.nats.publishing import Publisher
from queue_agent.cloud.nats.queues import Leases, NatsQueue
from queue_agent.cloud.nats.topics import NatsTopic
from queue_agent.wire.errors import SettingsError

_ENOUGH: Final = 3
"""Servers of which the majority has what was acknowledged when one fails."""


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
            SettingsError: one of the files cannot be read.
        """
        environment = os.environ if environment is None else environment
        self._clock = clock or CloudClock()
        self._connection = Connection(servers, _options(servers, environment), clock=self._clock)
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

    async def durability(self, queue_url: str) -> str:
        stream = NatsAddress.parse(queue_url).stream
        async with self._connection.using("read the stream") as js:
            config = (await js.stream_info(stream)).config
        if config.storage == StorageType.MEMORY:
            return f"The stream {stream} lies in memory: all of it ends with the server."
        if (config.num_replicas or 1) >= _ENOUGH:
            return ""
        return (
            f"The stream {stream} lies on one server, which writes what it acknowledged to disk "
            "every two minutes unless its configuration says sync_interval: always; whether it "
            "does cannot be told from here. A host that fails loses the rest. See docs/nats.md."
        )

    async def aclose(self) -> None:
        await self._connection.aclose()


def _options(servers: Sequence[str], environment: Mapping[str, str]) -> dict[str, Any]:
    """What the client is told of who we are, and of whom we trust."""
    given = {name: value for name, value in environment.items() if value}
    options: dict[str, Any] = {}
    for name, option in (
        ("NATS_CREDS", "user_credentials"),
        ("NATS_NKEY", "nkeys_seed"),
        ("NATS_USER", "user"),
        ("NATS_PASSWORD", "password"),
    ):
        if name in given:
            options[option] = given[name]
    for name in ("NATS_CREDS", "NATS_NKEY"):
        if name in given and not os.access(given[name], os.R_OK):
            raise SettingsError(f"{name}: {given[name]} cannot be read.")
    if any(server.startswith("tls:") for server in servers):
        options["tls"] = _trust(given)
    return options


def _trust(given: Mapping[str, str]) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=given.get("NATS_CA"))
        if "NATS_CERT" in given:
            context.load_cert_chain(given["NATS_CERT"], given.get("NATS_KEY"))
    except OSError as error:  # what ssl raises is one
        raise SettingsError(f"NATS_CA, NATS_CERT or NATS_KEY: {error}.") from error
    return context
