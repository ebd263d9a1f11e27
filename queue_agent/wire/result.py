"""The result manifest."""

from typing import Final

from pydantic import AwareDatetime, ConfigDict, Field, JsonValue

from queue_agent.wire.notification import Notification

__all__ = [
    "Result",
]

MANIFEST_MEDIA_TYPE: Final = "application/json"


class Result(Notification):
    """The manifest of a finished job; its existence is completion.

    It holds the notification's fields, the job's metadata as it was sent (unknown fields
    included) and the runtime's own answer without the binary data.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    digest: str | None = Field(
        default=None,
        description="Hexadecimal SHA-256 of the job's content and task type; null in results of "
        "the first version.",
    )
    ended_at: AwareDatetime | None = Field(
        default=None, description="When it was written, by the agent; null in older results."
    )
    model: str | None = Field(
        default=None, description="The checkpoint that the job names, or the upscaler."
    )
    metadata: dict[str, JsonValue] = Field(default_factory=dict)
    response: dict[str, JsonValue] = Field(default_factory=dict)

    def is_of(self, job_id: str, digest: str) -> bool:
        """Whether it is the result of this very job: of its id and of all that it asks."""
        return (self.id, self.digest) == (job_id, digest)

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
