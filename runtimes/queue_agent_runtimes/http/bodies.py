"""From a request's template and the values of a job to what is sent."""

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from pydantic import JsonValue
from pydantic_core import to_json

from queue_agent.runtime.http import Base64, Body, Form, FormFile, Part, form
from queue_agent.wire.errors import Rejected
from queue_agent.wire.job import canonical_json
from queue_agent.wire.media_types import extension
from queue_agent_runtimes.http.declaration import HttpCall
from queue_agent_runtimes.http.template import JobFile, Rendered, render, render_path

__all__ = ["HttpRequest", "request_of", "shown"]

_HEADER_VALUE: Final = re.compile(r"[\t\x20-\x7e\xa0-\xff]*")


@dataclass(frozen=True)
class HttpRequest:
    """A request with its values in their places."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    content: Rendered = field(repr=False)
    """Of the body; None: there is none."""
    kind: str = "json"
    """`json`, `form` or `multipart`."""

    def body(self) -> Body | Form | None:
        """What is sent; made anew for each time that it is."""
        if self.content is None:
            return None
        if self.kind == "json":
            return _json_body(self.content)
        if not isinstance(self.content, dict):
            raise TypeError("a form is an object")
        return _form(self.content, multipart=self.kind == "multipart")


def request_of(call: HttpCall, values: Mapping[str, Rendered]) -> HttpRequest:
    """The request of a call.

    Raises:
        Rejected: a value cannot stand where the template has it (type ``invalid_content``).
    """
    kind = "json"
    content = render(call.json_body, values)
    for name, template in (("form", call.form), ("multipart", call.multipart)):
        if template is not None:
            kind, content = name, render(dict(template), values)
    headers = _texts(dict(call.headers), values)
    for name, value in headers.items():
        if not _HEADER_VALUE.fullmatch(value):
            raise Rejected(f"The header {name} cannot hold this value.", type="invalid_content")
    path = render_path(call.path, values)
    return HttpRequest(call.method, path, _texts(dict(call.query), values), headers, content, kind)


def shown(content: Rendered) -> JsonValue:
    """The content of a body for people and records: of files only what they are."""
    if isinstance(content, JobFile):
        return f"<{content.asset.media_type}, {content.asset.size} bytes>"
    if isinstance(content, list):
        return [shown(entry) for entry in content]
    if isinstance(content, dict):
        return {name: shown(value) for name, value in content.items()}
    return content


def _texts(template: dict[str, JsonValue], values: Mapping[str, Rendered]) -> dict[str, str]:
    rendered = render(template, values)
    fields = rendered if isinstance(rendered, dict) else {}
    return {name: _text(value) for name, value in fields.items() if value is not None}


def _text(value: Rendered) -> str:
    return value if isinstance(value, str) else canonical_json(shown(value))


def _json_body(content: Rendered) -> Body:
    """JSON in which files are encoded while they are sent.

    Their places are held open by marks that no publisher can have written, since they are made up
    when the text is known.
    """
    files: list[JobFile] = []
    mark = secrets.token_hex(16)

    def marked(value: Rendered) -> JsonValue:
        if isinstance(value, JobFile):
            files.append(value)
            return f"{_prefix(value)}{mark}"
        if isinstance(value, list):
            return [marked(entry) for entry in value]
        if isinstance(value, dict):
            return {name: marked(entry) for name, entry in value.items()}
        return value

    first, *others = to_json(marked(content)).split(mark.encode())
    parts: list[Part] = [first]
    for file, piece in zip(files, others, strict=True):
        parts += [Base64(file.asset), piece]
    return Body(parts, "application/json")


def _prefix(file: JobFile) -> str:
    if file.encoding == "data-url":
        return f"data:{file.asset.media_type};base64,"
    return ""


def _form(content: Mapping[str, Rendered], *, multipart: bool) -> Form:
    fields: dict[str, str] = {}
    files: list[FormFile] = []
    for name, value in content.items():
        entries = value if isinstance(value, list) else [value]
        if entries and all(isinstance(entry, JobFile) for entry in entries):
            for number, entry in enumerate(entries, 1):
                if isinstance(entry, JobFile):
                    ending = extension(entry.asset.media_type)
                    files.append(FormFile(name, entry.asset, f"{name}-{number}.{ending}"))
        elif value is not None:
            fields[name] = _text(value)
    if not multipart:
        return form(fields, ())
    made = Form(default_to_multipart=True)
    for name, text in fields.items():
        made.add_field(name, text)
    return _with_files(made, files)


def _with_files(made: Form, files: list[FormFile]) -> Form:
    for file in files:
        body = Body([file.asset], file.media_type or file.asset.media_type)
        made.add_field(file.field, body, filename=file.filename)
    return made
