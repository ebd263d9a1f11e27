"""How queues, topics and buckets are named on AWS, as far as it can be judged without asking."""

import re
from typing import Final

_REGION: Final = r"[a-z]{2,}(?:-[a-z]+)+-\d+"
_SUFFIXES: Final = (
    r"amazonaws\.(?:com(?:\.cn)?|eu)",
    r"api\.(?:aws|amazonwebservices\.(?:com\.cn|eu))",
    r"(?:c2s|csp\.hci)\.ic\.gov|sc2s\.sgov\.gov|cloud\.adc-e\.uk",
    r"localhost\.localstack\.cloud",
)
"""What the names of AWS's hosts end with, partition by partition:
https://docs.aws.amazon.com/general/latest/gr/rande.html
"""
_QUEUE_HOST: Final = re.compile(
    rf"(?:[\w-]+\.)?(?:sqs(?:-fips)?\.({_REGION})|({_REGION})\.queue)"
    rf"\.(?:vpce\.)?(?:{'|'.join(_SUFFIXES)})"
)
"""Also through a VPC endpoint, and as queues were called in former times:
https://docs.aws.amazon.com/general/latest/gr/sqs-service.html
"""
_FIRST_QUEUE_HOST: Final = "queue.amazonaws.com"
"""Of queues in us-east-1."""


def queue_url(text: str) -> str:
    """A queue's URL, as it is.

    Raises:
        ValueError: it is none.
    """
    if not re.fullmatch(r"https?://[^/\s]+/\S+", text):
        raise ValueError("is no queue URL; it looks like https://sqs.REGION.amazonaws.com/…")
    return text


def topic(text: str) -> str:
    """A topic's ARN, as it is.

    Raises:
        ValueError: it is none.
    """
    if not re.fullmatch(r"arn:[\w-]+:sns:[\w-]+:\d+:\S+", text):
        raise ValueError("is no topic ARN; it looks like arn:aws:sns:REGION:ACCOUNT:NAME")
    return text


def kms_key(text: str) -> str:
    """A KMS key's ARN, as it is.

    Raises:
        ValueError: it is none; an alias is none, since it may come to mean another key.
    """
    if not re.fullmatch(r"arn:[\w-]+:kms:[\w-]+:\d+:key/[\w-]+", text):
        raise ValueError("is no ARN of a KMS key; it looks like arn:aws:kms:REGION:ACCOUNT:key/ID")
    return text


def bucket_name(text: str) -> str:
    """A bucket's name, which may be given as ``s3://name/``.

    Raises:
        ValueError: no bucket can be called so:
            https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
    """
    name = text.removeprefix("s3://").rstrip("/")
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", name):
        raise ValueError("is no bucket name")
    return name


def region_of(address: str) -> str | None:
    """The region that a topic's ARN or a queue's URL names; None where it names none."""
    if arn := re.match(r"arn:[\w-]+:\w+:([\w-]+):", address):
        return arn[1]
    if not (url := re.match(r"https?://([^/:]+)(?::\d+)?/", address)):
        return None
    host = url[1].lower()
    if host == _FIRST_QUEUE_HOST:
        return "us-east-1"
    found = _QUEUE_HOST.fullmatch(host)
    return found and (found[1] or found[2])


def is_queue(arn: str, url: str) -> bool:
    """Whether an ARN is that of the queue with this URL."""
    named = re.fullmatch(r"arn:[\w-]+:sqs:([\w-]+):(\w+):(.+)", arn)
    if named is None or list(named.groups()[1:]) != url.rstrip("/").split("/")[-2:]:
        return False
    return region_of(url) in {None, named[1]}
