"""Messages that ask for nothing, told by their shapes: our own, and what clouds say of themselves.

They reach a job queue where topics or buckets are wired to it that should not be. To answer or to
store anything of them would make more of them.
"""

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Final, get_args

from pydantic import JsonValue

from queue_agent.wire.job import has_marks
from queue_agent.wire.notification import Status

__all__ = ["ForeignKind", "foreign_kind"]

Fields = Mapping[str, JsonValue]

_MARKS: Final[Mapping[str, type]] = {
    "version": str,
    "status": str,
    "result": bool,
    "redelivered": bool,
    "attempt": int,
    "image_url": list,
    "images": list,
    "output_url": str,
}
"""Fields of notifications, beside the runtime's name and the job's id."""
_ASKS: Final = frozenset({"content", "inputs", "prompt", "task", "tasktype", "workflow"})
"""Fields of what asks for something, be it no job."""


class ForeignKind(StrEnum):
    """What a message is that asks for nothing."""

    NOTIFICATION = "notification"
    """What an agent (also that of AWS's guidance) told subscribers, or a webhook."""
    RESULT = "result"
    """A manifest."""
    QUARANTINE = "quarantine"
    """What an agent keeps of a message that it could not work on."""
    STORAGE_EVENT = "storage_event"
    """An object was written or removed."""
    SUBSCRIPTION = "subscription"
    """A topic asks to confirm a subscription, or the end of one."""
    TEST_EVENT = "test_event"
    """A service tries whether its events can reach the queue."""


def foreign_kind(value: JsonValue) -> ForeignKind | None:
    """What a message's JSON is, without what was wrapped around it; None: it may be a job.

    Of several in a list, all must be such; the first names them.
    """
    if isinstance(value, list):
        kinds = [foreign_kind(one) if isinstance(one, dict) else None for one in value]
        return kinds[0] if kinds and all(kinds) else None
    if not isinstance(value, dict) or has_marks(value):
        return None
    return next((kind for kind, is_one in _KINDS.items() if is_one(value)), None)


def _is_notification(value: Fields) -> bool:
    """Of any version, earlier (AWS's guidance) or later.

    Three of its marks are enough, of which a status of ours is two; five (we write at least
    seven) where it seems to ask, too.
    """
    if not all(isinstance(value.get(name), str) for name in ("runtime", "id")):
        return False
    marks = sum(isinstance(value.get(name), kind) for name, kind in _MARKS.items())
    marks += value.get("status") in get_args(Status)
    return marks >= (5 if value.keys() & _ASKS else 3)


def _is_told(value: Fields) -> bool:
    return _is_notification(value) and "metadata" not in value and "response" not in value


def _is_result(value: Fields) -> bool:
    """The job's metadata alone do not make a manifest: they may be those of a broken job."""
    return _is_notification(value) and ("response" in value or "digest" in value)


def _is_quarantine(value: Fields) -> bool:
    texts = all(isinstance(value.get(name), str) for name in ("message_id", "received_at", "body"))
    return texts and isinstance(value.get("error"), dict)


def _is_subscription(value: Fields) -> bool:
    """https://docs.aws.amazon.com/sns/latest/dg/http-subscription-confirmation-json.html"""
    kinds = ("SubscriptionConfirmation", "UnsubscribeConfirmation")
    return value.get("Type") in kinds and isinstance(value.get("TopicArn"), str)


def _is_test(value: Fields) -> bool:
    """https://docs.aws.amazon.com/AmazonS3/latest/userguide/how-to-enable-disable-notification-intro.html

    Auto Scaling's: https://docs.aws.amazon.com/autoscaling/ec2/userguide/lifecycle-hooks.html
    """
    event = value.get("Event") or value.get("LifecycleTransition")
    tests = ("s3:TestEvent", "autoscaling:TEST_NOTIFICATION")
    return event in tests and ("Service" in value or "Bucket" in value)


def _is_storage_event(value: Fields) -> bool:
    """Events of S3 and of other stores, as they come to queues, topics and event buses.

    S3: https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html
    EventBridge: https://docs.aws.amazon.com/AmazonS3/latest/userguide/ev-events.html
    MinIO: https://min.io/docs/minio/linux/administration/monitoring/bucket-notifications.html
    Ceph: https://docs.ceph.com/en/latest/radosgw/s3-notification-compatibility/
    R2: https://developers.cloudflare.com/r2/buckets/event-notifications/
    OSS: https://www.alibabacloud.com/help/en/oss/user-guide/event-notification-overview
    Google: https://cloud.google.com/storage/docs/pubsub-notifications
    Azure: https://learn.microsoft.com/azure/event-grid/event-schema-blob-storage
    """
    for name in ("Records", "events"):
        records = value.get(name)
        if isinstance(records, list) and records and all(map(_is_storage_record, records)):
            return True
    return _is_storage_record(value) or _is_single_storage_event(value)


def _is_single_storage_event(value: Fields) -> bool:
    match value:
        case (
            {"source": "aws.s3", "detail-type": str(), "detail": {"bucket": dict()}}
            | {"bucket": {"name": str()}, "object": {"key": str()}}
            | {"eventSource": "s3.amazonaws.com", "eventName": str()}
            | {"action": str(), "bucket": str(), "object": {"key": str()}}
            | {"kind": "storage#object", "bucket": str()}
            | {"api": str(), "blobType": str(), "url": str()}
        ):
            return True
        case {"EventName": str(event), "Key": str()}:
            return event.startswith("s3:")
        case {"eventType": str(event), "data": {"api": str()}}:
            return event.startswith("Microsoft.Storage.")
    return False


def _is_storage_record(record: JsonValue | Fields) -> bool:
    if not isinstance(record, Mapping) or record.keys() & _ASKS:
        return False
    source = record.get("eventSource")
    if isinstance(source, str) and source in {"aws:s3", "minio:s3", "ceph:s3", "acs:oss", "OBS"}:
        return True
    for name in ("s3", "oss", "obs", "cos"):
        place = record.get(name)
        if isinstance(place, dict):
            known = "".join(place).lower()
            return "bucket" in known and "object" in known
    return False


_KINDS: Final[Mapping[ForeignKind, Callable[[Fields], bool]]] = {
    ForeignKind.RESULT: _is_result,
    ForeignKind.NOTIFICATION: _is_told,
    ForeignKind.QUARANTINE: _is_quarantine,
    ForeignKind.SUBSCRIPTION: _is_subscription,
    ForeignKind.TEST_EVENT: _is_test,
    ForeignKind.STORAGE_EVENT: _is_storage_event,
}
