"""What waits in the job queue, as far as ten messages tell, which are given back at once."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from queue_agent.cloud import Message, Queue
from queue_agent.tasks import together
from queue_agent.wire.errors import Malformed, NoJob
from queue_agent.wire.job import Job
from queue_agent.wire.message import read_message
from queue_agent.worker.misrouted import remedy_for

_LOOKED_AT: Final = 10
_SECONDS: Final = 30.0
"""How long a message stays hidden if it cannot be given back."""


class Waiting(NamedTuple):
    """What was seen of the messages that wait."""

    looked_at: int
    """So many, each of which was delivered once more by that."""
    warning: str
    """Which runtimes but the one served their jobs are for; empty: none was seen."""


async def look(queue: Queue, served: str, *, most: int) -> Waiting:
    """Look at some messages, which counts as a delivery, and give them back.

    `most`: how often a message is delivered where the queue does not say. One that was delivered
    so often already is sent anew, so that an agent gets it all the same.

    Raises:
        QueueAgentError: the queue may not be read.
    """
    most = (await queue.policy()).max_receives or most
    messages = await queue.receive(_LOOKED_AT, wait=0, visibility_timeout=_SECONDS)
    try:
        found = Counter(name for name in _runtimes(messages) if name != served)
    finally:
        await together(_give_back(queue, message, most) for message in messages)
    return Waiting(len(messages), _warning(found, served))


def _warning(found: Mapping[str, int], served: str) -> str:
    if not found:
        return ""
    names = ", ".join(f"{name} ({count})" for name, count in sorted(found.items()))
    return (
        f"Some are for other runtimes: {names}. This agent, {served}, answers them as failed. "
        + remedy_for(served)
    )


def _runtimes(messages: Iterable[Message]) -> Iterable[str]:
    for message in messages:
        try:
            found = read_message(message.body, message.attributes)
        except (Malformed, NoJob):
            continue
        name = found.metadata.runtime if isinstance(found, Job) else None
        if name := name or message.attributes.get("runtime"):
            yield name


async def _give_back(queue: Queue, message: Message, most: int) -> None:
    """As a new message where the queue would take another look for one delivery too many."""
    if message.receive_count < most:
        await queue.extend(message, 0)
        return
    await queue.send(message.body, message.attributes, message.ordering)
    await queue.delete(message)
