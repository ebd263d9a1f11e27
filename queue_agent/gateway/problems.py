"""What goes wrong, told in the caller's own dialect.

Everywhere it is problem details (https://www.rfc-editor.org/rfc/rfc9457), except on the routes
that stand for another server, which answer errors as that server does.
"""

import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, JsonValue
from starlette.exceptions import HTTPException

from queue_agent.wire.errors import QueueAgentError
from queue_agent.wire.problems import MEDIA_TYPE, Problem, ProblemDetails, problem_of

log = structlog.get_logger()


class WebUIError(BaseModel):
    """The same in the Web UI's shape."""

    error: str
    detail: str
    body: str
    errors: str
    job_id: str | None = None


class WebUIFieldFault(BaseModel):
    """What is wrong with a part of the request, as the Web UI's framework tells it."""

    loc: list[str | int]
    msg: str
    type: str


class WebUIFieldFaults(BaseModel):
    """All that is wrong with the parts of a request."""

    detail: list[WebUIFieldFault]


class FrameworkError(BaseModel):
    """An unsuccessful answer as FastAPI's own."""

    detail: str | list[WebUIFieldFault]


class OpenAIFault(BaseModel):
    """What is wrong, in the OpenAI API's shape."""

    message: str
    type: str
    param: str | None
    code: str | None


class OpenAIError(BaseModel):
    """An unsuccessful answer in the OpenAI API's shape."""

    error: OpenAIFault
    job_id: str | None = None


WEBUI: Final = "/sdapi/"
"""What the paths begin with that stand for a Web UI."""
_OPENAI: Final = re.compile(r"/v1(?!/(jobs|runtimes|estimate)(/|$))(/|$)")
"""The paths that stand for OpenAI's server: all of the first version but our own."""
_GUIDES: Final = re.compile(r"/(generate$|jobs/|ws/jobs/)")
"""The paths that stand for the worker of guides to serving."""
UNKNOWN_MODEL: Final = "unknown_model"
WITHHELD: Final = "withheld"
"""The error's type of a job whose images somebody holds back: a content check, or the runtime."""
OPENAI_WITHHELD: Final = "content_policy_violation"

_CASES: Final[Mapping[int, str]] = {
    400: "The body is not JSON, or too much of it.",
    401: "No valid API key.",
    404: "No such job.",
    408: "The body came too slowly.",
    409: "Another job has that id.",
    413: "The body is too large.",
    415: "The body says that it is something else than JSON.",
    422: "The request cannot be understood.",
    429: "Too many requests, or too many unfinished jobs.",
    503: "The cloud does not answer.",
}
_AT_SYNCHRONOUS: Final[Mapping[int, str]] = {
    410: "The job was cancelled or has expired.",
    504: "Not finished in time; `job_id` says what to ask for later.",
}


def documented(model: type[BaseModel]) -> dict[int | str, dict[str, Any]]:
    """The unsuccessful answers of routes that tell them in this form, for their description."""
    synchronous = model in {WebUIError, OpenAIError}
    cases = {**_CASES, **_AT_SYNCHRONOUS} if synchronous else _CASES
    told: dict[int | str, dict[str, Any]] = {
        status: {"model": model, "description": words} for status, words in cases.items()
    }
    if model is WebUIError:
        told[403] = {"model": model, "description": "It would concern all who use the runtime."}
        told[422]["model"] = WebUIError | WebUIFieldFaults
    return told


def mend_media_type(answer: dict[str, Any]) -> None:
    """Say in an answer's description that problem details are not plain JSON."""
    content = answer.get("content", {})
    plain = content.get("application/json", {})
    if str(plain.get("schema", {}).get("$ref", "")).endswith(f"/{ProblemDetails.__name__}"):
        content[MEDIA_TYPE] = content.pop("application/json")


def no_such_job() -> Problem:
    """Also for jobs of other keys: whether they exist is nobody else's business."""
    return Problem(404, "no_such_job", "There is no job of that id.")


def render(problem: Problem, *, path: str, request_id: str) -> JSONResponse:
    """The answer, in the dialect of the route."""
    body: dict[str, JsonValue]
    media_type = "application/json"
    if path.startswith(WEBUI):
        body = {"error": problem.code, "detail": problem.detail, "body": "", "errors": ""}
    elif _OPENAI.match(path):
        problem = _as_openai(problem)
        body = openai_body(problem)
    elif _GUIDES.match(path):
        body = _as_framework(problem)
    else:
        media_type = MEDIA_TYPE
        body = problem.details(request_id).model_dump()
    if problem.job_id is not None:
        body["job_id"] = problem.job_id
    return JSONResponse(body, problem.status, headers=problem.headers, media_type=media_type)


