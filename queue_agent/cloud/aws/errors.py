"""The AWS SDK's exceptions in the words of `queue_agent.wire.errors`."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import aiohttp
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    EndpointConnectionError,
    HTTPClientError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
    SSOError,
    TokenRetrievalError,
)
from botocore.parsers import ResponseParserError

from queue_agent.cloud.aws.refusals import CREDENTIALS, Refusal, refusal_of
from queue_agent.cloud.refusals import type_of
from queue_agent.wire.errors import (
    LeaseLost,
    ObjectExists,
    ObjectNotFound,
    QueueAgentError,
    Unanswered,
    Unavailable,
)

Failures = Sequence[QueueAgentError | None]

_WITHOUT_CREDENTIALS: Final = (
    CredentialRetrievalError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
    SSOError,
    TokenRetrievalError,
)
_SERVER_ERROR: Final = 500
_LEASE_LOST: Final = frozenset(
    {
        "ReceiptHandleIsInvalid",
        "MessageNotInflight",
        "AWS.SimpleQueueService.MessageNotInflight",
        # an expired receipt, or 12 hours in all:
        # https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ChangeMessageVisibility.html
        "InvalidParameterValue",
    }
)
_EXISTS: Final = frozenset({"PreconditionFailed", "412", "FileAlreadyExists", "NotModified", "304"})
"""S3's own code for a create of what exists, and those of other stores."""
_NOT_FOUND: Final = frozenset({"NoSuchKey", "404", "NotFound"})
_TURNED_AWAY: Final = frozenset({"ServiceUnavailable", "SlowDown", "Throttling"})
"""Codes of answers by 5xx that say that nothing was done."""
_OF_OBJECTS: Final = frozenset({"DeleteObject", "GetObject", "HeadObject"})
"""Operations that say so of an object; others miss a topic, a queue or a bucket."""


@contextmanager
def translated(action: str, *, lease: bool = False) -> Iterator[None]:
    """Translate what the SDK raises; `lease` where a bad receipt means a lost lease."""
    try:
        yield
    except ClientError as error:
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        raise _from_error(
            error.response.get("Error", {}),
            action,
            lease=lease,
            status=status,
            operation=error.operation_name,
        ) from error
    except _WITHOUT_CREDENTIALS as error:
        raise _unavailable(f"Could not {action}: {error}", CREDENTIALS) from error
    except (
        BotoCoreError,
        ResponseParserError,
        aiohttp.ClientError,
        TimeoutError,
        OSError,
    ) as error:
        reason = str(error) or type(error).__name__
        kind = Unanswered if _may_have_arrived(error) else Unavailable
        raise kind(f"Could not {action}: {reason}", type="cloud_unavailable") from error


def failures(
    answer: Mapping[str, Any], count: int, action: str, *, lease: bool = False
) -> Failures:
    """What became of each of the `count` entries of a batch, whose ids are their places."""
    failed = {int(entry["Id"]): entry for entry in answer.get("Failed", ())}
    return [
        _from_error(failed[place], action, lease=lease) if place in failed else None
        for place in range(count)
    ]


def _from_error(
    error: Mapping[str, Any], action: str, *, lease: bool, status: int = 0, operation: str = ""
) -> QueueAgentError:
    code = str(error.get("Code", ""))
    text = str(error.get("Message", "")) or code
    message = f"Could not {action}: {text} ({code})"
    if lease and code in _LEASE_LOST:
        return LeaseLost(message)
    if code in _NOT_FOUND and operation in _OF_OBJECTS:
        return ObjectNotFound(message)
    if code in _EXISTS:
        return ObjectExists(message)
    if refusal := refusal_of(code, text, operation=operation or f"to {action}", status=status):
        return _unavailable(message, refusal)
    if status >= _SERVER_ERROR and code not in _TURNED_AWAY:
        return Unanswered(message)
    return Unavailable(message, type="cloud_unavailable")


def _unavailable(message: str, refusal: Refusal) -> Unavailable:
    return Unavailable(message, type=type_of(refusal.reason), remedy=refusal.remedy)


def _may_have_arrived(error: Exception) -> bool:
    """Whether the service may have done what it was asked for before this happened."""
    if isinstance(error, EndpointConnectionError):  # the SDK's word for broken ones, too
        error = error.kwargs.get("error", error)
        return isinstance(error, aiohttp.ClientError) and not isinstance(
            error, aiohttp.ClientConnectorError
        )
    if isinstance(error, BotoCoreError):
        return isinstance(error, HTTPClientError)
    return not isinstance(error, aiohttp.ClientConnectorError)
