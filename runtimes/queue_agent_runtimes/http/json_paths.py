"""JSONPath (RFC 9535), as the fields of a declaration hold it, and what it finds in an answer."""

from collections.abc import Iterator
from functools import cache
from typing import Annotated, Final

import jsonpath
from pydantic import AfterValidator, JsonValue
from pydantic_core import PydanticCustomError

__all__ = ["JsonPath", "found_at", "is_equal", "without"]

_MOST: Final = 10_000
"""Values that one path may find; more makes no sense of an answer."""


def _is_path(text: str) -> str:
    try:
        _compiled(text)
    except jsonpath.JSONPathError as error:
        reason = str(error).partition("\n")[0]
        raise PydanticCustomError(
            "json_path", "is no JSONPath: {reason}", {"reason": reason}
        ) from error
    return text


JsonPath = Annotated[str, AfterValidator(_is_path)]
"""A query such as ``$.data[*].b64_json``."""

_Location = tuple[str | int, ...]


def found_at(path: str, value: JsonValue) -> list[JsonValue]:
    """What the path finds, in the answer's order; nothing in an answer that is too odd."""
    return [found for _, found in _matches(path, value)]


def without(path: str, value: JsonValue) -> JsonValue:
    """The value in which null stands for all that the path finds; the value itself is left."""
    for location, _ in _matches(path, value):
        value = _replaced(value, location)
    return value


def is_equal(one: JsonValue, other: JsonValue) -> bool:
    """Whether two JSON values are the same; unlike in Python, true is not 1."""
    return isinstance(one, bool) == isinstance(other, bool) and one == other


def _matches(path: str, value: JsonValue) -> Iterator[tuple[_Location, JsonValue]]:
    try:
        for number, match in enumerate(_compiled(path).finditer(_data(value))):
            if number >= _MOST:
                return
            found: JsonValue = match.value  # type: ignore[assignment]  # of JSON
            yield tuple(match.parts), found
    except (jsonpath.JSONPathError, RecursionError):
        return


@cache
def _compiled(path: str) -> jsonpath.JSONPath | jsonpath.CompoundJSONPath:
    return jsonpath.compile(path)


def _data(value: JsonValue) -> list[JsonValue] | dict[str, JsonValue]:
    """The library parses a plain text as JSON; here it is a value in which nothing is found."""
    return value if isinstance(value, list | dict) else []


def _replaced(value: JsonValue, location: _Location) -> JsonValue:
    if not location:
        return None
    step, *rest = location
    if isinstance(value, dict) and isinstance(step, str) and step in value:
        return {**value, step: _replaced(value[step], tuple(rest))}
    if isinstance(value, list) and isinstance(step, int) and step < len(value):
        return [*value[:step], _replaced(value[step], tuple(rest)), *value[step + 1 :]]
    return value
