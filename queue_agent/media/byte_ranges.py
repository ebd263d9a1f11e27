"""Which part of a file a request asks for, and whether it has the file already.

RFC 9110, sections 13 and 14. Players ask for parts; Safari plays nothing of who gives none.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

_RANGE: Final = re.compile(r"bytes=\s*(\d{0,19})-(\d{0,19})\s*", re.IGNORECASE)


class NoSuchPart(ValueError):
    """The file ends before the part that is asked for; answered with 416."""

    def __init__(self, size: int) -> None:
        super().__init__(f"The file has {size} bytes.")
        self.headers = {"Content-Range": f"bytes */{size}", "Accept-Ranges": "bytes"}


@dataclass(frozen=True)
class ByteRange:
    """What is sent of a file."""

    first: int
    last: int
    """The last byte that is sent: -1 of an empty file."""
    size: int
    """Of the whole file."""
    partial: bool
    """Whether that was asked for, if only of all of it."""

    @property
    def end(self) -> int:
        """The place after the last byte."""
        return self.last + 1

    @property
    def status(self) -> int:
        """Of the answer."""
        return 206 if self.partial else 200

    @property
    def headers(self) -> dict[str, str]:
        """That say what it is."""
        told = {"Accept-Ranges": "bytes", "Content-Length": str(self.end - self.first)}
        if self.partial:
            told["Content-Range"] = f"bytes {self.first}-{self.last}/{self.size}"
        return told


def range_asked(asked: Mapping[str, str], size: int, tag: str) -> ByteRange:
    """By a request's headers, with names in small letters, of a file with that strong `ETag`.

    Several parts at once, other units and what cannot be understood count as nothing said.

    Raises:
        NoSuchPart: it is not in the file.
    """
    whole = ByteRange(0, size - 1, size, partial=False)
    found = _RANGE.fullmatch(asked.get("range", ""))
    if found is None or found[1] == found[2] == "":
        return whole
    if asked.get("if-range", tag) != tag:  # of another version; dates are not told
        return whole
    if found[1]:
        first, last = int(found[1]), min(int(found[2] or size), size - 1)
        if found[2] and int(found[2]) < first:
            return whole
    else:
        first, last = max(0, size - int(found[2])), size - 1
    if first > last:
        raise NoSuchPart(size)
    return ByteRange(first, last, size, partial=True)


def has_already(asked: Mapping[str, str], tag: str) -> bool:
    """Whether an `If-None-Match` is met by this one, weakly; answered with 304."""
    condition = asked.get("if-none-match", "")
    told = {one.strip().removeprefix("W/") for one in condition.split(",")}
    return condition.strip() == "*" or tag in told
