"""How HTTP fronts say no: problem details (https://www.rfc-editor.org/rfc/rfc9457).

The gateway and the function behind API Gateway answer the same error by the same status, code
and body.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from pydantic import BaseModel

from queue_agent.wire.errors import QueueAgentError, Rejected
from queue_agent.wire.submission import INVALID_JSON

MEDIA_TYPE: Final = "application/problem+json"

TOO_LARGE: Final = "too_large"
TOO_MANY_REQUESTS: Final = "too_many_requests"

_STATUSES: Final[Mapping[str, int]] = {INVALID_JSON: 400, TOO_LARGE: 413}


class ProblemDetails(BaseModel):
    """The body of an unsuccessful answer."""

    type: str
    title: str
    status: int
    detail: str
    request_id: str


class Problem(Exception):
    """An unsuccessful answer; `code` is a stable snake_case word for programs, `param` the field
    of the request that is at fault, where it is one.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        job_id: str | None = None,
        param: str | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.headers = dict(headers or {})
        self.job_id = job_id
        self.param = param

    def details(self, request_id: str) -> ProblemDetails:
        """The answer's body."""
        return ProblemDetails(
            type=f"urn:queue-agent:problem:{self.code.replace('_', '-')}",
            title=HTTPStatus(self.status).phrase,
            status=self.status,
            detail=self.detail,
            request_id=request_id,
        )


def problem_of(error: QueueAgentError) -> Problem:
    """What an error means for the caller; whose fault a failure of the cloud is, he is not told."""
    if isinstance(error, Rejected):
        return Problem(_STATUSES.get(error.type, 422), error.type, error.message)
    if error.type == TOO_MANY_REQUESTS:
        return Problem(429, error.type, error.message, headers={"Retry-After": "1"})
    words = "The service is not available now."
    return Problem(503, error.type, words, headers={"Retry-After": "5"})
