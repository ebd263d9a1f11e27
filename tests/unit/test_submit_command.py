"""`queue-agent submit --wait`: whose end it waits for."""

import asyncio
import json

import pytest

from queue_agent.cli.submit import submit_and_wait
from queue_agent.client import Client, make_job
from queue_agent.cloud.memory import MemoryCloud
from queue_agent.wire.job import Job
from queue_agent.wire.layout import ResultKeys
from queue_agent.wire.notification import Notification


def ending(job: Job, bucket: str, *, completed: bool) -> Notification:
    return Notification(
        runtime="sd",
        id=job.id,
        status="completed" if completed else "failed",
        result=completed,
        output_url=f"s3://{bucket}/{ResultKeys.of(job).manifest}",
    )


async def test_the_end_of_another_content_by_its_id_is_not_taken_for_the_jobs(
    capsys: pytest.CaptureFixture[str],
) -> None:
    cloud = MemoryCloud()
    place = cloud.deploy("sd")
    client = Client(cloud, job_topic=place.job_topic, notification_topic=place.notification_topic)
    ours = make_job({"prompt": "a cat"}, job_id="order-1", runtime="sd")
    others = make_job({"prompt": "a dog"}, job_id="order-1", runtime="sd")
    news = cloud.topic(place.notification_topic)
    async with cloud.topic(place.job_topic).subscribe() as submitted, asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(submit_and_wait(client, ours, None, patience=60))
        await anext(submitted)
        for job, completed in ((others, True), (ours, False)):
            told = ending(job, place.bucket, completed=completed)
            await news.publish(told.to_json(), told.attributes())
    assert waiting.result() == 1
    assert json.loads(capsys.readouterr().out)["status"] == "failed"


@pytest.mark.looptime
async def test_it_waits_no_longer_than_asked_and_says_for_what(
    capsys: pytest.CaptureFixture[str],
) -> None:
    cloud = MemoryCloud()
    place = cloud.deploy("sd")
    client = Client(cloud, job_topic=place.job_topic, notification_topic=place.notification_topic)
    job = make_job({"prompt": "a cat"}, job_id="order-1", runtime="sd")
    clock = asyncio.get_running_loop().time
    begin = clock()
    assert await submit_and_wait(client, job, None, patience=60) == 3
    assert clock() - begin == pytest.approx(60)
    out, told = capsys.readouterr()
    words = " ".join(told.split())
    assert out == ""
    assert "Waiting up to 60 s for an agent of sd to tell the end of order-1." in words
    assert "order-1 has not ended within 60 s" in words
    assert "queue-agent status order-1" in words
