"""Files that jobs made, as answers: whole or the part that is asked for, read while it is sent."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Final

from fastapi import Response
from fastapi.responses import StreamingResponse
from starlette.datastructures import Headers

from queue_agent.cloud import Bucket, ObjectPart
from queue_agent.media.byte_ranges import ByteRange, NoSuchPart, has_already, range_asked
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
        "Cache-Control": "private, max-age=31536000, immutable",
        "Content-Disposition": "inline" if file.media_type in INLINE else "attachment",
        "Content-Security-Policy": "sandbox",
        "ETag": file.tag,
    }
    if has_already(asked, file.tag):
        return Response(status_code=304, headers={"Accept-Ranges": "bytes", **headers})
    part, begin = await _begin(bucket, file, asked)
    if begin.total != file.size:  # what lies there counts, not what was written of it
        file = replace(file, size=begin.total)
        part, begin = await _begin(bucket, file, asked)
    return StreamingResponse(
        _pieces(bucket, file.key, begin.data, part.first, part.end),
        part.status,
        headers | part.headers,
        file.media_type if file.media_type in INLINE else "application/octet-stream",
    )


async def _begin(bucket: Bucket, file: StoredFile, asked: Headers) -> tuple[ByteRange, ObjectPart]:
    """The part that is asked for, and its first piece.

    Raises:
        Problem: 410, it is no longer kept; 416, it has no such part.
    """
    try:
        part = range_asked(asked, file.size, file.tag)
    except NoSuchPart as error:
        raise Problem(416, "no_such_part", str(error), headers=error.headers) from error
    length = min(_PIECE, part.end - part.first) or 1
    try:
        return part, await bucket.read_range(file.key, part.first, length)
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
