"""NATS JetStream: streams, key-value buckets and object stores; needs the extra ``nats``."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from queue_agent.cloud.nats.cloud import NatsCloud

__all__ = ["NatsCloud"]


def __getattr__(name: str) -> Any:
    """Import on use: addresses are judged without the client, which is an extra."""
    if name == "NatsCloud":
        from queue_agent.cloud.nats.cloud import NatsCloud  # noqa: PLC0415

        return NatsCloud
    raise AttributeError(name)
