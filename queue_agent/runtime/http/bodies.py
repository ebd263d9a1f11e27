"""Bodies of requests that are sent piece by piece, so that no memory holds a large one."""

from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

import aiohttp
import pybase64
from aiohttp.abc import AbstractStreamWriter

from queue_agent.media.asset import Asset

_PIECE: Final = 192 * 1024
"""Bytes; a multiple of 3, so that the base64 texts of pieces make up that of the whole."""


@dataclass(frozen=True)
class Base64:
    """An asset as the base64 text of its bytes, encoded while it is sent."""

    asset: Asset

    @property
    def size(self) -> int:
        """Of the text, in bytes."""
        return 4 * ((self.asset.size + 2) // 3)

    async def stream(self, size: int) -> AsyncGenerator[bytes, None]:
        """The text of pieces of so many bytes, a multiple of 3, one after another."""
        async with aclosing(self.asset.stream(size)) as pieces:
            async for piece in pieces:
                yield pybase64.b64encode(piece)


Part = bytes | Asset | Base64
"""What a `Body` is made of."""

Form = aiohttp.FormData
"""The body of a form, ``multipart/form-data``; made by `form`, sent once."""


class Body(aiohttp.Payload):
    """Parts, one after another, whose length is told beforehand.

    An image amid the JSON that asks for it, say: what is large is read while it is sent, and
    read again when the body is sent again.
    """

    def __init__(self, parts: Sequence[Part], media_type: str) -> None:
        super().__init__(parts, content_type=media_type)
        self._parts = parts

    @property
    def size(self) -> int:
        return sum(len(part) if isinstance(part, bytes) else part.size for part in self._parts)

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        del encoding, errors
        raise TypeError("A body is only ever sent.")

    async def write(self, writer: AbstractStreamWriter) -> None:
        for part in self._parts:
            source = Asset(part, "") if isinstance(part, bytes) else part
            async with aclosing(source.stream(_PIECE)) as pieces:
                async for piece in pieces:
                    await writer.write(piece)


@dataclass(frozen=True)
class FormFile:
    """One file of a form."""

    field: str
    """The name of the form's field."""
    asset: Asset
    filename: str
    media_type: str | None = None
    """What the server is told of it; None: the asset's own."""


def form(fields: Mapping[str, str], files: Iterable[FormFile]) -> Form:
    """A form of these fields and files, whose bytes are read while it is sent."""
    made = Form(dict(fields))
    for file in files:
        body = Body([file.asset], file.media_type or file.asset.media_type)
        made.add_field(file.field, body, filename=file.filename)
    return made
