"""What other systems put around a message on its way to the queue, and what lies in it.

Only what is plain to read is opened: each form below has one place for its payload. Records and
events come one at a time; of several together none is opened, since a message can be acknowledged
or tried again only as a whole.
"""

import base64
import binascii
import re
from codecs import BOM_UTF8
from collections.abc import Mapping
from typing import Final

from pydantic import JsonValue

from queue_agent.wire.errors import Malformed

__all__ = ["decoded", "within"]

Fields = Mapping[str, JsonValue]
Wrapped = JsonValue | bytes

_BASE64: Final = re.compile(r"[A-Za-z0-9+/_\r\n-]{16,}={0,2}")
"""Of either alphabet, the one for URLs too."""

_FROM_URLS: Final = str.maketrans("-_", "+/")

_PROTOCOLS: Final = frozenset(
    {"default", "application", "email", "email-json", "firehose", "http", "https", "lambda"}
    | {"sms", "sqs"}
)
"""What texts of a publication with `MessageStructure` are for; without it they arrive together."""


def within(value: JsonValue) -> Wrapped:
    """What one wrapping holds, a JSON value or a text of one; None: it is no wrapping.

    SNS: https://docs.aws.amazon.com/sns/latest/dg/sns-message-and-json-formats.html
    Its texts by protocol: https://docs.aws.amazon.com/sns/latest/api/API_Publish.html
    EventBridge: https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-events-structure.html
    CloudEvents: https://github.com/cloudevents/spec/blob/main/cloudevents/formats/json-format.md
    Records, as pipes and functions pass them on:
    https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html

    Raises:
        Malformed: it is one, and cannot be opened.
    """
    if isinstance(value, str):
        begins = value.lstrip("\ufeff \t\r\n").startswith(("{", "["))
        return value if begins else decoded(value)
    return _in_object(value) if isinstance(value, dict) else None


def decoded(text: str) -> bytes | None:
    """What lies in a text that is base64 of a JSON object, and nothing but that."""
    if not _BASE64.fullmatch(text.strip()):  # without its blanks, in linear time
        return None
    try:
        data = base64.b64decode("".join(text.split()).translate(_FROM_URLS), validate=True)
    except binascii.Error:
        return None
    data = data.removeprefix(BOM_UTF8)
    return data if data.lstrip().startswith(b"{") else None


def _in_object(value: Fields) -> Wrapped:
    if value.get("Type") == "Notification":
        return _sns(value)
    match value:
        case {"detail-type": str(), "source": str(), "detail": detail}:
            return _full(detail, "an EventBridge event", "detail")
        case {"specversion": str(), "type": str()}:
            return _cloud_event(value)
        case {"Records": [dict(record)]} | {"records": [dict(record)]}:
            return _record(record)
        case {"default": str(text)} if value.keys() <= _PROTOCOLS:
            return value.get("sqs", text)
    return _record(value)


def _record(record: Fields) -> Wrapped:
    match record:
        case {"EventSource": "aws:sns", "Sns": dict(sns)}:
            return _sns(sns)
        case {"eventSource": "aws:sqs", "body": str(body)}:
            return body
    return None


def _sns(envelope: Fields) -> Wrapped:
    message = envelope.get("Message")
    if not isinstance(message, str):
        raise Malformed("The SNS envelope has no text in 'Message'.")
    return message


def _cloud_event(event: Fields) -> Wrapped:
    encoded = event.get("data_base64")
    if encoded is None:
        return _full(event.get("data"), "a CloudEvent", "data")
    try:
        return base64.b64decode(str(encoded), validate=True)
    except ValueError as error:
        raise Malformed("This is a CloudEvent whose 'data_base64' is no base64.") from error


def _full(inner: JsonValue, what: str, field: str) -> Wrapped:
    if not isinstance(inner, (dict, str, list)):
        raise Malformed(f"This is {what} without a job in {field!r}.")
    return inner
