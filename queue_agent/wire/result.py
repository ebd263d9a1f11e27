"""The result manifest and the names of a job's objects in the bucket."""

import mimetypes
from dataclasses import dataclass
from typing import Final

from pydantic import ConfigDict, Field, JsonValue

from queue_agent.wire.job import Job, JobId
from queue_agent.wire.notification import Notification

__all__ = [
    "Result",
]

MANIFEST_MEDIA_TYPE: Final = "application/json"
CANCEL_MARKERS: Final = "cancelled/"
"""The folder of all cancel markers."""

_EXTENSIONS: Final = {"image/jpeg": "jpg", "audio/mpeg": "mp3", "text/plain": "txt"}


class Result(Notification):
    """The manifest of a finished job; its existence is completion.

    It holds the notification's fields, the job's metadata as it was sent (unknown fields
    included) and the runtime's own answer without the binary data.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    metadata: dict[str, JsonValue] = Field(default_factory=dict)
    response: dict[str, JsonValue] = Field(default_factory=dict)

    def again(self, attempt: int) -> "Result":
        """The same result, to be told to subscribers once more."""
        return self.model_copy(update={"redelivered": True, "attempt": attempt})

    def notification(self) -> Notification:
        """What subscribers are told of this result."""
        shared = {name: getattr(self, name) for name in Notification.model_fields}
        callback = self.metadata.get("callback_url")
        shared["callback_url"] = callback if isinstance(callback, str) else None
        return Notification.model_validate(shared)

    @property
    def is_final(self) -> bool:
        """Whether the job needs no further attempt if its message comes again."""
        return self.error is None or not self.error.retryable


@dataclass(frozen=True)
class ResultKeys:
    """The keys of everything one job leaves in the bucket."""

    folder: str
    stem: str

    @classmethod
    def of(cls, job: Job) -> "ResultKeys":
        parts = (job.metadata.prefix, job.id)
        return cls("/".join(part for part in parts if part), f"{job.id}-{job.digest[:8]}")

    @property
    def manifest(self) -> str:
        return f"{self.folder}/{self.stem}.out"

    def artifact(self, number: int, media_type: str, *, suffix: str = "") -> str:
        """The key of the `number`-th artifact, counted from 1.

        `suffix` tells it apart from that of another attempt at the same job.
        """
        name = f"{self.stem}-{number}" + (f"-{suffix}" if suffix else "")
        return f"{self.folder}/{name}.{extension(media_type)}"


def extension(media_type: str) -> str:
    """The file name extension for a media type, without the dot."""
    known = _EXTENSIONS.get(media_type)
    return known or (mimetypes.guess_extension(media_type) or ".bin").removeprefix(".")


def cancel_marker(job_id: JobId) -> str:
    """An object under this key, whatever it holds, cancels the job."""
    return f"{CANCEL_MARKERS}{job_id}"


def quarantine_key(date: str, message_id: str) -> str:
    """Where the body of a message lies that could not be understood."""
    return f"quarantine/{date}/{message_id}.json"
