"""Why a cloud refuses, in a few words that all providers share.

The type of an `Unavailable` that a port raises is ``cloud_`` and one of `REASONS`. Its `remedy`
is the provider's, who knows its own codes; what stands here is said where there is none.
"""

from collections.abc import Mapping
from typing import Final

from queue_agent.wire.errors import QueueAgentError, Unavailable

REASONS: Final[Mapping[str, str]] = {
    "unauthorized": "Give the agent the right to do this; `queue-agent check` tries each.",
    "unauthenticated": "Renew the credentials, and look at where they come from.",
    "throttled": "Raise the quota of the service if this lasts, or let fewer agents ask.",
    "not_found": "Does it still exist, and do the settings name it as it is called?",
    "not_implemented": "What answers does not know this request: does the store, or a proxy "
    "before it, support all that the agent needs?",
    "clock_skewed": "Set the clock of this machine: its time service does not run or is wrong.",
    "unavailable": "Is there a way to the service (network policy, proxy, DNS, endpoint), and "
    "does it work?",
}
"""What to do, by reason."""

_PREFIX: Final = "cloud_"


def type_of(reason: str) -> str:
    """The error's type that tells a reason."""
    return _PREFIX + reason


def reason_of(error: Unavailable) -> str:
    """One of `REASONS`; ``unavailable`` where the error is of no other."""
    reason = error.type.removeprefix(_PREFIX)
    return reason if reason in REASONS else "unavailable"


def remedy_of(error: Unavailable) -> str:
    """What the operator can do about it."""
    return error.remedy or REASONS[reason_of(error)]


def in_full(error: QueueAgentError) -> str:
    """What is wrong and, of a cloud that refuses or is away, what to do, for who types commands."""
    if not isinstance(error, Unavailable):
        return error.message
    remedy = remedy_of(error) if error.type.startswith(_PREFIX) else error.remedy
    end = "" if error.message.endswith((".", "?", "!")) else "."
    return f"{error.message}{end} {remedy}" if remedy else error.message
