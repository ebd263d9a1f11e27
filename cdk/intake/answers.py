"""What callers are answered: as API Gateway wants it from a function.

https://docs.aws.amazon.com/apigateway/latest/developerguide/set-up-lambda-proxy-integrations.html
Errors are problem details (https://www.rfc-editor.org/rfc/rfc9457), like those of the gateway.
"""

import json
from http import HTTPStatus
from typing import TypedDict

from pydantic import JsonValue

from queue_agent.wire.job import Job
from queue_agent.wire.layout import ResultKeys


class ProxyResponse(TypedDict):
    """An answer of the function."""

    statusCode: int
    headers: dict[str, str]
    body: str


def accepted(job: Job, bucket: str, *, status: int) -> ProxyResponse:
    """The job is published; where its results will lie."""
    where = f"s3://{bucket}/{ResultKeys.of(job).folder}"
    body: JsonValue = {
        "id": job.id,
        "runtime": job.metadata.runtime,
        "output_location": where,
    }
    return _answer(status, body, "application/json", {})


def problem(
    status: int, code: str, detail: str, request_id: str, *, retry_after: int | None = None
) -> ProxyResponse:
    """It is not; `code` is a stable snake_case word for programs."""
    body: JsonValue = {
        "type": f"urn:queue-agent:problem:{code.replace('_', '-')}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "request_id": request_id,
    }
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    return _answer(status, body, "application/problem+json", headers)


def _answer(
    status: int, body: JsonValue, media_type: str, headers: dict[str, str]
) -> ProxyResponse:
    return {
        "statusCode": status,
        "headers": {"Content-Type": media_type, **headers},
        "body": json.dumps(body),
    }
