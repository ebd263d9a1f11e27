"""Files that jobs made, as answers: whole or the part that is asked for, read while it is sent.

RFC 9110, sections 13 and 14. Players ask for parts; Safari plays nothing of who gives none.
"""

import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from fastapi import Response
from fastapi.responses import StreamingResponse
from starlette.datastructures import Headers

from queue_agent.cloud import Bucket, ObjectPart
from queue_agent.wire.errors import ObjectNotFound
from queue_agent.wire.problems import Problem

INLINE: Final = frozenset({
    "image/apng", "image/avif", "image/bmp", "image/gif", "image/jpeg", "image/jpx", "image/png",
    "image/tiff", "image/webp", "video/mp4", "video/ogg", "video/quicktime", "video/webm",
    "audio/aac", "audio/flac", "audio/mp4", "audio/mpeg", "audio/ogg", "audio/wav", "audio/x-flac",
    "audio/x-wav",
})  # fmt: skip
"""What browsers may show at the gateway's own address, for it can hold no script (an SVG can)."""

_PIECE: Final = 2**20
"""Bytes of a file that are in memory at a time, for each client that is sent one."""
_RANGE: Final = re.compile(r"bytes=\s*(\d{0,19})-(\d{0,19})\s*", re.IGNORECASE)


@dataclass(frozen=True)
class StoredFile:
    """A file in the bucket of the results, as its manifest tells of it."""

    key: str
    media_type: str
    size: int
    sha256: str

    @property
    def tag(self) -> str:
        """A strong validator: other bytes have another."""
        return f'"{self.sha256}"'


async def answer(bucket: Bucket, file: StoredFile, asked: Headers) -> Response:
    """The file, or that part of it which the request's headers ask for.

    Raises:
        Problem: 410, it is no longer kept; 416, it has no such part.
    """
    headers = {
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, max-age=31536000, immutable",
        "Content-Disposition": "inline" if file.media_type in INLINE else "attachment",
        "Content-Security-Policy": "sandbox",
        "ETag": file.tag,
    }
    if _names(asked.get("if-none-match", ""), file.tag):
        return Response(status_code=304, headers=headers)
    part, begin = await _begin(bucket, file, asked)
    if begin.total != file.size:  # what lies there counts, not what was written of it
        file = replace(file, size=begin.total)
        part, begin = await _begin(bucket, file, asked)
    first, last = part if part is not None else (0, file.size - 1)
    headers["Content-Length"] = str(last + 1 - first)
    if part is not None:
        headers["Content-Range"] = f"bytes {first}-{last}/{file.size}"
    return StreamingResponse(
        _pieces(bucket, file.key, begin.data, first, last + 1),
        206 if part is not None else 200,
        headers,
        file.media_type if file.media_type in INLINE else "application/octet-stream",
    )


async def _begin(
    bucket: Bucket, file: StoredFile, asked: Headers
) -> tuple[tuple[int, int] | None, ObjectPart]:
    """The part that is asked for, and its first piece.

    Raises:
        Problem: 410, it is no longer kept; 416, it has no such part.
    """
    part = _part(asked, file)
    first, last = part if part is not None else (0, file.size - 1)
    try:
        return part, await bucket.read_range(file.key, first, min(_PIECE, last + 1 - first) or 1)
    except ObjectNotFound as error:  # a lifecycle rule took it
        raise Problem(410, "image_gone", "The file is no longer kept.") from error


async def _pieces(
    bucket: Bucket, key: str, begin: bytes, place: int, end: int
) -> AsyncIterator[bytes]:
    """What lies there, of which `begin` has been read; an object that is shorter ends early."""
    piece = begin
    while piece:
        yield piece
        place += len(piece)
        if place == end:
            return
        piece = (await bucket.read_range(key, place, min(_PIECE, end - place))).data


def _part(asked: Mapping[str, str], file: StoredFile) -> tuple[int, int] | None:
    """The first and the last byte that are asked for; None: all of it.

    Several parts at once, other units and what cannot be understood count as nothing said.
    """
    found = _RANGE.fullmatch(asked.get("range", ""))
    if found is None or found[1] == found[2] == "":
        return None
    if asked.get("if-range", file.tag) != file.tag:  # of another version; dates are not told
        return None
    if found[1]:
        first, last = int(found[1]), min(int(found[2] or file.size), file.size - 1)
        if found[2] and int(found[2]) < first:
            return None
    else:
        first, last = max(0, file.size - int(found[2])), file.size - 1
    if first > last:
        raise Problem(
            416,
            "no_such_part",
            f"The file has {file.size} bytes.",
            headers={"Content-Range": f"bytes */{file.size}", "Accept-Ranges": "bytes"},
        )
    return first, last


def _names(condition: str, tag: str) -> bool:
    """Whether an `If-None-Match` is met by this one, weakly."""
    told = {one.strip().removeprefix("W/") for one in condition.split(",")}
    return condition.strip() == "*" or tag in told
