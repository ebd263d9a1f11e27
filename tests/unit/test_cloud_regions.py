"""Each queue, topic and bucket is asked for in its own region, as signatures tell."""

from collections.abc import AsyncIterator
from contextlib import suppress

import botocore.session
import pytest
from botocore.exceptions import EndpointVariantError

from odd_cloud import OddCloud
from queue_agent.cloud import Publication, addresses
from queue_agent.cloud.aws import AwsCloud

pytestmark = pytest.mark.usefixtures("sdk_loaded_once")

HERE = "us-east-1"
AWAY = "eu-west-1"


@pytest.fixture
async def odd() -> AsyncIterator[OddCloud]:
    async with OddCloud().serving() as odd:
        yield odd


@pytest.fixture
async def cloud(odd: OddCloud) -> AsyncIterator[AwsCloud]:
    cloud = AwsCloud(
        HERE, endpoint_url=odd.url, aws_access_key_id="id", aws_secret_access_key="secret"
    )
    yield cloud
    await cloud.aclose()


@pytest.mark.parametrize(
    ("arn", "region"),
    [
        (f"arn:aws:sns:{AWAY}:1:jobs", AWAY),
        (f"arn:aws:sns:{HERE}:1:jobs", HERE),
        ("arn:aws-cn:sns:cn-northwest-1:1:jobs.fifo", "cn-northwest-1"),
        ("arn:aws-us-gov:sns:us-gov-west-1:1:jobs", "us-gov-west-1"),
    ],
)
async def test_a_topic_is_published_to_in_its_region(
    odd: OddCloud, cloud: AwsCloud, arn: str, region: str
) -> None:
    topic = cloud.topic(arn)
    await topic.publish("x", {})
    await topic.publish_many([Publication("x")])
    await topic.check()
    assert odd.scopes == [("sns", region)] * 3


@pytest.mark.parametrize(
    ("url", "region"),
    [
        (f"https://sqs.{AWAY}.amazonaws.com/1/jobs", AWAY),
        (f"https://vpce-1a-2b.sqs.{AWAY}.vpce.amazonaws.com/1/jobs", AWAY),
        ("http://127.0.0.1:5000/1/jobs", HERE),
    ],
)
async def test_a_queue_is_asked_in_its_region(
    odd: OddCloud, cloud: AwsCloud, url: str, region: str
) -> None:
    queue = cloud.queue(url)
    await queue.policy()
    await queue.receive(1, wait=0, visibility_timeout=30)
    assert odd.scopes == [("sqs", region)] * 2


async def test_topics_of_a_region_share_a_client(cloud: AwsCloud) -> None:
    assert await cloud.client("sns", AWAY) is await cloud.client("sns", AWAY)
    assert await cloud.client("sns", HERE) is await cloud.client("sns")
    assert await cloud.client("sns", AWAY) is not await cloud.client("sns")


async def test_a_bucket_elsewhere_is_found_and_its_links_are_signed_for_there(
    odd: OddCloud, cloud: AwsCloud
) -> None:
    odd.region = AWAY
    bucket = cloud.bucket("results")
    await bucket.write("a", b"data", media_type="text/plain")
    assert await bucket.read("a") == b"data"
    assert f"{AWAY}%2Fs3" in await bucket.presign("a", seconds=60)
    assert odd.scopes == [("s3", HERE), ("s3", AWAY), ("s3", AWAY)]


@pytest.mark.parametrize(
    "variant", [{}, {"use_dualstack_endpoint": True}, {"use_fips_endpoint": True}]
)
def test_the_hosts_that_the_sdk_knows_of_name_their_regions(variant: dict[str, bool]) -> None:
    session = botocore.session.get_session()
    hosts = session._get_internal_component("endpoint_resolver")
    found = {}
    for partition in session.get_available_partitions():
        for region in session.get_available_regions("sqs", partition):
            with suppress(EndpointVariantError):
                known = hosts.construct_endpoint("sqs", region, partition, **variant)
                found[f"https://{known['hostname']}/1/jobs"] = region
    assert {url: addresses.region_of(url) for url in found} == found
    assert len(found) > 10
