"""Inputs that a job carries in itself, in whatever field: base64 and data URLs.

What decodes them is the runtime, in the pod with the GPU, so they keep to the limits of fetched
ones. Decoders differ in what they pass over; here, what is not clean base64 is refused.
"""

import base64
import re
from collections.abc import Sequence
from typing import Final

from pydantic import JsonValue

from queue_agent.media.facts import BrokenImage, TooManyPixels, facts_of, kind_of, media_type_of
from queue_agent.wire.errors import Rejected
from queue_agent.wire.reference import Path, spelled, strings_of

Carried = Sequence[tuple[Path, str]]
"""Texts that carry media, and where they stand."""

_SHORTEST: Final = 16
"""Letters; fewer are no image of any format."""
_HEAD: Final = 400
_FOREIGN: Final = bytes(
    set(range(256)) - set(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")
)
"""What lenient decoders of base64 pass over."""
_DATA_URL: Final = re.compile(r"\s*data:(?:(?:image|video|audio)/|[^,]*;base64,)", re.IGNORECASE)
_BASE64_URL: Final = re.compile(r"\s*data:[^,]*;base64,", re.IGNORECASE)


def find_carried(content: JsonValue) -> Carried:
    """The texts in it that a runtime could decode as media."""
    return [(path, text) for path, text in strings_of(content) if _carries_media(text)]


def check_carried(
    carried: Carried, *, max_bytes: int, max_pixels: int, max_total_bytes: int
) -> int:
    """How many bytes they have together.

    Raises:
        Rejected: of type ``reference_too_large``, or ``invalid_content`` where one is damaged or
            no clean base64; the message names the field.
    """
    total = 0
    for path, text in carried:
        total += _check_one(spelled(path), text, max_bytes, max_pixels)
        if total > max_total_bytes:
            raise Rejected(
                f"The inputs have more than {max_total_bytes} bytes together.",
                type="reference_too_large",
            )
    return total


def _carries_media(text: str) -> bool:
    if len(text) < _SHORTEST:
        return False
    if _DATA_URL.match(text):
        return True
    letters = _letters(text[: 10 * _HEAD])
    if len(letters) < _SHORTEST:
        letters = _letters(text)
    head = letters[:_HEAD]
    return kind_of(media_type_of(base64.b64decode(head[: len(head) // 4 * 4]))) != "other"


def _letters(text: str) -> bytes:
    return text.encode("ascii", "ignore").translate(None, _FOREIGN)


def _check_one(field: str, text: str, max_bytes: int, max_pixels: int) -> int:
    url = _BASE64_URL.match(text)
    encoded = "".join(text[url.end() if url else 0 :].split())
    if len(encoded) // 4 * 3 > max_bytes + 2:
        raise _too_large(f"{field}: has more than {max_bytes} bytes, the limit")
    try:
        data = base64.b64decode(encoded, validate=True)
    except ValueError as error:
        raise _invalid(f"{field}: is no clean base64") from error
    if len(data) > max_bytes:
        raise _too_large(f"{field}: has more than {max_bytes} bytes, the limit")
    try:
        found = facts_of(data)
    except TooManyPixels as error:
        raise _too_large(f"{field}: {error}") from error
    except BrokenImage as error:
        raise _invalid(f"{field}: {error}") from error
    if found.kind != "image":
        return len(data)
    if found.width is None or found.height is None:
        raise _invalid(f"{field}: is an image of a format that is not read ({found.media_type})")
    if found.width * found.height > max_pixels:
        size = f"{found.width} x {found.height} pixels"
        raise _too_large(f"{field}: has {size}; the limit is {max_pixels}")
    return len(data)


def _too_large(message: str) -> Rejected:
    return Rejected(f"{message}.", type="reference_too_large")


def _invalid(message: str) -> Rejected:
    return Rejected(f"{message}.", type="invalid_content")
