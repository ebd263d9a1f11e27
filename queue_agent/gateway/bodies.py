"""Bodies of requests: JSON within bounds; what is large is read in turn, parsed off the loop, and
has its share of the memory until its request is answered.

Nobody's body comes here before its sender was admitted by the headers alone (`admission`).
"""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Final

from fastapi import Request, Response
from fastapi.routing import APIRoute
from pydantic import JsonValue

from queue_agent.wire.problems import Problem
from queue_agent.wire.submission import read_json

_LARGE: Final = 256 * 2**10
"""Bytes from which on parsing would hold the loop too long."""
_AT_ONCE: Final = 4
"""So many large bodies are read and parsed at once; the others wait unread."""
_TOGETHER: Final = 64 * 2**20
"""Bytes of the large bodies whose requests are under way. A job takes up to six times its body
while it is published, and the chart gives the gateway 512 MiB."""
_PATIENCE: Final = 10.0
"""Seconds that a large body waits for its share."""
_JSON: Final = re.compile(r"application/([\w.-]+\+)?json")


class LargeBodies:
    """What large bodies may take of one gateway: of its memory together, and turns to be read."""

    def __init__(self) -> None:
        self.turns = asyncio.Semaphore(_AT_ONCE)
        self._bytes = 0
        self._freed = asyncio.Event()

    @asynccontextmanager
    async def share(self, size: int) -> AsyncIterator[None]:
        """So much of the memory, for the block; one body may always be under way.

        Raises:
            Problem: 503, there was none for long.
        """
        try:
            async with asyncio.timeout(_PATIENCE):
                while self._bytes and self._bytes + size > _TOGETHER:
                    await self._freed.wait()
        except TimeoutError:
            raise Problem(
                503,
                "too_busy",
                "Too many large requests are under way.",
                headers={"Retry-After": "5"},
            ) from None
        self._bytes += size
        try:
            yield
        finally:
            self._bytes -= size
            freed, self._freed = self._freed, asyncio.Event()
            freed.set()


def says_json(request: Request) -> bool:
    """Whether the request calls its body JSON."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return _JSON.fullmatch(kind) is not None


class _CleanRequest(Request):
    """Its body is read as `queue_agent.wire.bounded_json` says: Python's own parser takes NaN,
    lone surrogates, any depth and any number of values.
    """

    _value: JsonValue

    @asynccontextmanager
    async def prepared(self) -> AsyncIterator[None]:
        """A block for which the body is read, and parsed where it calls itself JSON.

        Raises:
            Problem: it is too large, comes too slowly, or there is no room for it.
            Rejected: it is no JSON, or too much.
        """
        size = self._announced()
        if size < _LARGE:
            await self._read()
            yield
            return
        large: LargeBodies = self.app.state.large_bodies
        async with large.share(size):
            async with large.turns:
                await self._read()
            yield

    def _announced(self) -> int:
        """Bytes of the body; where it does not say, as many as it may have."""
        if "transfer-encoding" in self.headers:
            limit: int = self.app.state.body_limit
            return limit
        return int(self.headers.get("content-length", "0"))

    async def _read(self) -> None:
        body = await self.body()
        if not body or not says_json(self):
            return
        if len(body) < _LARGE:
            self._value = read_json(body)
        else:
            self._value = await asyncio.to_thread(read_json, body)

    async def json(self) -> JsonValue:
        """What the body says, which was found out before."""
        return self._value if hasattr(self, "_value") else read_json(await self.body())


class CleanRoute(APIRoute):
    """A route whose JSON bodies are checked to be such before they are used."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_clean(request: Request) -> Response:
            clean = _CleanRequest(request.scope, request.receive)
            async with clean.prepared():
                return await handle(clean)

        return handle_clean
