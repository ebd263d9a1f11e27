"""Who listens for notifications is not misled by what else comes that way, and harms nothing."""

import asyncio
import json
from typing import Any

import pytest
from structlog.testing import capture_logs

from foreign_bodies import FOREIGN, OPENED, POINTERS, RESEMBLING, sns, told
from queue_agent.client import Client
from queue_agent.cloud.memory import MemoryCloud

pytestmark = pytest.mark.looptime

JOBS = [*OPENED.values(), *POINTERS.values(), *map(json.dumps, RESEMBLING.values())]
UNREADABLE = ["no JSON", "[]", '{"metadata": {"id": "a"}}', ""]


def client_of(cloud: MemoryCloud) -> Client:
    return Client(cloud, job_topic="topic", notification_topic="topic", bucket="results")


async def heard(client: Client, until: str, **wanted: Any) -> list[str]:
    """The ids of what is heard, up to one."""
    ids = []
    async with client.notifications(**wanted) as notifications:
        async for notification in notifications:
            ids.append(notification.id)
            if notification.id == until:
                break
    return ids


async def test_jobs_and_events_on_the_topic_of_notifications_are_passed_over() -> None:
    cloud = MemoryCloud()
    client = client_of(cloud)
    topic = cloud.topic("topic")
    async with asyncio.TaskGroup() as tasks:
        hearing = tasks.create_task(heard(client, "last"))
        await asyncio.sleep(1)
        for body in [*JOBS, *UNREADABLE, *(body for _, body in FOREIGN.values())]:
            await topic.publish(body, {})
        await topic.publish(told("completed", id="last").to_json(), {})
    assert set(hearing.result()) == {"a", "last"}


async def test_a_queue_that_also_holds_jobs_keeps_them() -> None:
    cloud = MemoryCloud()
    queue = cloud.queue("queue")
    asking = [*JOBS, *UNREADABLE]
    for body in [*asking, *(body for _, body in FOREIGN.values())]:
        queue.put(body, {})
    queue.put(sns(told("completed", id="last").to_json()), {})
    with capture_logs() as logs:
        ids = await heard(client_of(cloud), "last", queue="queue")
    assert set(ids) == {"a", "last"}
    assert sorted(queue.bodies) == sorted(asking)
    assert len([log for log in logs if log["event"] == "messages left"]) == 1
