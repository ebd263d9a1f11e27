"""What a YAML file says of a server, field by field, and whether it makes sense.

All places in answers are JSONPaths; all paths, headers, query fields and bodies are templates, see
`queue_agent_runtimes.http.template`.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field, JsonValue, model_validator

from queue_agent.wire.job import TaskType
from queue_agent_runtimes.http.json_paths import JsonPath
from queue_agent_runtimes.http.parameters import (
    DeclaredPart,
    FileParameter,
    Parameter,
    ParameterName,
)
from queue_agent_runtimes.http.template import faults_of, names_in

__all__ = [
    "Answers",
    "Declaration",
    "ErrorRule",
    "Errors",
    "HealthCheck",
    "HttpCall",
    "HttpTask",
    "Location",
    "Outputs",
    "Polling",
    "ProgressReport",
    "faults",
]

Location = tuple[str | int, ...]
"""Where in the file something stands."""

OF_A_RUN: Final = frozenset({"job_id", "run_id"})
"""Names that every request may use: the job's id, and one that no other run has."""
OF_AN_ACCEPTED_RUN: Final = OF_A_RUN | {"id"}
"""… and what the server calls it."""
OF_AN_OUTPUT: Final = OF_AN_ACCEPTED_RUN | {"value"}
_RESERVED: Final = OF_AN_OUTPUT

_SECRET_HEADERS: Final = re.compile(
    r"authorization|cookie|proxy-authorization|.*(?:key|token|secret|password).*", re.IGNORECASE
)
_HEADER: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_OF_THE_MESSAGE: Final = frozenset(
    {"connection", "content-length", "content-type", "host", "te", "transfer-encoding", "upgrade"}
)


def _path(text: str) -> str:
    if not text.startswith("/") or re.search(r"[\s?#\\]", text):
        raise ValueError("must begin with a slash and hold no blank, ?, # or backslash")
    return text


def _headers(fields: Mapping[str, str]) -> Mapping[str, str]:
    for name in fields:
        if not _HEADER.fullmatch(name):
            raise ValueError(f"{name!r} is no name of a header")
        if name.lower() in _OF_THE_MESSAGE:
            raise ValueError(f"the header {name} is the agent's own to set")
        if _SECRET_HEADERS.fullmatch(name):
            raise ValueError(
                f"the header {name} looks like a secret, which no file should hold: set "
                "QUEUE_AGENT_RUNTIME_API_KEY (see `authentication`) or QUEUE_AGENT_RUNTIME_HEADERS"
            )
    return fields


def _base_url(text: str) -> str:
    if not re.fullmatch(r"https?://[^/\s@?#]+(?:/[^\s?#@]*)?", text):
        raise ValueError("is no http(s) address without credentials and query")
    return text.rstrip("/")


Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
PathTemplate = Annotated[str, AfterValidator(_path)]
Headers = Annotated[dict[str, str], AfterValidator(_headers)]
Scalar = str | int | float | bool


class HttpCall(DeclaredPart):
    """One request."""

    method: Method = "POST"
    path: PathTemplate
    query: dict[str, Scalar] = Field(default_factory=dict)
    headers: Headers = Field(default_factory=dict)
    json_body: JsonValue = Field(default=None, alias="json")
    """Body in JSON."""
    form: dict[str, JsonValue] | None = None
    """Body as ``application/x-www-form-urlencoded``; what is no text is written as JSON."""
    multipart: dict[str, JsonValue] | None = None
    """Body as ``multipart/form-data``; files become parts with their bytes."""

    @model_validator(mode="after")
    def _one_body(self) -> "HttpCall":
        bodies = [self.json_body, self.form, self.multipart]
        if sum(body is not None for body in bodies) > 1:
            raise ValueError("json, form, multipart: one of them at most")
        return self

    @property
    def templates(self) -> dict[str, JsonValue]:
        """What of it is a template, by the field's name."""
        return {
            "path": self.path,
            "query": dict(self.query),
            "headers": dict(self.headers),
            "json": self.json_body,
            "form": self.form,
            "multipart": self.multipart,
        }


class Answers(DeclaredPart):
    """A value somewhere in an answer, and what it may be."""

    path: JsonPath
    values: tuple[JsonValue, ...] = Field(alias="is", min_length=1)
    """One of these."""


