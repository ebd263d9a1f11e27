"""What is published of a job: itself, or a pointer to it, and what queues filter it by."""

import hashlib
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from pydantic import JsonValue

from queue_agent.wire.capacity import CAPACITY_ATTRIBUTE
from queue_agent.wire.errors import Rejected
from queue_agent.wire.job import Job, canonical_json
from queue_agent.wire.layout import payload_key
from queue_agent.wire.pointer import POINTER_CLASSES
from queue_agent.wire.priorities import PRIORITY_ATTRIBUTE

LARGEST_PAYLOAD: Final = 32 * 2**20
"""Bytes of a job, whichever way it comes. What an agent makes of it, its digest and its request
included, takes some five times as much, which fits a container of 512 MiB."""


@dataclass(frozen=True)
class Ordering:
    """Where a message has its place among others.

    Topics and queues that keep an order (FIFO) go by group and deduplication id, the others by
    the tenant at most.
    """

    group: str = ""
    """What is kept in order with others of the same group; empty: a group of its own."""
    deduplication_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    """What is sent again with the same id within five minutes is taken for the first."""
    tenant: str = ""
    """Whose it is, among whom queues without an order may share fairly; empty: nobody's."""


@dataclass(frozen=True)
class Publication:
    """What goes to a topic at once."""

    body: str = field(repr=False)
    attributes: Mapping[str, str] = field(default_factory=dict)
    ordering: Ordering = field(default_factory=Ordering, compare=False)

    @property
    def size(self) -> int:
        """Bytes that count towards the topic's limit: the body's and the attributes'."""
        texts = [self.body]
        for name, value in self.attributes.items():
            texts += (name, "String", value)
        return sum(len(text.encode()) for text in texts)


@dataclass(frozen=True)
class OffloadedPublication:
    """A publication that only says where in a bucket the job lies."""

    key: str
    data: bytes = field(repr=False)
    """What must lie there before it is published."""
    pointer: Publication


def group_id(text: str) -> str:
    """The text where it may be the id of a group, else its digest: printable ASCII, 128 at most.

    https://docs.aws.amazon.com/sns/latest/api/API_Publish.html
    """
    if re.fullmatch(r"[!-~]{1,128}", text):
        return text
    return hashlib.sha256(text.encode()).hexdigest()


def publication_of(job: Job, *, traceparent: str | None = None, fair: bool = True) -> Publication:
    """The job, with the attributes that queues filter by and traces continue by.

    `fair`: whether queues are told whose it is.
    """
    attributes = {
        "runtime": job.metadata.runtime,
        PRIORITY_ATTRIBUTE: job.metadata.priority,
        CAPACITY_ATTRIBUTE: job.metadata.capacity_type,
        "traceparent": traceparent,
    }
    return Publication(
        job.model_dump_json(exclude_none=True, ensure_ascii=True),
        {name: value for name, value in attributes.items() if value},
        Ordering(job.id, tenant=(job.metadata.tenant or "") if fair else ""),
    )


def offloaded(job: Job, whole: Publication, *, bucket: str) -> OffloadedPublication:
    """The same job by way of a bucket, for topics that do not take it whole.

    Raises:
        Rejected: it is larger than agents read.
    """
    data = whole.body.encode()
    if len(data) > LARGEST_PAYLOAD:
        raise Rejected(
            f"The job has {len(data)} bytes; the limit is {LARGEST_PAYLOAD}.",
            type="payload_too_large",
        )
    key = payload_key(job.id, hashlib.sha256(data).hexdigest())
    pointer: JsonValue = [POINTER_CLASSES[0], {"s3BucketName": bucket, "s3Key": key}]
    return OffloadedPublication(
        key, data, Publication(canonical_json(pointer), whole.attributes, whole.ordering)
    )
