"""What an operator's content check is: it is given a file, and says what becomes of it.

To have one in Python: subclass `ContentChecker`, and name the class as an entry point of the group
``queue_agent.content_checks``. `queue_agent.outputs.check_endpoint` speaks to one behind HTTP.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Final, Literal, Self

from pydantic import JsonValue

from queue_agent.entry_points import Group
from queue_agent.media.asset import Asset
from queue_agent.media.facts import media_type_of

__all__ = [
    "CHECK_ENTRY_POINTS",
    "CheckDecision",
    "CheckedFile",
    "ContentChecker",
    "ContentVerdict",
    "installed_checks",
    "load_check",
]

CHECK_ENTRY_POINTS: Final = "queue_agent.content_checks"

CheckDecision = Literal["pass", "withhold", "replace"]


@dataclass(frozen=True)
class CheckedFile:
    """A file as the runtime made it, and what is known of it."""

    asset: Asset
    """Its bytes and media type; there until the verdict."""
    sha256: str
    """Hexadecimal digest of the bytes."""
    number: int
    """Among the job's files, counted from 1."""
    role: str
    """`output`, `grid` or `extra`, as in notifications."""
    job_id: str
    task_type: str
    runtime: str
    """The name of the runtime that made it."""
    width: int | None = None
    """In pixels, of images and videos where it is known."""
    height: int | None = None
    duration: float | None = None
    """Seconds, of a video."""
    frames: int | None = None
    prompt: str | None = field(default=None, repr=False)
    """The job's, where the operator wants it told and the job has one by that name."""

    @property
    def facts(self) -> dict[str, JsonValue]:
        """All but the bytes, without what is not known."""
        facts: dict[str, JsonValue] = {
            "job_id": self.job_id,
            "task_type": self.task_type,
            "runtime": self.runtime,
            "number": self.number,
            "role": self.role,
            "media_type": self.asset.media_type,
            "bytes": self.asset.size,
            "sha256": self.sha256,
            "width": self.width,
            "height": self.height,
            "duration": self.duration,
            "frames": self.frames,
            "prompt": self.prompt,
        }
        return {name: value for name, value in facts.items() if value is not None}


@dataclass(frozen=True)
class ContentVerdict:
    """What becomes of a file: made by `passed`, `withheld` or `replaced`."""

    decision: CheckDecision
    reason: str = ""
    """For the publisher, of what is withheld; it stands in the notification."""
    replacement: Asset | None = None

    @classmethod
    def passed(cls) -> Self:
        """The file is delivered."""
        return cls("pass")

    @classmethod
    def withheld(cls, reason: str = "") -> Self:
        """The file is not delivered, and its job fails."""
        return cls("withhold", reason)

    @classmethod
    def replaced(cls, by: Asset | bytes) -> Self:
        """Another file is delivered instead; an asset's file is the agent's to close."""
        return cls("replace", "", Asset(by, media_type_of(by)) if isinstance(by, bytes) else by)


class ContentChecker(ABC):
    """Says of each file what becomes of it. Made once, without arguments, in the agent's process.

    Several files are checked at a time, and each has a time limit. What takes a CPU's time
    belongs in a thread or a process of its own (`asyncio.to_thread`).
    """

    @abstractmethod
    async def check(self, file: CheckedFile) -> ContentVerdict:
        """The verdict on a file.

        Whatever is raised means that there is none: the file is asked about again.
        """

    async def aclose(self) -> None:  # noqa: B027  most have nothing to do here
        """Close what is open."""


_CHECKS: Final = Group(CHECK_ENTRY_POINTS, ContentChecker, "content check")  # type: ignore[type-abstract]


def installed_checks() -> list[str]:
    """The names of the checks that are installed, without importing them."""
    return sorted(_CHECKS.installed())


def load_check(name: str) -> type[ContentChecker]:
    """Import the check of that name.

    Raises:
        SettingsError: none is installed under it, or it cannot be imported.
    """
    return _CHECKS.load(name)
