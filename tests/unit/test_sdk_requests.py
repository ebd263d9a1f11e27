"""What the AWS SDK makes of our calls, without a server."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiobotocore.awsrequest import AioAWSResponse
from botocore.awsrequest import AWSPreparedRequest

from queue_agent.cloud import Message
from queue_agent.cloud.aws import AwsCloud
from queue_agent.cloud.aws.s3 import S3Bucket
from queue_agent.cloud.aws.signing import LessCostlyS3SigV4, LessCostlySigV4

pytestmark = pytest.mark.usefixtures("sdk_loaded_once")

QUEUE = "http://127.0.0.1:9/000000000000/jobs"
BODIES = {"sqs": b"{}", "sns": b"<PublishResponse><PublishResult/></PublishResponse>"}


@dataclass
class _Body:
    """The body of an answer."""

    text: bytes

    async def read(self) -> bytes:
        return self.text


@dataclass(eq=False)
class _Recorder:
    """Answers each request before it is sent, and keeps it."""

    sent: list[AWSPreparedRequest] = field(default_factory=list)

    def __call__(self, request: AWSPreparedRequest, event_name: str, **_: Any) -> AioAWSResponse:
        self.sent.append(request)
        body = _Body(BODIES.get(event_name.split(".")[1], b""))
        return AioAWSResponse(request.url, 200, {}, body)


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


async def test_an_object_of_known_digest_is_signed_with_it(
    bucket: S3Bucket, recorder: _Recorder
) -> None:
    await bucket.write("a/b", b"small", media_type="image/png", sha256="0" * 64)
    (sent,) = recorder.sent
    assert sent.headers["X-Amz-Content-SHA256"] == b"0" * 64


async def test_a_large_object_is_read_piece_by_piece_once_the_server_wants_it(
    bucket: S3Bucket, recorder: _Recorder
) -> None:
    large = bytes(2**20 + 1)
    await bucket.write("a/b", large, media_type="image/png")
    (sent,) = recorder.sent
    assert sent.headers["Expect"] == b"100-continue"
    assert sent.body.read() == large


async def test_each_client_signs_at_less_cost(
    cloud: AwsCloud, bucket: S3Bucket, recorder: _Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    signed: list[str] = []
    for signer in (LessCostlySigV4, LessCostlyS3SigV4):

        def noted(self: Any, text: str, request: Any, plain: Any = signer.signature) -> Any:
            signed.append(self._service_name)
            return plain(self, text, request)

        monkeypatch.setattr(signer, "signature", noted)
    await bucket.write("a/b", b"small", media_type="image/png")
    await cloud.queue(QUEUE).delete(Message("id", "body", "receipt"))
    await cloud.topic("arn:aws:sns:eu-west-1:000000000000:results").publish("body", {})
    assert signed == ["s3", "sqs", "sns"]
    assert len(recorder.sent) == 3


@pytest.mark.parametrize(
    ("service", "operation", "event"),
    [
        ("s3", "PutObject", "before-parameter-build"),
        ("s3", "GetObject", "before-parameter-build"),
        ("sqs", "DeleteMessage", "before-parameter-build"),
        ("sns", "Publish", "before-call"),
    ],
)
async def test_steps_that_serve_none_of_our_calls_are_left_out(
    cloud: AwsCloud, service: str, operation: str, event: str
) -> None:
    client = await cloud.client(service)
    steps = await client.meta.events.emit(
        f"{event}.{service}.{operation}",
        params={"Bucket": "results", "Key": "a/b", "headers": {}},
        model=client.meta.service_model.operation_model(operation),
        context={"client_config": client.meta.config},
        request_signer=None,
    )
    names = {getattr(step, "__name__", "") for step, _ in steps}
    left_out = {"sse_md5", "validate_ascii_metadata", "generate_idempotent_uuid"}
    assert names.isdisjoint(left_out | {"inject_api_version_header_if_needed"})
    assert names, "and the others are not"


async def test_links_are_signed_as_ever(bucket: S3Bucket) -> None:
    link = await bucket.presign("a/b", seconds=60)
    assert "X-Amz-Algorithm=AWS4-HMAC-SHA256" in link
    assert "X-Amz-Signature=" in link


async def test_where_the_operator_prefers_another_scheme_the_sdk_chooses(
    monkeypatch: pytest.MonkeyPatch, cloud: AwsCloud, recorder: _Recorder
) -> None:
    (await cloud.client("sqs")).meta.config.auth_scheme_preference = "sigv4"
    monkeypatch.setattr(LessCostlySigV4, "signature", None)
    await cloud.queue(QUEUE).delete(Message("id", "body", "receipt"))
    assert recorder.sent
