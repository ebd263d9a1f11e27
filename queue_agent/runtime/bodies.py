"""Bodies of requests that are sent piece by piece, so that no memory holds a large one."""

import base64
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

import aiohttp
from aiohttp.abc import AbstractStreamWriter

from queue_agent.media.asset import Asset

_PIECE: Final = 192 * 1024
"""Bytes; a multiple of 3, so that the base64 texts of pieces make up that of the whole."""


@dataclass(frozen=True)
class Base64:
    """An asset as the base64 text of its bytes."""

    asset: Asset

    @property
    def size(self) -> int:
        return 4 * ((self.asset.size + 2) // 3)

    async def stream(self, size: int) -> AsyncGenerator[bytes, None]:
        async with aclosing(self.asset.stream(size)) as pieces:
            async for piece in pieces:
                yield base64.b64encode(piece)


Part = bytes | Asset | Base64


class Body(aiohttp.Payload):
    """Parts, one after another, whose length is told beforehand."""

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
