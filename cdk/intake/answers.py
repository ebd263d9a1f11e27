"""What callers are answered: as API Gateway wants it from a function.

https://docs.aws.amazon.com/apigateway/latest/developerguide/set-up-lambda-proxy-integrations.html
"""

from collections.abc import Mapping
from typing import TypedDict

from pydantic import BaseModel

from queue_agent.wire.job import Job
from queue_agent.wire.problems import MEDIA_TYPE, Problem
from queue_agent.wire.submission import Accepted


class ProxyResponse(TypedDict):
    """An answer of the function."""

    statusCode: int
    headers: dict[str, str]
    body: str


def accepted(job: Job, bucket: str, *, status: int) -> ProxyResponse:
    """The job is published; where its results will lie."""
    return _answer(status, Accepted.of(job, bucket), "application/json", {})


def refused(problem: Problem, request_id: str) -> ProxyResponse:
    """It is not."""
    return _answer(problem.status, problem.details(request_id), MEDIA_TYPE, problem.headers)


def _answer(
    status: int, body: BaseModel, media_type: str, headers: Mapping[str, str]
) -> ProxyResponse:
    return {
        "statusCode": status,
        "headers": {"Content-Type": media_type, **headers},
        "body": body.model_dump_json(),
    }
