"""AWS's error codes: why a call was refused, and what the operator can do about it.

https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/CommonErrors.html
https://docs.aws.amazon.com/sns/latest/api/API_Publish.html
"""

from collections.abc import Mapping
from typing import Final, NamedTuple


class Refusal(NamedTuple):
    """Why, in the words of `queue_agent.cloud.refusals`, and what to do."""

    reason: str
    remedy: str = ""


_REGION: Final = Refusal(
    "not_found", "It lies in another region than the one asked: set QUEUE_AGENT_REGION."
)
_CREDENTIALS: Final = Refusal(
    "unauthenticated",
    "The credentials are missing, have expired or are not valid here. A pod has them from pod "
    "identity, web identity or a Secret, and is started anew if they are fixed; elsewhere they are "
    "taken from where AWS's own tools take them: AWS_PROFILE, `aws sso login`, AWS_ACCESS_KEY_ID "
    "and AWS_SECRET_ACCESS_KEY. Try: aws sts get-caller-identity",
)
_KEY: Final = Refusal(
    "unauthorized",
    "The KMS key may not be used: enable it, and give the role kms:Decrypt and "
    "kms:GenerateDataKey on it, in the role's policy and in the key's.",
)
_SIGNING_KEY: Final = Refusal(
    "unauthorized",
    "Is it an enabled key to sign with, and has the role the right kms:Sign on it, by its own "
    "policy or the key's?",
)
_CLOCK: Final = Refusal(
    "clock_skewed",
    "The clock of this machine differs from AWS's by minutes: let its node keep time "
    "(chrony, systemd-timesyncd; on AWS 169.254.169.123).",
)
_THROTTLED: Final = Refusal("throttled")
_UNKNOWN: Final = Refusal(
    "not_implemented",
    "What answers knows this operation, or one of its headers, not: see 'Stores other than S3' in "
    "docs/operating.md, and whether AWS_REQUEST_CHECKSUM_CALCULATION asks for checksums.",
)
_GONE: Final = Refusal(
    "not_found",
    "Queue, topic or bucket is not there: does the setting name it, in its account and region?",
)
_DENIED: Final = Refusal("unauthorized")
"""Its remedy names the right that is missing."""
_FULL: Final = Refusal("unavailable", "The store is full, or its quota used up.")

_CODES: Final[Mapping[Refusal, frozenset[str]]] = {
    _DENIED: frozenset(
        {
            "403", "accessdenied", "accountproblem", "allaccessdisabled", "authorizationerror",
            "forbidden", "unauthorizedoperation",
        }
    ),
    _CREDENTIALS: frozenset(
        {
            "401", "authfailure", "expiredtoken", "incompletesignature", "invalidaccesskeyid",
            "invalidclienttokenid", "invalididentitytoken", "invalidsignature", "invalidtoken",
            "missingauthenticationtoken", "optinrequired", "signaturedoesnotmatch",
            "tokenrefreshrequired", "unauthorized", "unrecognizedclient",
        }
    ),
    _CLOCK: frozenset({"requestexpired", "requestinthefuture", "requesttimetooskewed"}),
    _THROTTLED: frozenset(
        {
            "429", "bandwidthlimitexceeded", "kms.throttling", "kmsthrottled", "kmsthrottling",
            "limitexceeded", "overlimit", "requestlimitexceeded", "requestthrottled", "slowdown",
            "throttled", "throttling", "toomanyrequests",
        }
    ),
    _GONE: frozenset({"404", "nonexistentqueue", "nosuchbucket", "notfound", "queuedoesnotexist"}),
    _REGION: frozenset(
        {"301", "authorizationheadermalformed", "illegallocationconstraint", "permanentredirect"}
    ),
    _UNKNOWN: frozenset(
        {
            "405", "501", "invalidaction", "methodnotallowed", "notimplemented",
            "unknownoperation", "unsupportedoperation",
        }
    ),
    _FULL: frozenset({"507", "quotaexceeded", "xminiostoragefull"}),
}  # fmt: skip
_OF_KEYS: Final = frozenset({_DENIED, _GONE})
_UNFIT_KEYS: Final = frozenset({"disabled", "invalidkeyusage", "kmsinvalidstate"})
"""https://docs.aws.amazon.com/kms/latest/APIReference/API_Sign.html#API_Sign_Errors"""
_BY_CODE: Final = {code: refusal for refusal, codes in _CODES.items() for code in codes}

