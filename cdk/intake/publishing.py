"""The job topic, by the SDK that the function's host brings along."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from queue_agent.wire.errors import Rejected, Unavailable
from queue_agent.wire.job import Job
from queue_agent.wire.problems import TOO_MANY_REQUESTS
from queue_agent.wire.publication import Ordering, group_id, offloaded, publication_of
from queue_agent.wire.submission import INVALID_JOB

LARGEST_PUBLICATION: Final = 262_144
"""Bytes: https://docs.aws.amazon.com/sns/latest/api/API_Publish.html"""

_THROTTLED: Final = frozenset({"Throttled", "Throttling", "ThrottlingException"})
_PATIENCE: Final = Config(
    connect_timeout=2, read_timeout=4, retries={"mode": "standard", "total_max_attempts": 3}
)


class Throttled(Unavailable):
    """The topic takes no more for now."""

    default_type = TOO_MANY_REQUESTS


def clients_of_the_sdk(service: str, region: str | None = None) -> Any:
    """Credentials are those of the environment, and the region unless it is given."""
    return botocore.session.get_session().create_client(service, region, config=_PATIENCE)


class JobTopic:
    """Where agents' queues are subscribed; jobs too large for it go by way of the bucket."""

    def __init__(
        self, arn: str, bucket: str, clients: Callable[..., Any] = clients_of_the_sdk
    ) -> None:
        """`clients` makes one by the service's name, and the region if it is known."""
        self._arn = arn
        self._bucket = bucket
        self._clients = clients
        self._sns = clients("sns", arn.split(":")[3])

    def publish(self, job: Job, traceparent: str | None, *, fair: bool = True) -> None:
        """Publish the job with what queues filter by, and are `fair` by.

        Raises:
            Rejected: the topic takes no such attributes.
            Throttled: trying again in a while helps.
            Unavailable: topic or bucket do not answer.
        """
        publication = publication_of(job, traceparent=traceparent, fair=fair)
        if publication.size > LARGEST_PUBLICATION:
            offload = offloaded(job, publication, bucket=self._bucket)
            self._store(offload.key, offload.data)
            publication = offload.pointer
        with _translated("job topic"):
            self._sns.publish(
                TopicArn=self._arn,
                Message=publication.body,
                MessageAttributes={
                    name: {"DataType": "String", "StringValue": value}
                    for name, value in publication.attributes.items()
                },
                **_ordering_fields(self._arn, publication.ordering),
            )

    def _store(self, key: str, data: bytes) -> None:
        with _translated("results bucket"):
            s3 = self._clients("s3")  # few jobs need it
            s3.put_object(Bucket=self._bucket, Key=key, Body=data, ContentType="application/json")


def _ordering_fields(arn: str, ordering: Ordering) -> dict[str, str]:
    """What topics that keep an order want beside the body; others take the tenant.

    https://docs.aws.amazon.com/sns/latest/dg/fifo-message-grouping.html
    https://docs.aws.amazon.com/sns/latest/api/API_Publish.html
    """
    if not arn.endswith(".fifo"):
        return {"MessageGroupId": group_id(ordering.tenant)} if ordering.tenant else {}
    return {
        "MessageGroupId": ordering.group,
        "MessageDeduplicationId": ordering.deduplication_id,
    }


@contextmanager
def _translated(whose: str) -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        if code in _THROTTLED:
            raise Throttled(f"The {whose} is throttled.") from error
        if code.startswith("InvalidParameter"):
            raise Rejected(f"The {whose} refuses it: {error}", type=INVALID_JOB) from error
        raise Unavailable(f"The {whose} refused: {error}", type="cloud_unavailable") from error
    except BotoCoreError as error:
        raise Unavailable(f"The {whose}: {error}", type="cloud_unavailable") from error
