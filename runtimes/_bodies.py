"""Bodies of requests that are sent piece by piece, so that nothing waits for a large one."""

from collections.abc import Sequence
from typing import Final

import aiohttp
from aiohttp.abc import AbstractStreamWriter

_PIECE: Final = 192 * 1024


class Body(aiohttp.Payload):
    """Parts, one after another, whose length is told beforehand."""

    def __init__(self, parts: Sequence[bytes], media_type: str) -> None:
        super().__init__(parts, content_type=media_type)
        self._parts = parts

    @property
    def size(self) -> int:
        return sum(map(len, self._parts))

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return b"".join(self._parts).decode(encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        for part in self._parts:
            whole = memoryview(part)
            for start in range(0, len(whole), _PIECE):
                await writer.write(whole[start : start + _PIECE])
