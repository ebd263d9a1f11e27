"""Addresses in the cloud: what a setting may hold, and the region it names."""

import pytest

from queue_agent.cloud import addresses
from queue_agent.cloud.connect import connect
from queue_agent.wire.errors import SettingsError

TOPIC = "arn:aws-cn:sns:cn-north-1:123456789012:jobs"
QUEUE = "https://sqs.eu-central-1.amazonaws.com/123456789012/jobs"


@pytest.mark.parametrize(
    ("address", "region"),
    [
        (TOPIC, "cn-north-1"),
        (QUEUE, "eu-central-1"),
        ("https://sqs.cn-north-1.amazonaws.com.cn/1/jobs", "cn-north-1"),
        ("http://127.0.0.1:5000/123456789012/jobs", None),
        ("https://us-west-2.queue.amazonaws.com/1/jobs", "us-west-2"),
        ("https://queue.amazonaws.com/1/jobs", "us-east-1"),
        ("https://cn-north-1.queue.amazonaws.com.cn/1/jobs", "cn-north-1"),
        ("https://vpce-0a-1b.sqs.us-west-2.vpce.amazonaws.com/1/jobs", "us-west-2"),
        ("https://vpce-0a-1b-us-west-2a.sqs.us-west-2.vpce.amazonaws.com/1/jobs", "us-west-2"),
        ("https://SQS.EU-West-1.AmazonAWS.com:443/1/jobs.fifo", "eu-west-1"),
        ("https://sqs-fips.us-gov-west-1.amazonaws.com/1/jobs", "us-gov-west-1"),
        ("https://sqs.eu-north-1.api.aws/1/jobs", "eu-north-1"),
        ("http://sqs.eu-west-2.localhost.localstack.cloud:4566/000000000000/jobs", "eu-west-2"),
        ("https://example.com/sqs.eu-central-1.amazonaws.com", None),
        ("https://sqs.eu-central-1.amazonaws.com.example.com/1/jobs", None),
        ("https://sqs.example.com/1/jobs", None),
        ("https://sqs.dev-cluster-1.example.com/1/jobs", None),
        ("results", None),
    ],
)
def test_a_region_is_read_from_what_names_one(address: str, region: str | None) -> None:
    assert addresses.region_of(address) == region


async def test_without_a_region_of_its_own_the_first_that_is_named_counts() -> None:
    for cloud in (
        connect(None, "results", TOPIC, QUEUE),
        connect(QUEUE, region="cn-north-1"),
    ):
        client = await cloud.client("sqs")  # type: ignore[attr-defined]
        assert client.meta.region_name == "cn-north-1"
        await cloud.aclose()


def test_where_nothing_names_a_region_it_must_be_set() -> None:
    with pytest.raises(SettingsError, match="QUEUE_AGENT_REGION"):
        connect(None, "http://127.0.0.1:5000/123456789012/jobs")


@pytest.mark.parametrize("text", ["jobs", "https://example.com", "ftp://example.com/jobs", ""])
def test_what_is_no_queue_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="queue"):
        addresses.queue_url(text)


@pytest.mark.parametrize("text", ["jobs", QUEUE, "arn:aws:sqs:us-east-1:1:jobs", "arn:aws:sns"])
def test_what_is_no_topic_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="topic"):
        addresses.topic(text)


def test_a_bucket_may_be_written_as_a_url() -> None:
    assert addresses.bucket_name("s3://my-bucket/") == addresses.bucket_name("my-bucket")


@pytest.mark.parametrize("text", ["", "ab", "Upper", "under_score", "s3://a-bucket/prefix"])
def test_what_no_bucket_can_be_called_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="bucket"):
        addresses.bucket_name(text)
