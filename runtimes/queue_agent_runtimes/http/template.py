"""Templates: JSON in which ``${name}`` stands for a value of the job.

Values are put into a tree and never into a text that is parsed again, so that no job can change
what a request looks like: a string that is one placeholder becomes the value itself, of whatever
type, and within other text the value's words. ``$$`` is a dollar sign. There is nothing else: no
expressions, no conditions, no loops. What has no value is left out, and so is the field, the entry
or the text that it stands in.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias
from urllib.parse import quote

from pydantic import JsonValue

from queue_agent.runtime import Asset
from queue_agent.wire.errors import Rejected
from queue_agent.wire.reference import strings_of

__all__ = ["JobFile", "Rendered", "Template", "faults_of", "names_in", "render", "render_path"]

Template: TypeAlias = JsonValue

_PLACEHOLDER: Final = re.compile(r"\$(?:\$|\{([^{}]*)\})")
_NAME: Final = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?:\[([0-9]{1,3})\])?")


@dataclass(frozen=True)
class JobFile:
    """A file of the job, and how it is written where it stands amid JSON."""

    asset: Asset
    encoding: Literal["base64", "data-url"] = "base64"


Rendered: TypeAlias = "JsonValue | JobFile | list[Rendered] | dict[str, Rendered]"
"""A tree whose leaves are JSON values and files."""
Values: TypeAlias = Mapping[str, Rendered]


class _Absent(Exception):
    """A placeholder has no value."""


def names_in(template: Template) -> Iterator[str]:
    """The names of all placeholders; those of keys are none, since keys are no templates."""
    for _, text in strings_of(template):
        for found in _PLACEHOLDER.finditer(text):
            if found[1] is not None and (name := _NAME.fullmatch(found[1])):
                yield name[1]


def faults_of(template: Template, known: frozenset[str], files: frozenset[str]) -> Iterator[str]:
    """What is wrong with a template that may use the `known` names, some of which are `files`."""
    for _, text in strings_of(template):
        for found in _PLACEHOLDER.finditer(text):
            if found[1] is None:
                continue
            name = _NAME.fullmatch(found[1])
            if name is None:
                yield f"{found[0]} is no ${{name}} or ${{name[0]}}"
            elif name[1] not in known:
                yield f"{found[0]} names no parameter; known: {', '.join(sorted(known))}"
            elif name[1] in files and found[0] != text:
                yield f"{found[0]} is a file and must stand alone"


def render(template: Template, values: Values) -> Rendered:
    """The tree with the values in their places; None where nothing of a lone text is left."""
    try:
        return _rendered(template, values)
    except _Absent:
        return None


def render_path(template: str, values: Values) -> str:
    """A path of a URL, in which each value is one segment or a part of one.

    Raises:
        Rejected: a value would step out of its place, or there is none (``invalid_content``).
    """

    def put(found: re.Match[str]) -> str:
        if found[1] is None:
            return "$"
        try:
            words = _words(_value(found[1], values))
        except _Absent:
            raise Rejected(
                f"{found[1]}: a value is needed for the address.", type="invalid_content"
            ) from None
        if not words or words.strip(".") == "" or len(words) > 1000:
            raise Rejected(f"{found[1]}: cannot be part of an address.", type="invalid_content")
        return quote(words, safe="")

    return _PLACEHOLDER.sub(put, template)


def _rendered(template: Template, values: Values) -> Rendered:
    if isinstance(template, str):
        return _text(template, values)
    if isinstance(template, list):
        entries: list[Rendered] = []
        for entry in template:
            try:
                entries.append(_rendered(entry, values))
            except _Absent:
                continue
        return entries
    if isinstance(template, dict):
        fields: dict[str, Rendered] = {}
        for name, field in template.items():
            try:
                fields[name] = _rendered(field, values)
            except _Absent:
                continue
        return fields
    return template


def _text(template: str, values: Values) -> Rendered:
    whole = _PLACEHOLDER.fullmatch(template)
    if whole is not None and whole[1] is not None:
        return _value(whole[1], values)

    def put(found: re.Match[str]) -> str:
        return "$" if found[1] is None else _words(_value(found[1], values))

    return _PLACEHOLDER.sub(put, template)


def _value(placeholder: str, values: Values) -> Rendered:
    name = _NAME.fullmatch(placeholder)
    value = values.get(name[1]) if name else None
    if name and name[2] is not None:
        place = int(name[2])
        value = value[place] if isinstance(value, list) and place < len(value) else None
    if value is None:
        raise _Absent
    return value


def _words(value: Rendered) -> str:
    """A value amid other text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float):
        return str(value)
    raise Rejected("A list, an object or a file cannot be part of a text.", type="invalid_content")
