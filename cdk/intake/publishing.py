"""The job topic, by the SDK that the function's host brings along."""

from typing import Any, Final

import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from queue_agent.cloud import Publication
from queue_agent.wire.errors import QueueAgentError, Rejected, Unavailable
from queue_agent.wire.job import Job

LARGEST_PUBLICATION: Final = 262_144
"""Bytes: https://docs.aws.amazon.com/sns/latest/api/API_Publish.html"""

_THROTTLED: Final = frozenset({"Throttled", "Throttling", "ThrottlingException"})
_PATIENCE: Final = Config(
    connect_timeout=2, read_timeout=4, retries={"mode": "standard", "total_max_attempts": 3}
)


class JobTooLarge(QueueAgentError):
    """The topic does not take a job of that size."""

    default_type = "too_large"


class Throttled(Unavailable):
    """The topic takes no more for now."""

    default_type = "too_many_requests"


class JobTopic:
    """Where agents' queues are subscribed."""

    def __init__(self, arn: str) -> None:
        """The region and the credentials are those of the environment."""
        self._arn = arn
        self._sns: Any = botocore.session.get_session().create_client("sns", config=_PATIENCE)

    def publish(self, job: Job, traceparent: str | None) -> None:
        """Publish the job with what queues filter by.

        Raises:
            Rejected: its priority is nothing that can be filtered by.
            JobTooLarge: it must be offloaded to a bucket or made smaller.
            Throttled: trying again in a while helps.
            Unavailable: the topic does not answer.
        """
        publication = _publication(job, traceparent)
        if publication.size > LARGEST_PUBLICATION:
            raise JobTooLarge(
                f"The job is {publication.size} bytes long, {LARGEST_PUBLICATION} are possible: "
                "name images by URL instead of sending them along."
            )
        try:
            self._sns.publish(
                TopicArn=self._arn,
                Message=publication.body,
                MessageAttributes={
                    name: {"DataType": "String", "StringValue": value}
                    for name, value in publication.attributes.items()
                },
            )
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "")
            if code in _THROTTLED:
                raise Throttled("The job topic is throttled.") from error
            if code.startswith("InvalidParameter"):
                raise Rejected(f"The job topic refuses it: {error}", type="invalid_job") from error
            raise Unavailable(
                f"The job topic refused: {error}", type="cloud_unavailable"
            ) from error
        except BotoCoreError as error:
            raise Unavailable(f"The job topic: {error}", type="cloud_unavailable") from error


def _publication(job: Job, traceparent: str | None) -> Publication:
    metadata = job.metadata
    attributes = {
        "runtime": metadata.runtime,
        "priority": metadata.priority,
        "traceparent": traceparent,
    }
    return Publication(
        job.model_dump_json(exclude_none=True, ensure_ascii=True),
        {name: value for name, value in attributes.items() if value},
    )
