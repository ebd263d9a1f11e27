"""What SQS and SNS take in one call."""

from typing import Final

MOST_ENTRIES: Final = 10
"""Messages that SQS gives, deletes or extends and SNS publishes at once.

https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_DeleteMessageBatch.html
https://docs.aws.amazon.com/sns/latest/api/API_PublishBatch.html
"""
LONGEST_DELAY: Final = 900.0
"""Seconds that SQS keeps back a message that is sent to it.

https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-message-timers.html
"""
LARGEST_PUBLICATION: Final = 262_144
"""Bytes, with attributes, of one publication and of all in one call; same sources."""