class HealthCheck(DeclaredPart):
    """Whether the server would work on a job."""

    path: PathTemplate
    method: Literal["GET", "POST", "HEAD"] = "GET"
    ready: Answers | None = None
    """What a success must say beside; else any success will do."""
    starting: tuple[int, ...] = ()
    """Statuses by which it says that it still loads."""
    silent_while_busy: bool = False
    """Whether it answers nobody while it works: its silence is no fault while a job of ours runs,
    or may still run since it was cancelled."""


class ProgressReport(DeclaredPart):
    """How far a run is."""

    path: JsonPath
    scale: float = Field(default=1.0, gt=0)
    """What stands for the whole: 1, or 100."""
    request: HttpCall | None = None
    """What to ask, of runs that are not polled; else the answer of the poll has it."""
    interval: float = Field(default=0.5, ge=0.05, le=60)
    """Seconds between two questions of `request`."""


class Polling(DeclaredPart):
    """Of servers that accept a run, and are asked for it again and again."""

    id: JsonPath
    """Where the answer to the request has the run's id, a text or a whole number."""
    request: HttpCall
    """What to ask; may use ``${id}``."""
    interval: float = Field(default=0.5, ge=0.05, le=60)
    """Seconds between two questions."""
    status: JsonPath
    done: tuple[JsonValue, ...] = Field(min_length=1)
    failed: tuple[JsonValue, ...] = ()
    """The job may be tried again, unless one of `errors.rules` says otherwise."""
    refused: tuple[JsonValue, ...] = ()
    """It failed by the job's own fault."""
    forgotten: tuple[int, ...] = (404,)
    """HTTP statuses by which it says that it does not know the run any more."""
    result: HttpCall | None = None
    """Where the outputs are, if not in the answer that says done."""


class Outputs(DeclaredPart):
    """Where a run's files are in the answer."""

    source: Literal["body", "base64", "url"] = Field(alias="as")
    """`body`: the answer is the file; `base64`: texts in base64 or data URLs; `url`: addresses that
    the agent fetches: below the server's own, on the public internet, and at the hosts of
    QUEUE_AGENT_REFERENCE_ALLOW."""
    path: JsonPath | None = None
    """Where they are; several, or lists of them, are several files."""
    request: HttpCall | None = None
    """Of `url`: how a file is fetched whose name, not address, is found; may use ``${value}``."""
    seed: JsonPath | None = None
    """The seeds, one for each file."""

    @model_validator(mode="after")
    def _place(self) -> "Outputs":
        if (self.source == "body") == (self.path is not None):
            raise ValueError("path: is needed unless `as` is body, and has no meaning then")
        if self.source != "url" and self.request:
            raise ValueError("request: has a meaning where `as` is url")
        return self


class ErrorRule(DeclaredPart):
    """What an answer means that is no result; the first rule that applies does."""

    status: tuple[int | Literal["4xx", "5xx"], ...] = ()
    """HTTP statuses; empty: all but those of success."""
    answer: Answers | None = None
    """What it must say."""
    contains: tuple[str, ...] = ()
    """Words, one of which its message must hold, in any case."""
    means: Literal["refused", "retry", "sick"]
    """`refused`: the job's fault, never tried again; `retry`: the server's; `sick`: its process
    fails until it is started anew."""
    type: str | None = Field(default=None, pattern=r"^[a-z][a-z0-9_]*$", max_length=64)
    """For the notification's `error.type`."""


class Errors(DeclaredPart):
    """Answers that are no results. What no rule speaks of is as usual: 400, 404, 405, 409, 413, 415
    and 422 are the job's fault, all else the server's."""

    message: JsonPath | None = None
    """Where the server's own words are; else they are looked for in the usual places."""
    rules: tuple[ErrorRule, ...] = ()


class Authentication(DeclaredPart):
    """How the secret of QUEUE_AGENT_RUNTIME_API_KEY is sent; the secret itself is never here."""

    header: str = Field(default="Authorization", pattern=r"^[A-Za-z0-9-]+$")
    scheme: str = Field(default="", pattern=r"^[A-Za-z0-9-]*$")
    """Word before the secret, such as Bearer."""


class HttpTask(DeclaredPart):
    """One kind of job."""

    parameters: dict[ParameterName, Parameter] = Field(default_factory=dict)
    """By the name that a job's content has for it, which for common ones is the Web UI's."""
    request: HttpCall
    outputs: Outputs | None = None
    """Else those of the file as a whole."""


