"""Deployments whose programs send their spans to a collector."""

import secrets
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fakes import importable_tests
from harness import Scene, scene
from queue_agent.cloud import Message, Queue
from queue_agent.testing.aws import EmbeddedCloud
from queue_agent.testing.process import ServerProcess
from telemetry.collector import Collector


def new_name() -> str:
    """A runtime's name that no other test uses."""
    return f"rt-{secrets.token_hex(4)}"


def traced_runtime(kind: str, collector: Collector) -> ServerProcess:
    """A fake that makes spans; not started yet."""
    script = str(Path(__file__).with_name("traced_fake.py"))
    environment = {**collector.environment(), **importable_tests()}
    return ServerProcess([sys.executable, script, kind, "{port}"], env=environment)


@asynccontextmanager
async def traced_stage(
    cloud: EmbeddedCloud, folder: Path, collector: Collector, kind: str, *, raw: bool
) -> AsyncIterator[Scene]:
    """A deployment whose runtime and agents all send their spans to the collector."""
    with traced_runtime(kind, collector) as runtime:
        settings = {
            "QUEUE_AGENT_RUNTIME": kind,
            "QUEUE_AGENT_RUNTIME_URL": runtime.url,
            **collector.environment(),
        }
        async with scene(cloud, new_name(), folder, settings, raw_delivery=raw) as opened:
            yield opened


@asynccontextmanager
async def subscribed(stage: Scene) -> AsyncIterator[str]:
    """A subscriber's own queue, which gets whole messages; its URL."""
    sqs = await stage.cloud.client("sqs")
    sns = await stage.cloud.client("sns")
    url = (await sqs.create_queue(QueueName=f"{stage.deployment.runtime_name}-heard"))["QueueUrl"]
    answer = await sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
    await sns.subscribe(
        TopicArn=stage.deployment.notification_topic,
        Protocol="sqs",
        Endpoint=answer["Attributes"]["QueueArn"],
    )
    yield url


async def notified(stage: Scene, url: str) -> Message:
    """The first notification, as the subscriber's queue delivers it."""
    queue: Queue = stage.cloud.queue(url)
    for _ in range(20):
        for message in await queue.receive(1, wait=2, visibility_timeout=30):
            return message
    raise AssertionError("no notification came")
