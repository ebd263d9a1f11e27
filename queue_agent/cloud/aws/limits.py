"""What SQS and SNS take in one call."""

from typing import Final

MOST_ENTRIES: Final = 10
"""Messages that SQS gives, deletes or extends and SNS publishes at once.

https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_DeleteMessageBatch.html
https://docs.aws.amazon.com/sns/latest/api/API_PublishBatch.html
"""
LARGEST_PUBLICATION: Final = 262_144
"""Bytes, with attributes, of one publication and of all in one call; same sources."""