class Declaration(DeclaredPart):
    """A server that speaks plain HTTP."""

    description: str = ""
    url: Annotated[str, AfterValidator(_base_url)]
    """Where it listens, where nothing else is said."""
    concurrency: int = Field(default=1, ge=1, le=256)
    """How many jobs it works on at the same time."""
    backlog: int = Field(default=0, ge=0, le=16)
    """How many more it keeps in a queue of its own, in order; 1 saves the time between two jobs, if
    what waits there can be cancelled."""
    time_limit: float | None = Field(default=None, gt=0)
    """Seconds for a run, beside QUEUE_AGENT_RUN_TIMEOUT."""
    authentication: Authentication | None = None
    """Else as a bearer token."""
    health: HealthCheck
    tasks: dict[TaskType, HttpTask] = Field(min_length=1)
    polling: Polling | None = None
    """Else the answer to the request is the result."""
    progress: ProgressReport | None = None
    outputs: Outputs | None = None
    cancel: HttpCall | None = None
    """How a run is stopped, which closing the connection does beside; with polling it may use
    ``${id}``."""
    errors: Errors = Errors()
    facts: dict[str, JsonPath] = Field(default_factory=dict)
    """What of the answer goes into the result's manifest as `response`; empty: all but files."""


def faults(declaration: Declaration) -> Iterator[tuple[Location, str]]:
    """What makes no sense of a declaration whose fields are each right, and where it stands."""
    for kind, task in declaration.tasks.items():
        where = ("tasks", kind)
        if task.outputs is None and declaration.outputs is None:
            yield where, "outputs: are named neither here nor for the file as a whole"
        files = {
            name
            for name, parameter in task.parameters.items()
            if isinstance(parameter, FileParameter) and parameter.encoding != "url"
        }
        for name in task.parameters.keys() & _RESERVED:
            yield (*where, "parameters", name), "is a name of the agent's own"
        known = OF_A_RUN | task.parameters.keys()
        yield from _of_call(task.request, (*where, "request"), known, frozenset(files))
        used = set(names_in(list(task.request.templates.values())))
        for name in task.parameters.keys() - used:
            yield (*where, "parameters", name), "is sent nowhere: the request does not use it"
        if task.outputs is not None:
            yield from _of_outputs(task.outputs, (*where, "outputs"), declaration)
    if declaration.outputs is not None:
        yield from _of_outputs(declaration.outputs, ("outputs",), declaration)
    yield from _of_others(declaration)


def _of_others(declaration: Declaration) -> Iterator[tuple[Location, str]]:
    accepted = OF_AN_ACCEPTED_RUN if declaration.polling else OF_A_RUN
    calls: dict[Location, HttpCall | None] = {("cancel",): declaration.cancel}
    if declaration.polling is not None:
        calls[("polling", "request")] = declaration.polling.request
        calls[("polling", "result")] = declaration.polling.result
    if declaration.progress is not None:
        calls[("progress", "request")] = declaration.progress.request
        if declaration.polling is None and declaration.progress.request is None:
            yield ("progress",), "request: is needed where runs are not polled"
    for where, call in calls.items():
        if call is not None:
            yield from _of_call(call, where, accepted)
    for fault in faults_of(declaration.health.path, frozenset(), frozenset()):
        yield ("health", "path"), fault


def _of_outputs(
    outputs: Outputs, where: Location, declaration: Declaration
) -> Iterator[tuple[Location, str]]:
    polling = declaration.polling
    if outputs.source == "body" and polling is not None and polling.result is None:
        yield where, "as: body needs polling.result: the answer of a poll is no file"
    known = OF_AN_OUTPUT if polling else OF_AN_OUTPUT - {"id"}
    if outputs.request is not None:
        yield from _of_call(outputs.request, (*where, "request"), known)


def _of_call(
    call: HttpCall,
    where: Location,
    known: frozenset[str] | set[str],
    files: frozenset[str] = frozenset(),
) -> Iterator[tuple[Location, str]]:
    for field, template in call.templates.items():
        for fault in faults_of(template, frozenset(known), files):
            yield (*where, field), fault
        if field in {"path", "query", "headers"} and files & set(names_in(template)):
            yield (*where, field), "a file cannot stand here"
