"""Makes what a deployment needs of a cloud, where it is not there yet."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

from queue_agent.cloud.addresses import NatsAddress, is_nats
from queue_agent.cloud.connect import on_nats
from queue_agent.wire.errors import SettingsError


@dataclass(frozen=True)
class Resources:
    """What is to be there, by the addresses that settings hold, and how it is to be."""

    queue_url: str
    notification_topic: str
    bucket: str
    dead_letter_queue_url: str | None = None
    lease: float = 60.0
    """Seconds that a delivered message stays hidden from others."""
    max_receives: int = 3
    """After so many deliveries a message goes to the dead letters."""
    replicas: int = 1
    """Servers that keep each stream: of several the majority has what was acknowledged."""


async def set_up(wanted: Resources, *, dry: bool) -> AsyncIterator[str]:
    """Make what is missing, or with `dry` only find it; what it is, one after the other.

    What is there stays as it is.

    Raises:
        SettingsError: queue and topic are not on NATS.
        Unavailable: the servers do not answer, or refuse.
    """
    if not (is_nats(wanted.queue_url) and is_nats(wanted.notification_topic)):
        raise SettingsError(
            "setup makes queues and topics of NATS (nats://…); on AWS the CDK app makes them."
        )
    from queue_agent.cloud.nats import making  # noqa: PLC0415  an extra

    queue = NatsAddress.parse(wanted.queue_url)
    dead = NatsAddress.parse(wanted.dead_letter_queue_url or dead_letters_of(wanted.queue_url))
    notifications = NatsAddress.parse(wanted.notification_topic).stream
    resources = [
        making.job_stream(queue.stream, replicas=wanted.replicas),
        making.job_stream(dead.stream, replicas=wanted.replicas),
        making.notification_stream(notifications, replicas=wanted.replicas),
        making.consumer(
            queue, lease=wanted.lease, max_receives=wanted.max_receives, dead_letters=dead.stream
        ),
        making.consumer(dead),
    ]
    if is_nats(wanted.bucket):
        name = NatsAddress.parse(wanted.bucket).stream
        resources += making.bucket(name, replicas=wanted.replicas)
    cloud = on_nats(queue.servers)
    try:
        for resource in await making.lacking(cloud.connection, resources):
            if not dry:
                await making.make(cloud.connection, resource)
            yield str(resource)
    finally:
        await cloud.aclose()


def dead_letters_of(queue_url: str) -> str:
    """The address of the dead letters of a queue on NATS that names none."""
    rest, _, name = queue_url.rstrip("/").rpartition("/")
    return f"{rest}-dead/{name}"
