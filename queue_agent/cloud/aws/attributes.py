"""Message attributes, groups and deduplication ids, as SQS and SNS write them."""

import hashlib
import re
from collections.abc import Mapping

from queue_agent.cloud import Ordering


def message_attributes(attributes: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """String attributes in the services' form."""
    return {
        name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()
    }


def is_fifo(address: str) -> bool:
    """Whether a topic's ARN or a queue's URL is of one that keeps an order.

    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-queue-message-identifiers.html
    """
    return address.endswith(".fifo")


def fifo_fields(address: str, ordering: Ordering | None) -> dict[str, str]:
    """What topics and queues that keep an order want beside the body, and others refuse.

    https://docs.aws.amazon.com/sns/latest/dg/fifo-message-grouping.html
    """
    if not is_fifo(address):
        return {}
    ordering = ordering or Ordering()
    return {
        "MessageGroupId": _identifier(ordering.group or ordering.deduplication_id),
        "MessageDeduplicationId": _identifier(ordering.deduplication_id),
    }


def _identifier(text: str) -> str:
    """The text where it may be an id, else its digest: printable ASCII, 128 at most."""
    if re.fullmatch(r"[!-~]{1,128}", text):
        return text
    return hashlib.sha256(text.encode()).hexdigest()
