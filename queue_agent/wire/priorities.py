"""How urgent a job is: which queue of its runtime it goes to, where there are several.

Topics pass it on as an attribute, by which queues filter: `normal` is the queue that takes what no
other queue of the runtime does, so that nothing is dropped for want of one.
"""

from collections.abc import Collection
from typing import Final, Literal, get_args

from pydantic import JsonValue

Priority = Literal["high", "normal", "low"]
Urgency = Literal["high", "low"]
"""Those that have a queue beside the usual one."""

PRIORITY_ATTRIBUTE: Final = "priority"
PRIORITIES: Final[tuple[str, ...]] = get_args(Priority)
"""The most urgent first."""
NORMAL: Final[Priority] = "normal"
URGENCIES: Final[tuple[str, ...]] = get_args(Urgency)


def filter_of(priority: str, others: Collection[str]) -> list[JsonValue] | None:
    """What the queue of a priority takes, as SNS filters by the attribute; None: anything.

    `others`: the priorities that have queues of their own beside the usual one.
    https://docs.aws.amazon.com/sns/latest/dg/string-value-matching.html
    """
    if priority != NORMAL:
        return [priority]
    if not others:
        return None
    return [{"exists": False}, {"anything-but": [it for it in URGENCIES if it in others]}]
