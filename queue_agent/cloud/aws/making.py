"""How `queue-agent setup` goes about one thing: looks for it, makes it, or says how it differs."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import JsonValue

from queue_agent.cloud.refusals import reason_of
from queue_agent.cloud.resources import SetupStep, Tell
from queue_agent.wire.errors import Unavailable

T = TypeVar("T")


@dataclass(frozen=True)
class Difference:
    """How something that is there is not as it is wanted."""

    detail: str
    change: Callable[[], Awaitable[object]] | None
    """Makes it as wanted; None: that cannot be done, and `detail` says why."""


@dataclass(frozen=True)
class Making:
    """Does what is to be done, or in a dry run only tells of it."""

    tell: Tell
    dry: bool
    change: bool
    """Whether what is there may be changed."""

    async def make(self, what: str, action: Callable[[], Awaitable[object]]) -> None:
        """Make what is missing."""
        if not self.dry:
            await action()
        self.tell(SetupStep(what, "made"))

    async def adjust(self, what: str, differences: Iterable[Difference]) -> None:
        """Change what is there, as far as that may be and can be."""
        for difference in differences:
            changed = self.change and difference.change is not None
            if changed and difference.change and not self.dry:
                await difference.change()
            self.tell(SetupStep(what, "changed" if changed else "differs", difference.detail))


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
