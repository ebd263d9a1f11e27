"""Requests are signed as the SDK's own classes sign them."""

import hashlib
import io
from collections.abc import Mapping
from typing import Any
from unittest.mock import Mock

import pytest
from botocore import auth, awsrequest
from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import NoCredentialsError

from queue_agent.cloud.aws.signing import LessCostlyS3SigV4, LessCostlySigV4, payload_digest

PLAIN = Credentials("AKID", "secret")
SESSION = Credentials("AKID", "secret", "token/with+signs==")


@pytest.fixture(autouse=True)
def _one_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    moment = auth.get_current_datetime()
    monkeypatch.setattr(auth, "get_current_datetime", lambda: moment)


def _signed(signer: Any, credentials: Any, service: str, **request: Any) -> Mapping[str, str]:
    made = AWSRequest(**request)
    signer(credentials, service, "eu-west-1").add_auth(made)
    headers: Mapping[str, str] = made.headers
    return {name: headers[name] for name in ("Authorization", "X-Amz-Date")}


@pytest.mark.parametrize("credentials", [PLAIN, SESSION], ids=["plain", "session token"])
@pytest.mark.parametrize(
    "request_",
    [
        pytest.param({"url": "http://127.0.0.1:9000/"}, id="a port"),
        pytest.param({"url": "https://sqs.eu-west-1.amazonaws.com/"}, id="no port"),
        pytest.param({"url": "https://HOST.example:443/"}, id="the scheme's own port"),
        pytest.param({"url": "http://[::1]:9000/a"}, id="IPv6"),
        pytest.param({"url": "http://h/a%20b/c%C3%A9?list-type=2&prefix=a%2Fb"}, id="query"),
        pytest.param({"url": "http://h/", "params": {"b": "2", "a": "1 2"}}, id="parameters"),
        pytest.param({"url": "http://h/a/../b//c"}, id="a path with steps"),
        pytest.param({"url": "http://h/", "headers": {"X-A": "  a   b "}}, id="blanks"),
        pytest.param({"url": "http://h/", "headers": {"x-é": "ü"}}, id="beyond ASCII"),
        pytest.param(
            {"url": "http://h/", "headers": {"Expect": "100-continue", "User-Agent": "a"}},
            id="headers that are not signed",
        ),
        pytest.param({"url": "http://h/", "data": b"body"}, id="a body"),
        pytest.param({"url": "http://h/", "data": b""}, id="an empty body"),
        pytest.param({"url": "http://h/", "data": io.BytesIO(b"body")}, id="a file"),
        pytest.param({"url": "http://h/", "data": {"a": "1 +é", "b": "2"}}, id="a form"),
    ],
)
def test_signatures_are_those_of_the_sdk(request_: dict[str, Any], credentials: Any) -> None:
    request = {"method": "PUT", **request_}
    for ours, theirs, service in (
        (LessCostlySigV4, SigV4Auth, "sqs"),
        (LessCostlyS3SigV4, S3SigV4Auth, "s3"),
    ):
        expected = _signed(theirs, credentials, service, **request)
        assert _signed(ours, credentials, service, **request) == expected


def test_a_header_that_stands_twice_is_signed_with_both_values() -> None:
    signatures = []
    for signer in (LessCostlySigV4, SigV4Auth):
        request = AWSRequest("GET", "http://h/")
        request.headers["X-A"] = "1"
        request.headers["x-a"] = "2"
        signer(PLAIN, "sns", "eu-west-1").add_auth(request)
        signatures.append(request.headers["Authorization"])
    assert signatures[0] == signatures[1]


def test_a_form_is_put_together_once_and_sent_as_it_was_signed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sent, times = [], []
    for signer in (LessCostlySigV4, SigV4Auth):
        request = AWSRequest("POST", "http://h/", data={"a": "1 +é", "b": ["2", "3"]})
        with monkeypatch.context() as patched:
            written = Mock(wraps=awsrequest.urlencode)
            patched.setattr(awsrequest, "urlencode", written)
            signer(PLAIN, "sns", "eu-west-1").add_auth(request)
            prepared = request.prepare()
        times.append(written.call_count)
        sent.append((request.body, prepared.headers["Content-Length"]))
    assert sent[0] == sent[1] == (b"a=1+%2B%C3%A9&b=2&b=3", "21")
    assert times == [1, 2]


def test_the_body_of_a_request_is_not_prepared_for_its_digest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    request = AWSRequest("PUT", "http://h/", data=b"body")
    monkeypatch.setattr(AWSRequest, "prepare", None)
    LessCostlyS3SigV4(PLAIN, "s3", "eu-west-1").add_auth(request)
    assert request.headers["X-Amz-Content-SHA256"] == hashlib.sha256(b"body").hexdigest()


def test_without_credentials_nothing_is_signed() -> None:
    with pytest.raises(NoCredentialsError):
        LessCostlySigV4(None, "sqs", "eu-west-1").add_auth(AWSRequest("GET", "http://h/"))


def test_a_known_digest_is_signed_in_place_of_the_body() -> None:
    body = b"large"
    request = {"method": "PUT", "url": "http://h/k", "data": body}
    expected = _signed(S3SigV4Auth, PLAIN, "s3", **request)
    with payload_digest(hashlib.sha256(body).hexdigest()):
        assert _signed(LessCostlyS3SigV4, PLAIN, "s3", **request) == expected
    with payload_digest("0" * 64):
        assert _signed(LessCostlyS3SigV4, PLAIN, "s3", **request) != expected
    assert _signed(LessCostlyS3SigV4, PLAIN, "s3", **request) == expected


def test_where_the_sdk_leaves_the_body_unsigned_so_does_a_known_digest() -> None:
    made = AWSRequest("PUT", "https://h/k", data=b"x", headers={"Content-MD5": "sum"})
    made.context["has_streaming_input"] = True
    with payload_digest("0" * 64):
        LessCostlyS3SigV4(PLAIN, "s3", "eu-west-1").add_auth(made)
    assert made.headers["X-Amz-Content-SHA256"] == "UNSIGNED-PAYLOAD"


def test_where_a_checksum_follows_the_body_that_is_said_instead_of_a_digest() -> None:
    made = AWSRequest("PUT", "http://h/k", data=b"x")
    made.context["checksum"] = {"request_algorithm": {"in": "trailer", "algorithm": "crc32"}}
    with payload_digest("0" * 64):
        LessCostlyS3SigV4(PLAIN, "s3", "eu-west-1").add_auth(made)
    assert made.headers["X-Amz-Content-SHA256"] == "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
