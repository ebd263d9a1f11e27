"""What is left of the SDK's descriptions is enough to call services with."""

from pathlib import Path

import botocore
import pytest

from queue_agent.cloud.aws import AwsCloud
from queue_agent.cloud.aws.descriptions import BriefFileLoader

DATA = Path(botocore.__file__).with_name("data")


def test_descriptions_have_no_prose() -> None:
    described = BriefFileLoader(()).load_file(str(DATA / "sqs" / "2012-11-05" / "service-2"))
    assert isinstance(described, dict)
    operations = described["operations"]
    assert isinstance(operations, dict)
    receive = operations["ReceiveMessage"]
    assert isinstance(receive, dict)
    assert receive["documentation"] == ""
    assert receive["input"] == {"shape": "ReceiveMessageRequest"}


def test_endpoints_of_other_services_are_left_out() -> None:
    endpoints = BriefFileLoader(["sqs", "s3"]).load_file(str(DATA / "endpoints"))
    assert isinstance(endpoints, dict)
    partitions = endpoints["partitions"]
    assert isinstance(partitions, list)
    for partition in partitions:
        assert isinstance(partition, dict)
        services = partition["services"]
        assert isinstance(services, dict)
        assert services.keys() <= {"sqs", "s3"}


@pytest.mark.parametrize(
    ("region", "domain"),
    [
        ("eu-central-1", "amazonaws.com"),
        ("us-gov-west-1", "amazonaws.com"),
        ("cn-north-1", "amazonaws.com.cn"),
    ],
)
@pytest.mark.parametrize("service", ["sqs", "sns", "s3"])
async def test_services_are_found_in_every_partition(
    service: str, region: str, domain: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    cloud = AwsCloud(region, aws_access_key_id="id", aws_secret_access_key="secret")
    try:
        client = await cloud.client(service)
        assert client.meta.endpoint_url == f"https://{service}.{region}.{domain}"
    finally:
        await cloud.aclose()
