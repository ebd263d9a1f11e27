"""A whole cloud on this machine: moto's server in a child process, for the demo and the tests."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from queue_agent.cloud import Deployment
from queue_agent.cloud.aws import AwsCloud
from queue_agent.testing.process import HOST, ServerProcess

REGION = "us-east-1"

_CREDENTIALS = {"AWS_ACCESS_KEY_ID": "embedded", "AWS_SECRET_ACCESS_KEY": "embedded"}


class EmbeddedCloud(ServerProcess):
    """An emulated AWS account on a loopback port; its contents end with the process."""

    def __init__(self, *, port: int | None = None, log: Path | None = None) -> None:
        command = [sys.executable, "-m", "moto.server", "-H", HOST, "-p", "{port}"]
        super().__init__(command, port=port, log=log)

    def environment(self) -> dict[str, str]:
        """What the AWS SDK must find in the environment to talk to this cloud."""
        return {"AWS_ENDPOINT_URL": self.url, "AWS_REGION": REGION, **_CREDENTIALS}

    def connect(self, *, batching: Callable[[], bool] | None = None) -> AwsCloud:
        """A client of this cloud; `batching` as `AwsCloud` takes it."""
        return AwsCloud(
            REGION,
            batching=batching,
            endpoint_url=self.url,
            aws_access_key_id="embedded",
            aws_secret_access_key="embedded",  # noqa: S106  moto takes any
        )


async def deploy(
    cloud: AwsCloud,
    name: str,
    *,
    visibility_timeout: int = 30,
    max_receives: int | None = 3,
    raw_delivery: bool = False,
    fifo: bool = False,
) -> Deployment:
    """Make the topics, queues and bucket of one runtime.

    Jobs published with the attribute ``runtime`` equal to `name` reach its queue. Without
    `max_receives` there is no dead-letter queue. With `fifo` queues and topics keep an order.
    """
    sns, sqs, s3 = [await cloud.client(service) for service in ("sns", "sqs", "s3")]
    end = ".fifo" if fifo else ""
    ordered = {"FifoTopic": "true"} if fifo else {}
    job_topic, notification_topic = [
        (await sns.create_topic(Name=f"{name}-{what}{end}", Attributes=ordered))["TopicArn"]
        for what in ("jobs", "notifications")
    ]
    kind = {"FifoQueue": "true"} if fifo else {}
    attributes = {"VisibilityTimeout": str(visibility_timeout), **kind}
    dead_letters = None
    if max_receives is not None:
        made = await sqs.create_queue(QueueName=f"{name}-dead{end}", Attributes=kind)
        dead_letters = made["QueueUrl"]
        target = await _queue_arn(sqs, dead_letters)
        redrive = {"deadLetterTargetArn": target, "maxReceiveCount": str(max_receives)}
        attributes["RedrivePolicy"] = json.dumps(redrive)
    queue_url = (await sqs.create_queue(QueueName=f"{name}{end}", Attributes=attributes))[
        "QueueUrl"
    ]
    await sns.subscribe(
        TopicArn=job_topic,
        Protocol="sqs",
        Endpoint=await _queue_arn(sqs, queue_url),
        Attributes={
            "FilterPolicy": json.dumps({"runtime": [name]}),
            "RawMessageDelivery": str(raw_delivery).lower(),
        },
    )
    await s3.create_bucket(Bucket=f"{name}-results")
    return Deployment(
        runtime_name=name,
        job_topic=job_topic,
        queue_url=queue_url,
        dead_letter_queue_url=dead_letters,
        notification_topic=notification_topic,
        bucket=f"{name}-results",
    )


async def _queue_arn(sqs: Any, url: str) -> str:
    answer = await sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
    arn: str = answer["Attributes"]["QueueArn"]
    return arn
