"""What the AWS SDK makes of our calls, without a server."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiobotocore.awsrequest import AioAWSResponse
from botocore.awsrequest import AWSPreparedRequest

from queue_agent.cloud.aws import AwsCloud
from queue_agent.cloud.aws.s3 import S3Bucket


class _NoBody:
    """The body of an answer that has none."""

    async def read(self) -> bytes:
        return b""


@dataclass(eq=False)
class _Recorder:
    """Answers each request before it is sent, and keeps it."""

    sent: list[AWSPreparedRequest] = field(default_factory=list)

    def __call__(self, request: AWSPreparedRequest, **_: Any) -> AioAWSResponse:
        self.sent.append(request)
        return AioAWSResponse(request.url, 200, {}, _NoBody())


@pytest.fixture
async def cloud(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[AwsCloud]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    cloud = AwsCloud("eu-west-1")
    yield cloud
    await cloud.aclose()


@pytest.fixture
async def recorder(cloud: AwsCloud) -> _Recorder:
    recorder = _Recorder()
    for service in ("s3", "sqs", "sns"):
        (await cloud.client(service)).meta.events.register("before-send", recorder)
    return recorder


@pytest.fixture
def bucket(cloud: AwsCloud) -> S3Bucket:
    return cloud.bucket("results")


async def test_a_small_object_is_sent_without_asking_first(
    bucket: S3Bucket, recorder: _Recorder
) -> None:
    await bucket.write("a/b", b"small", media_type="image/png", create_only=True)
    (sent,) = recorder.sent
    assert "Expect" not in sent.headers
    assert sent.body == b"small"
    assert sent.headers["If-None-Match"] == b"*"


async def test_a_large_object_is_read_piece_by_piece_once_the_server_wants_it(
    bucket: S3Bucket, recorder: _Recorder
) -> None:
    large = bytes(2**20 + 1)
    await bucket.write("a/b", large, media_type="image/png")
    (sent,) = recorder.sent
    assert sent.headers["Expect"] == b"100-continue"
    assert sent.body.read() == large
