"""Which queues jobs come from: one by its URL, or several by names."""

import re
from collections.abc import Mapping
from typing import Annotated, Final, NamedTuple

from pydantic import AfterValidator, ValidationInfo
from pydantic_core import PydanticCustomError

from queue_agent.cloud import addresses
from queue_agent.settings.reader import Definition, Reader
from queue_agent.settings.shared import QUEUE_URL
from queue_agent.settings.values import Names, QueueUrl, rejoined

_ENTRY: Final = re.compile(r"([a-z0-9][a-z0-9-]{0,31})(?::([0-9]{1,3}))?=(\S+)")
_MOST: Final = 16


class NamedQueue(NamedTuple):
    """One of several queues."""

    name: str
    share: int | None
    """Its weight, or what is reserved for it in percent."""
    url: str


def named_queues(entries: tuple[str, ...]) -> tuple[NamedQueue, ...]:
    """The queues of entries ``NAME=URL`` or ``NAME:SHARE=URL``.

    Raises:
        ValueError: one of them is none, or they are too many, or two are the same.
    """
    found = []
    for entry in entries:
        match = _ENTRY.fullmatch(entry)
        if match is None:
            raise ValueError("must be NAME=QUEUE_URL or NAME:SHARE=QUEUE_URL, by commas")
        name, share, url = match.groups()
        if share is not None and not 1 <= int(share) <= 100:
            raise ValueError(f"{name}: a share is 1 to 100")
        addresses.queue_url(url)
        found.append(NamedQueue(name, None if share is None else int(share), url))
    for what in ([it.name for it in found], [it.url for it in found]):
        if doubled := next((it for it in what if what.count(it) > 1), None):
            raise ValueError(f"{doubled} stands twice")
    if len(found) > _MOST:
        raise ValueError(f"are more than {_MOST}")
    return tuple(found)


def _checked(value: tuple[str, ...]) -> tuple[str, ...]:
    whole = rejoined(value)
    named_queues(whole)
    return whole


def _alone(value: str | None, info: ValidationInfo) -> str | None:
    if "queues" not in info.data:  # which has a line of its own
        return value
    if value and info.data["queues"]:
        raise ValueError("must not be set beside QUEUE_AGENT_QUEUES, which names all queues")
    if not value and not info.data["queues"]:
        raise PydanticCustomError("missing", "is not set")
    return value


NamedQueues = Annotated[Names, AfterValidator(_checked)]
"""``NAME=URL`` or ``NAME:SHARE=URL``; read by `named_queues`."""

QUEUES: Final = Definition(
    "QUEUES",
    description="Instead of QUEUE_AGENT_QUEUE_URL: several queues of one runtime, the most urgent "
    "first, as NAME=QUEUE_URL or NAME:SHARE=QUEUE_URL by commas, such as high=…,normal=…,low=….",
)


class QueueSettings(Reader):
    """The queues of one runtime."""

    queues: NamedQueues = QUEUES.field(())
    queue_url: Annotated[QueueUrl | None, AfterValidator(_alone)] = QUEUE_URL.field(
        None, validate_default=True
    )

    @property
    def served(self) -> Mapping[str, str]:
        """The URLs of the queues by their names, in order; an only one has none."""
        if self.queue_url:
            return {"": self.queue_url}
        return {one.name: one.url for one in named_queues(self.queues)}

    @property
    def shares(self) -> Mapping[str, int]:
        """Those that are said, by the queues' names."""
        return {it.name: it.share for it in named_queues(self.queues) if it.share is not None}
