"""AWS's error codes become a reason of few words, and what the operator can do about it."""

import pytest
from botocore.exceptions import (
    ClientError,
    CredentialRetrievalError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
)

from queue_agent.cloud.aws.errors import failures, translated
from queue_agent.cloud.refusals import REASONS, reason_of, remedy_of
from queue_agent.wire.errors import LeaseLost, ObjectNotFound, QueueAgentError, Unavailable


def raised(
    code: str, text: str = "", *, operation: str = "Publish", status: int = 400, lease: bool = False
) -> QueueAgentError:
    """What becomes of an answer of AWS that is an error."""
    answer = {
        "Error": {"Code": code, "Message": text},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }
    with pytest.raises(QueueAgentError) as found, translated("do this", lease=lease):
        raise ClientError(answer, operation)
    return found.value


SIGNED = "Signature expired: 20261128T100000Z is now earlier than 20261128T101000Z"
KMS = "User: arn:aws:iam::1:role/x is not authorized to perform: kms:GenerateDataKey"
CASES = [
    ("AccessDenied", "Access Denied", 403, "PutObject", "unauthorized", "s3:PutObject"),
    ("AccessDenied", "Access Denied", 403, "GetObject", "unauthorized", "s3:ListBucket"),
    ("403", "Forbidden", 403, "HeadObject", "unauthorized", "s3:GetObject"),
    ("AuthorizationError", "no", 403, "Publish", "unauthorized", "sns:Publish"),
    ("AccessDeniedException", "no", 400, "ReceiveMessage", "unauthorized", "sqs:ReceiveMessage"),
    ("AccessDenied", "no", 403, "DeleteMessageBatch", "unauthorized", "sqs:DeleteMessage"),
    ("AccessDenied", "no", 403, "AssumeRoleWithWebIdentity", "unauthorized", "service account"),
    ("SomethingNew", "no", 403, "Publish", "unauthorized", "sns:Publish"),
    ("AccessDenied", KMS, 403, "PutObject", "unauthorized", "kms:GenerateDataKey"),
    ("KMSAccessDenied", "no", 400, "Publish", "unauthorized", "kms:Decrypt"),
    ("KmsDisabled", "no", 400, "SendMessage", "unauthorized", "enable it"),
    ("KMS.DisabledException", "no", 400, "PutObject", "unauthorized", "enable it"),
    ("KmsThrottled", "no", 400, "ReceiveMessage", "throttled", "quota"),
    ("ExpiredToken", "expired", 400, "PutObject", "unauthenticated", "credentials"),
    ("ExpiredTokenException", "expired", 403, "Publish", "unauthenticated", "credentials"),
    ("InvalidClientTokenId", "invalid", 403, "Publish", "unauthenticated", "credentials"),
    ("SignatureDoesNotMatch", "no match", 403, "PutObject", "unauthenticated", "credentials"),
    ("SignatureDoesNotMatch", SIGNED, 403, "Publish", "clock_skewed", "clock"),
    ("InvalidSignatureException", SIGNED, 400, "ReceiveMessage", "clock_skewed", "clock"),
    ("RequestTimeTooSkewed", "skewed", 403, "PutObject", "clock_skewed", "chrony"),
    ("NotImplemented", "A header", 501, "PutObject", "not_implemented", "Stores other than S3"),
    ("MethodNotAllowed", "no", 405, "PutObject", "not_implemented", "Stores other than S3"),
    ("NoSuchBucket", "no", 404, "PutObject", "not_found", "setting"),
    ("NotFound", "Topic does not exist", 404, "Publish", "not_found", "setting"),
    ("AWS.SimpleQueueService.NonExistentQueue", "no", 400, "ReceiveMessage", "not_found", "region"),
    ("QueueDoesNotExist", "no", 400, "DeleteMessage", "not_found", "region"),
    ("PermanentRedirect", "no", 301, "PutObject", "not_found", "QUEUE_AGENT_REGION"),
    ("SlowDown", "slower", 503, "PutObject", "throttled", "quota"),
    ("ThrottlingException", "slower", 400, "Publish", "throttled", "quota"),
    ("QuotaExceeded", "full", 403, "PutObject", "unavailable", "full"),
    ("InternalError", "oh", 500, "PutObject", "unavailable", "a way to the service"),
    ("SomethingElse", "oh", 400, "Publish", "unavailable", "a way to the service"),
    ("", "", 429, "Publish", "throttled", "quota"),
]


@pytest.mark.parametrize(
    ("code", "text", "status", "operation", "reason", "remedy"),
    CASES,
    ids=[f"{code} {operation}" for code, _, _, operation, *_ in CASES],
)
def test_a_code_has_a_reason_and_a_remedy(
    code: str, text: str, status: int, operation: str, reason: str, remedy: str
) -> None:
    error = raised(code, text, status=status, operation=operation)
    assert isinstance(error, Unavailable)
    assert (error.type, reason_of(error)) == (f"cloud_{reason}", reason)
    assert remedy in remedy_of(error)


@pytest.mark.parametrize(
    "found",
    [
        NoCredentialsError(),
        PartialCredentialsError(provider="env", cred_var="AWS_SECRET_ACCESS_KEY"),
        CredentialRetrievalError(provider="container-role", error_msg="connection refused"),
        ProfileNotFound(profile="prod"),
    ],
    ids=lambda found: type(found).__name__,
)
def test_an_agent_without_credentials_is_not_one_without_rights(found: Exception) -> None:
    with pytest.raises(Unavailable) as raised, translated("do this"):
        raise found
    assert raised.value.type == "cloud_unauthenticated"
    assert "credentials" in remedy_of(raised.value)


def test_only_an_object_that_is_missing_is_an_object_not_found() -> None:
    for operation in ("GetObject", "HeadObject"):
        assert isinstance(raised("404", status=404, operation=operation), ObjectNotFound)
    assert isinstance(raised("NoSuchKey", status=404, operation="GetObject"), ObjectNotFound)
    for operation in ("Publish", "GetTopicAttributes", "PutObject", "ReceiveMessage"):
        assert isinstance(raised("NotFound", status=404, operation=operation), Unavailable)


def test_a_lost_lease_is_no_refusal() -> None:
    error = raised("ReceiptHandleIsInvalid", operation="DeleteMessage", status=404, lease=True)
    assert isinstance(error, LeaseLost)


def test_entries_of_a_batch_have_reasons_too() -> None:
    answer = {"Failed": [{"Id": "1", "Code": "AccessDenied", "Message": "no"}]}
    well, error = failures(answer, 2, "delete a message")
    assert well is None
    assert isinstance(error, Unavailable)
    assert reason_of(error) == "unauthorized"
    assert "delete a message" in remedy_of(error)


@pytest.mark.parametrize("type_", ["runtime_unavailable", "internal_error", "cloud_", "cloud_odd"])
def test_reasons_are_a_few_words_whatever_errors_are_called(type_: str) -> None:
    assert reason_of(Unavailable("no", type=type_)) == "unavailable"


def test_every_reason_has_a_remedy() -> None:
    for reason in REASONS:
        assert remedy_of(Unavailable("no", type=f"cloud_{reason}"))
