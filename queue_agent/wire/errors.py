"""Everything that can go wrong with a job, drawn once.

    QueueAgentError
    ├── Rejected          the job is at fault: answered, acknowledged, never retried
    │   └── Malformed     … so much that it cannot be understood: its body is quarantined
    ├── Unavailable       something the job needs is at fault: retried, then released
    │   ├── TimedOut      … it took too long: released at once, another pod may do better
    │   ├── RuntimeAway   … the runtime cannot be reached: it never had the job
    │   ├── RunLost       … the runtime went away while it had the job
    │   ├── RuntimeStuck  … the runtime answers, and works no more
    │   ├── RuntimeSick   … the runtime fails whatever it is asked until it is started anew
    │   └── Unanswered    … no answer came: what was asked may have been done all the same
    ├── Unwanted          nobody wants the images any more: answered and acknowledged
    │   ├── JobCancelled
    │   └── JobExpired
    ├── NoJob             the message asks for nothing: acknowledged and counted, never answered
    ├── LeaseLost         the message is no longer ours to extend, release or acknowledge
    ├── ObjectNotFound    the bucket holds no such object
    ├── ObjectExists      a conditional write lost against another writer
    └── SettingsError     a setting is missing or wrong: the process does not start

Adapters and cloud ports translate foreign exceptions into this tree where they catch
them; `queue_agent.worker.processor` decides by class what happens to the message.
"""

from collections.abc import Mapping
from typing import ClassVar

from pydantic import JsonValue

__all__ = [
    "JobCancelled",
    "JobExpired",
    "LeaseLost",
    "Malformed",
    "NoJob",
    "ObjectExists",
    "ObjectNotFound",
    "QueueAgentError",
    "Rejected",
    "RunLost",
    "RuntimeAway",
    "RuntimeSick",
    "RuntimeStuck",
    "SettingsError",
    "TimedOut",
    "Unanswered",
    "Unavailable",
    "Unwanted",
]


class QueueAgentError(Exception):
    """Base of every error of this package.

    `type` is a stable snake_case word for programs (it becomes `error.type` of the
    notification), `message` a sentence for people, and `details` whatever the other
    side answered, as JSON, without secrets; it is kept in the result manifest.
    """

    default_type: ClassVar[str] = "internal_error"

    def __init__(
        self,
        message: str,
        *,
        type: str | None = None,  # noqa: A002  the wire format's own word
        details: Mapping[str, JsonValue] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.type = type or self.default_type
        self.details: dict[str, JsonValue] = dict(details or {})


class Rejected(QueueAgentError):
    """The job can never succeed as it is: a bad field, a forbidden reference, a 400 or 422."""

    default_type = "runtime_rejected"


class Malformed(Rejected):
    """The message cannot be understood as a job at all."""

    default_type = "invalid_message"


class Unavailable(QueueAgentError):
    """A runtime, an input's host or the cloud fails now and may work later.

    `remedy` says what the operator can do about it, where that is known; only logs and commands
    have it.
    `retry_after` are the seconds before which trying again is in vain, by the other side's word.
    """

    default_type = "runtime_unavailable"

    def __init__(
        self,
        message: str,
        *,
        type: str | None = None,  # noqa: A002  the wire format's own word
        details: Mapping[str, JsonValue] | None = None,
        remedy: str = "",
        retry_after: float = 0.0,
    ) -> None:
        super().__init__(message, type=type, details=details)
        self.remedy = remedy
        self.retry_after = retry_after


class TimedOut(Unavailable):
    """The runtime did not finish within the time limit and was interrupted."""

    default_type = "timeout"


class RuntimeAway(Unavailable):
    """The runtime cannot be reached: whatever was to be sent, it never had."""


class RunLost(Unavailable):
    """The runtime had the job and went away; perhaps the job is why."""


class RuntimeStuck(Unavailable):
    """The runtime answers and does not work: what it was told to stop goes on, or nothing runs."""

    default_type = "runtime_stuck"


class RuntimeSick(Unavailable):
    """The runtime's process is beyond repair, by a broken CUDA context say; no job's fault."""

    default_type = "runtime_sick"


class Unanswered(Unavailable):
    """The cloud was asked for something and did not say what became of it.

    The connection broke after the request, the answer took too long or was none. Other
    failures of the cloud mean that nothing was done.
    """

    default_type = "cloud_unavailable"


class Unwanted(QueueAgentError):
    """The publisher no longer wants the job."""


class JobCancelled(Unwanted):
    """A cancel marker for the job stands in the bucket."""

    default_type = "cancelled"


class JobExpired(Unwanted):
    """The moment of `metadata.expires_at` has passed."""

    default_type = "expired"


class NoJob(QueueAgentError):
    """The message is one of our own, or what a cloud says of itself; `type` says which.

    Its types are those of `queue_agent.wire.foreign.ForeignKind`.
    """

    default_type = "no_job"


class LeaseLost(QueueAgentError):
    """The queue no longer accepts our receipt for the message."""

    default_type = "lease_lost"


class ObjectNotFound(QueueAgentError):
    """The bucket holds no object under that key."""

    default_type = "object_not_found"


class ObjectExists(QueueAgentError):
    """The conditional write found another writer's object in its place."""

    default_type = "object_exists"


class SettingsError(QueueAgentError):
    """The settings cannot be used; the message has one line per setting."""

    default_type = "invalid_settings"