_READ: Final = "s3:GetObject, and s3:ListBucket, without which what is not there looks forbidden"
_RIGHTS: Final[Mapping[str, str]] = {
    "AssumeRoleWithWebIdentity": "to take on its role: the role must trust the service account",
    "ChangeMessageVisibility": "sqs:ChangeMessageVisibility",
    "ChangeMessageVisibilityBatch": "sqs:ChangeMessageVisibility",
    "DeleteMessage": "sqs:DeleteMessage",
    "DeleteMessageBatch": "sqs:DeleteMessage",
    "GetQueueAttributes": "sqs:GetQueueAttributes",
    "ReceiveMessage": "sqs:ReceiveMessage",
    "SendMessage": "sqs:SendMessage",
    "GetTopicAttributes": "sns:GetTopicAttributes",
    "Publish": "sns:Publish",
    "PublishBatch": "sns:Publish",
    "DeleteObject": "s3:DeleteObject",
    "GetObject": _READ,
    "HeadObject": _READ,
    "ListObjectsV2": "s3:ListBucket",
    "PutObject": "s3:PutObject",
    "CreateQueue": "sqs:CreateQueue",
    "GetQueueUrl": "sqs:GetQueueUrl",
    "SetQueueAttributes": "sqs:SetQueueAttributes",
    "CreateTopic": "sns:CreateTopic",
    "GetSubscriptionAttributes": "sns:GetSubscriptionAttributes",
    "ListSubscriptionsByTopic": "sns:ListSubscriptionsByTopic",
    "SetSubscriptionAttributes": "sns:SetSubscriptionAttributes",
    "Subscribe": "sns:Subscribe",
    "CreateBucket": "s3:CreateBucket",
    "GetBucketLifecycleConfiguration": "s3:GetLifecycleConfiguration",
    "GetPublicAccessBlock": "s3:GetBucketPublicAccessBlock",
    "HeadBucket": "s3:ListBucket",
    "PutBucketLifecycleConfiguration": "s3:PutLifecycleConfiguration",
    "PutBucketPolicy": "s3:PutBucketPolicy",
    "PutPublicAccessBlock": "s3:PutBucketPublicAccessBlock",
}  # fmt: skip
"""By operation, what a role must allow."""


def refusal_of(code: str, text: str, *, operation: str, status: int = 0) -> Refusal | None:
    """What an answer that is an error says; None of one that says only that something failed.

    `status` is the answer's, and counts where the code says nothing.
    """
    plain = code.removeprefix("AWS.SimpleQueueService.").removesuffix("Exception").lower()
    words = text.lower()
    if "signature expired" in words or "signature not yet current" in words:
        return _CLOCK
    found = _BY_CODE.get(plain)
    if operation == "Sign" and (found in _OF_KEYS or plain in _UNFIT_KEYS):
        return _SIGNING_KEY
    if found is not _THROTTLED and (plain.startswith("kms") or "kms:" in words):
        return _KEY
    if found is None and status < 500:  # 5xx: something failed, if the code says no more
        found = _BY_CODE.get(str(status))
    return _denied(operation) if found is _DENIED else found


def _denied(operation: str) -> Refusal:
    right = _RIGHTS.get(operation, operation)
    return Refusal(
        "unauthorized",
        f"Give the role the right {right}. Policies of the bucket, topic or queue, of the "
        "endpoint and of the organisation can deny it, too.",
    )


CREDENTIALS: Final = _CREDENTIALS
"""What is to be done where the SDK finds no credentials."""
