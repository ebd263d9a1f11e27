"""JSON of strangers: how much a text may become is counted before anything is made of it.

A byte of text can become sixty bytes of objects (`[],[],[],…`), and a parser gives no sign until
it has made them all. So the marks that announce values are counted first, in linear time and
without memory of their own. JSON: https://www.rfc-editor.org/rfc/rfc8259
"""

import re
from codecs import BOM_UTF8
from typing import Final

from pydantic import JsonValue
from pydantic_core import from_json

__all__ = ["MAX_DEPTH", "MAX_VALUES", "JsonError", "load"]

MAX_VALUES: Final = 100_000
"""Marks of values that a job may have; large ComfyUI workflows have some thousands."""
MAX_DEPTH: Final = 100
"""Lists and objects within each other."""

_MARKS: Final = (b"[", b"{", b",", b":")
_NEXT_MARK: Final = re.compile(
    rb'(?:[^"\[\]{},:]++|"[^"\\]*+(?:\\.[^"\\]*+)*+"?){0,3}+([\[\]{},:]?)', re.DOTALL
)
"""Blanks, a text or a number, blanks, and a mark. Possessive: no way back is kept."""


class JsonError(ValueError):
    """The text is not JSON, or more than may be made of it."""


def load(
    data: bytes | str, *, max_values: int = MAX_VALUES, max_depth: int = MAX_DEPTH
) -> JsonValue:
    """What a JSON text says; a byte order mark before it is ignored.

    `max_values` bounds the marks `[`, `{`, `,` and `:` outside of texts: as many as values and
    keys, and an empty list counts twice where it stands in another. `max_depth` bounds the lists
    and objects within each other.

    Raises:
        JsonError: it is not JSON (NaN, infinity and lone surrogates are not), or too much.
    """
    try:
        raw = data.encode() if isinstance(data, str) else data
        raw = raw.removeprefix(BOM_UTF8)
        _check(raw, max_values, max_depth)
        value: JsonValue = from_json(raw, allow_inf_nan=False)
    except JsonError:
        raise
    except ValueError as error:
        raise JsonError(str(error)) from error
    return value


def _check(raw: bytes, max_values: int, max_depth: int) -> None:
    """The marks are counted within texts too at first, which is fast; one by one only if needed."""
    if sum(map(raw.count, _MARKS)) <= min(max_values, max_depth):
        return
    values = depth = 0
    for found in _NEXT_MARK.finditer(raw):
        mark = found[1]
        if mark in b"]}":
            depth -= 1
            if not mark or depth < 0:  # the end, or no JSON: the parser comes no further
                return
            continue
        values += 1
        depth += mark in b"[{"
        if depth > max_depth:
            raise JsonError(f"More than {max_depth} lists or objects within each other.")
        if values > max_values:
            raise JsonError(f"More than {max_values} values.")
