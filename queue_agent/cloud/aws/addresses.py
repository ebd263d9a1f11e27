"""How queues, topics and buckets are named on AWS, as far as it can be judged without asking."""

import re


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
    found = re.match(r"arn:[\w-]+:\w+:([\w-]+):|https://sqs\.([\w-]+)\.amazonaws\.", address)
    return found and (found[1] or found[2])
