"""Pointers to payloads that were too large for the queue, as several libraries write them.

    ["software.amazon.payloadoffloading.PayloadS3Pointer", {"s3BucketName": …, "s3Key": …}]
        Amazon's SQS and SNS Extended Clients (Java, Python), and their likes in Go, .NET and PHP,
        which write other words in the first place; the older Java client wrote
        "com.amazon.sqs.javamessaging.MessageS3Pointer" there:
        https://github.com/awslabs/amazon-sqs-java-extended-client-lib
    {"s3BucketName": …, "s3Key": …}
        the same without the class, in whatever case
    {"S3Payload": {"Id": …, "Bucket": …, "Key": …, "Location": …}}
        https://github.com/aspecto-io/sns-sqs-big-payload (Node)
    a body that is only a key, and the attribute S3MessageBodyKey, which is "(bucket)key"
        https://npmjs.com/package/sqs-extended-client and its forks (Node)

Where one may lead is for who follows it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pydantic import JsonValue

from queue_agent.wire.errors import Malformed

POINTER_CLASSES: Final = (
    "software.amazon.payloadoffloading.PayloadS3Pointer",
    "com.amazon.sqs.javamessaging.MessageS3Pointer",
)

_PLACE: Final = frozenset({"s3bucketname", "s3key"})
_ATTRIBUTE: Final = "S3MessageBodyKey"


@dataclass(frozen=True)
class PayloadPointer:
    """Where a payload lies that was too large for the queue."""

    bucket: str
    key: str


def pointer_of(value: JsonValue) -> PayloadPointer | None:
    """The place that a message names, if it is only a pointer.

    Raises:
        Malformed: it is a pointer that names no place.
    """
    match value:
        case [str(name), dict(place)] if name in POINTER_CLASSES or set(_lowered(place)) >= _PLACE:
            return _pointer(_lowered(place), "s3bucketname", "s3key")
        case [str(name), _] if name in POINTER_CLASSES:
            raise Malformed("The payload pointer names no place.")
        case dict() if _lowered(value).keys() == _PLACE:
            return _pointer(_lowered(value), "s3bucketname", "s3key")
        case {"S3Payload": dict(place)}:
            return _pointer(_lowered(place), "bucket", "key")
    return None


def pointer_beside(text: str, attributes: Mapping[str, str]) -> PayloadPointer | None:
    """The place that an attribute names, if the message's text is only its key."""
    found = re.fullmatch(r"\(([^()]+)\)(.+)", attributes.get(_ATTRIBUTE, ""))
    if found is None or text.strip() not in {found[0], found[2]}:
        return None
    return PayloadPointer(found[1], found[2])


def _lowered(place: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    return {name.lower(): value for name, value in place.items()}


def _pointer(place: Mapping[str, JsonValue], bucket_name: str, key_name: str) -> PayloadPointer:
    bucket, key = place.get(bucket_name), place.get(key_name)
    if not (isinstance(bucket, str) and bucket and isinstance(key, str) and key):
        raise Malformed("The payload pointer lacks the name of its bucket or its key.")
    return PayloadPointer(bucket, key)
