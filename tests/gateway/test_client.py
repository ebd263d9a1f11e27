"""The client library, against a whole site."""

import asyncio
import io
import json
import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from PIL import Image

from gateway_site import Content, Site
from queue_agent.client import Client, JobFailed, SyncClient, make_job
from queue_agent.cloud.aws import AwsCloud
from queue_agent.testing.waiting import comes_to_hold
from queue_agent.wire.job import Job


@pytest.fixture
async def cloud(site: Site) -> AsyncIterator[AwsCloud]:
    connected = site.embedded.connect()
    yield connected
    await connected.aclose()


@pytest.fixture
async def client(site: Site, cloud: AwsCloud) -> AsyncIterator[Client]:
    async with client_for(site, cloud) as made:
        yield made


def client_for(site: Site, cloud: AwsCloud) -> Client:
    deployment = site.deployment
    return Client(
        cloud,
        job_topic=deployment.job_topic,
        notification_topic=deployment.notification_topic,
        bucket=deployment.bucket,
        runtime=deployment.runtime_name,
        poll=0.5,
    )


async def test_a_job_is_submitted_followed_and_its_images_saved(
    client: Client, tmp_path: Path
) -> None:
    job = await client.submit("a lighthouse", steps=300, width=64, height=64, context={"mine": 1})
    events = [event async for event in job.events()]
    assert events[-1].status == "completed"
    assert events[-1].context == {"mine": 1}
    progress = [event.progress for event in events[:-1]]
    assert progress
    assert progress == sorted(progress, key=lambda share: share or 0.0)
    (data,) = await job.images()
    with Image.open(io.BytesIO(data)) as image:
        assert image.size == (64, 64)
    (path,) = await job.save(tmp_path / "out")
    assert path.read_bytes() == data


async def test_a_result_is_found_long_after_and_from_elsewhere(
    client: Client, site: Site, cloud: AwsCloud
) -> None:
    job = await client.submit("kept", steps=2, width=64, height=64, prefix="some/where")
    result = await job.result()
    async with client_for(site, cloud) as another:
        again = await another.job(job.id, prefix="some/where").result()
    assert again == result
    assert again.metadata["prefix"] == "some/where"


async def test_a_local_file_is_uploaded_and_used(client: Client, tmp_path: Path) -> None:
    file = tmp_path / "cat.png"
    Image.new("RGB", (96, 64), "teal").save(file)
    job = await client.submit("a cat", init_images=[file], steps=2, width=96, height=64)
    result = await job.result()
    assert result.result, result.error
    assert result.metadata["tasktype"] == "image-to-image"


async def test_a_payload_too_large_for_the_topic_goes_by_the_bucket(client: Client) -> None:
    job = await client.submit("x" * 300_000, steps=2, width=64, height=64)
    assert (await job.result()).result


async def test_many_jobs_are_published_in_batches_and_each_is_answered(
    client: Client, site: Site, content: Content
) -> None:
    jobs = [
        make_job(content(f"many {number}"), runtime=site.deployment.runtime_name)
        for number in range(25)
    ]
    submitted = await client.submit_many(jobs)
    assert [job.id for job in submitted] == [job.id for job in jobs]
    results = await asyncio.gather(*(job.result() for job in submitted))
    assert {result.status for result in results} == {"completed"}


async def test_a_running_job_is_cancelled(client: Client) -> None:
    job = await client.submit("endless", steps=1000, n_iter=20, width=64, height=64)
    statuses = []
    async for event in job.events():
        if event.status == "running" and "running" not in statuses:
            await job.cancel()
        statuses.append(event.status)
    assert statuses[-1] == "cancelled"
    with pytest.raises(JobFailed, match="cancelled"):
        await job.images()


async def test_the_same_id_and_content_is_the_same_job(client: Client) -> None:
    job_id = f"same-{secrets.token_hex(4)}"
    first = await client.submit("once", id=job_id, steps=2, width=64, height=64)
    result = await first.result()
    second = await client.submit("once", id=job_id, steps=2, width=64, height=64)
    assert (await second.result()).images == result.images


async def test_notifications_of_one_job_come_through_a_queue_that_is_removed_afterwards(
    client: Client, cloud: AwsCloud, site: Site, content: Content
) -> None:
    job = make_job(content("heard"), runtime=site.deployment.runtime_name)
    async with client.notifications(job_id=job.id) as notifications:
        await client.submit("unheard", steps=1, width=64, height=64)
        await client.submit(job)
        heard = [await anext(notifications)]
        while heard[-1].status == "running":
            heard.append(await anext(notifications))
    assert {notification.id for notification in heard} == {job.id}
    sns = await cloud.client("sns")
    left = await sns.list_subscriptions_by_topic(TopicArn=site.deployment.notification_topic)
    filters = [
        await sns.get_subscription_attributes(SubscriptionArn=subscription["SubscriptionArn"])
        for subscription in left["Subscriptions"]
    ]
    assert job.id not in json.dumps(filters, default=str)


async def test_notifications_come_through_a_given_queue(
    client: Client, cloud: AwsCloud, site: Site, content: Content
) -> None:
    sqs, sns = await cloud.client("sqs"), await cloud.client("sns")
    url = (await sqs.create_queue(QueueName=f"mine-{secrets.token_hex(4)}"))["QueueUrl"]
    attributes = await sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
    await sns.subscribe(
        TopicArn=site.deployment.notification_topic,
        Protocol="sqs",
        Endpoint=attributes["Attributes"]["QueueArn"],
    )
    job = make_job(content("enveloped"), runtime=site.deployment.runtime_name)
    await client.submit(job)
    async with client.notifications(job_id=job.id, queue=url) as notifications:
        async for notification in notifications:
            assert notification.id == job.id
            if notification.status != "running":
                break
    assert (await sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"]))["Attributes"]


async def test_chosen_dead_letters_go_back_and_the_others_stay(
    client: Client, cloud: AwsCloud
) -> None:
    sqs = await cloud.client("sqs")
    name = secrets.token_hex(4)
    queues = [await sqs.create_queue(QueueName=f"{name}-{kind}") for kind in ("dead", "live")]
    dead, live = [queue["QueueUrl"] for queue in queues]
    bodies = [
        make_job({"prompt": kind}, runtime=None, job_id=kind).model_dump_json()
        for kind in ("good", "bad", "good-too")
    ]
    for body in [*bodies, "no job at all"]:
        await sqs.send_message(QueueUrl=dead, MessageBody=body)
    sent = [
        payload
        async for payload in client.redrive(
            dead_letters=dead, queue=live, wanted=lambda payload: "good" in payload
        )
    ]
    assert sorted(sent) == sorted([bodies[0], bodies[2]])
    for url in (dead, live):
        await comes_to_hold(cloud.queue(url), 2)


def test_the_synchronous_client_does_the_same(
    site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in site.environment.items():
        monkeypatch.setenv(name, value)
    with SyncClient.from_env() as client:
        job = client.submit("blocking", steps=30, width=64, height=64)
        statuses = [event.status for event in job.events()]
        assert statuses[-1] == "completed"
        assert len(job.images()) == 1
        assert job.save(tmp_path)[0].is_file()
        runtime = site.deployment.runtime_name
        asked: list[Job] = [make_job({"prompt": "two", "steps": 1}, runtime=runtime)] * 1
        assert client.submit_many(asked)[0].result(timeout=120).result
        endless = client.submit("endless", steps=1000, n_iter=20, width=64, height=64)
        with pytest.raises(TimeoutError):
            endless.result(timeout=0.1)
        client.cancel(endless.id)
        assert client.job(endless.id).result(timeout=120).status == "cancelled"
