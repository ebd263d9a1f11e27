"""Message attributes, groups and deduplication ids, as SQS and SNS write them."""

from collections.abc import Mapping

from queue_agent.cloud import Ordering
from queue_agent.wire.publication import group_id


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


def ordering_fields(address: str, ordering: Ordering | None) -> dict[str, str]:
    """What topics and queues that keep an order want beside the body; others take the tenant.

    Standard topics hand it to standard queues, which by it are fair.

    https://docs.aws.amazon.com/sns/latest/dg/fifo-message-grouping.html
    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-fair-queues.html
    """
    ordering = ordering or Ordering()
    if not is_fifo(address):
        return {"MessageGroupId": group_id(ordering.tenant)} if ordering.tenant else {}
    return {
        "MessageGroupId": group_id(ordering.group or ordering.deduplication_id),
        "MessageDeduplicationId": group_id(ordering.deduplication_id),
    }
