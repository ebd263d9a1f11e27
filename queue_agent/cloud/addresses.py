"""What settings call queues, topics and buckets, judged before any cloud is contacted.

The scheme says the provider: ``nats://`` and ``tls://`` are NATS, all else is AWS. The functions
give what the ports are opened with, and raise `ValueError` with what is wrong.
"""

from queue_agent.cloud.aws import addresses as aws
from queue_agent.cloud.aws.addresses import kms_key, region_of
from queue_agent.cloud.nats import addresses as nats
from queue_agent.cloud.nats.addresses import NatsAddress, is_nats

__all__ = [
    "NatsAddress",
    "bare_bucket_name",
    "bucket_name",
    "is_nats",
    "kms_key",
    "queue_url",
    "region_of",
    "topic",
]


def queue_url(text: str) -> str:
    """A queue's address, as it is."""
    return nats.queue_url(text) if is_nats(text) else aws.queue_url(text)


def topic(text: str) -> str:
    """A topic's address, as it is."""
    return nats.topic(text) if is_nats(text) else aws.topic(text)


def bucket_name(text: str) -> str:
    """What a bucket is opened with: its name, on NATS its address."""
    return nats.bucket(text) if is_nats(text) else aws.bucket_name(text)


def bare_bucket_name(bucket: str) -> str:
    """The name by which objects in a bucket are addressed (``s3://name/key``)."""
    return NatsAddress.parse(bucket).stream if is_nats(bucket) else bucket
