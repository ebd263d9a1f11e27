"""Bodies of requests: JSON within bounds, and what is large is read in turn and off the loop.

Nobody's body comes here before its sender was admitted by the headers alone (`admission`).
"""

import asyncio
import re
from collections.abc import Callable, Coroutine
from typing import Any, Final

from fastapi import Request, Response
from fastapi.routing import APIRoute
from pydantic import JsonValue

from queue_agent.wire.submission import read_json

_LARGE: Final = 256 * 2**10
"""Bytes from which on parsing would hold the loop too long."""
_AT_ONCE: Final = 4
"""So many large bodies are read and parsed at once; the others wait unread."""
_JSON: Final = re.compile(r"application/([\w.-]+\+)?json")


def large_bodies() -> asyncio.Semaphore:
    """The turns in which large bodies are read and parsed; one per application."""
    return asyncio.Semaphore(_AT_ONCE)


def says_json(request: Request) -> bool:
    """Whether the request calls its body JSON."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return _JSON.fullmatch(kind) is not None


class _CleanRequest(Request):
    """Its body is read as `queue_agent.wire.bounded_json` says: Python's own parser takes NaN,
    lone surrogates, any depth and any number of values.
    """

    _value: JsonValue

    async def prepare(self) -> None:
        """Read the body, and parse what calls itself JSON.

        Raises:
            Problem: it is too large, or comes too slowly.
            Rejected: it is no JSON, or too much.
        """
        length = self.headers.get("content-length", "0")
        if "transfer-encoding" not in self.headers and int(length) < _LARGE:
            await self._read()
            return
        turns: asyncio.Semaphore = self.app.state.large_bodies
        async with turns:
            await self._read()

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
            await clean.prepare()
            return await handle(clean)

        return handle_clean