def openai_body(problem: Problem) -> dict[str, JsonValue]:
    """The problem in the OpenAI API's shape."""
    problem = _as_openai(problem)
    fault = OpenAIFault(
        message=problem.detail,
        type=_openai_kind(problem.status),
        param=problem.param,
        code=problem.code,
    )
    return {"error": fault.model_dump()}


def _as_openai(problem: Problem) -> Problem:
    """With the statuses and codes by which clients of OpenAI tell errors apart.

    https://platform.openai.com/docs/guides/error-codes/api-errors
    """
    status, code, param = problem.status, problem.code, problem.param
    if code == UNKNOWN_MODEL:
        status, code, param = 404, "model_not_found", "model"
    elif status == 401:
        code = "invalid_api_key"
    elif code == WITHHELD:
        status, code = 400, OPENAI_WITHHELD
    elif status == 422 or _is_refused_by_a_runtime(problem):
        status = 400
    return Problem(
        status, code, problem.detail, headers=problem.headers, job_id=problem.job_id, param=param
    )


def _is_refused_by_a_runtime(problem: Problem) -> bool:
    return problem.job_id is not None and 400 <= problem.status < 500 and problem.status != 410


def _openai_kind(status: int) -> str:
    if status == 429:
        return "rate_limit_error"
    return "invalid_request_error" if status < 500 else "server_error"


def add_handlers(app: FastAPI) -> None:
    """Answer every error of a route."""

    async def answer(request: Request, error: Exception) -> JSONResponse:
        if _is_framework(request.url.path) and (told := _of_the_framework(error)) is not None:
            return told
        problem = _problem_of(error)
        if problem.status >= 500:
            log.warning("request failed", error=problem.code, reason=str(error))
        return render(
            problem, path=request.url.path, request_id=getattr(request.state, "request_id", "")
        )

    for kind in (Problem, QueueAgentError, RequestValidationError, HTTPException, RecursionError):
        app.add_exception_handler(kind, answer)


def _is_framework(path: str) -> bool:
    """Whether the server that the path stands for leaves some errors to FastAPI."""
    return path.startswith(WEBUI) or _GUIDES.match(path) is not None


def _as_framework(problem: Problem) -> dict[str, JsonValue]:
    """The problem as one of FastAPI's: words or, of a body that is wrong, a list."""
    if problem.status != 422:
        return {"detail": problem.detail}
    place: list[JsonValue] = ["body", *([problem.param] if problem.param else [])]
    return {"detail": [{"loc": place, "msg": problem.detail, "type": problem.code}]}


def _of_the_framework(error: Exception) -> JSONResponse | None:
    """What FastAPI answers by itself: fields of a body, and routes that are not there."""
    if isinstance(error, RequestValidationError):
        faults = [
            {name: fault[name] for name in ("loc", "msg", "type")} for fault in error.errors()
        ]
        return JSONResponse({"detail": faults}, 422)
    if isinstance(error, HTTPException):
        return JSONResponse({"detail": error.detail}, error.status_code, headers=error.headers)
    return None


def _problem_of(error: Exception) -> Problem:
    if isinstance(error, Problem):
        return error
    if isinstance(error, QueueAgentError):
        return problem_of(error)
    if isinstance(error, RequestValidationError):
        faults = error.errors()
        return Problem(422, "invalid_request", _describe(faults), param=_first_field(faults))
    if isinstance(error, HTTPException):
        code = HTTPStatus(error.status_code).phrase.lower().replace(" ", "_")
        return Problem(error.status_code, code, str(error.detail), headers=error.headers)
    return Problem(400, "invalid_request", "The body is nested too deeply.")


def _first_field(faults: Sequence[Mapping[str, object]]) -> str | None:
    place = faults[0].get("loc") if faults else None
    parts = place if isinstance(place, tuple) else ()
    return next((part for part in parts[1:] if isinstance(part, str)), None)


def _describe(faults: Sequence[Mapping[str, object]]) -> str:
    words = []
    for fault in faults[:10]:
        place = fault.get("loc")
        parts = place if isinstance(place, tuple) else ()
        where = ".".join(str(part) for part in parts) or "body"
        words.append(f"{where}: {fault.get('msg')}")
    return "; ".join(words)
