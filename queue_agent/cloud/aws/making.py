"""What `queue-agent setup` asks and writes for more than one service of AWS."""

from collections.abc import Awaitable, Sequence
from typing import Any, TypeVar

from pydantic import JsonValue

from queue_agent.cloud.refusals import reason_of
from queue_agent.wire.errors import Unavailable

T = TypeVar("T")


async def found(request: Awaitable[T]) -> T | None:
    """What a request answers that is made with `translated`; None where there is no such thing."""
    try:
        return await request
    except Unavailable as error:
        if reason_of(error) != "not_found":
            raise
        return None


def over_tls_only(client: Any, action: str, *resources: str) -> list[JsonValue]:
    """The statements of a policy that refuse whoever comes without TLS.

    None where the client itself comes so, as to an emulator: nobody could use what it makes.
    """
    if not str(client.meta.endpoint_url).startswith("https:"):
        return []
    statement: dict[str, JsonValue] = {
        "Effect": "Deny",
        "Principal": "*",
        "Action": action,
        "Resource": list(resources),
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }
    return [statement]


def policy(statements: Sequence[JsonValue]) -> dict[str, JsonValue]:
    """A policy of these statements."""
    return {"Version": "2012-10-17", "Statement": list(statements)}
