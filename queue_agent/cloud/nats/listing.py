"""Lists that the servers give in pages, and whatever else their API is asked for by its own words.

https://docs.nats.io/reference/reference-protocols/nats_api_reference
"""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final

from nats.js.errors import APIError

from queue_agent.cloud.nats.connection import Connection
from queue_agent.cloud.nats.errors import translated

API: Final = "$JS.API"


async def ask(
    connection: Connection, action: str, subject: str, body: Mapping[str, Any]
) -> dict[str, Any]:
    """What the servers answer.

    Raises:
        QueueAgentError: they refuse, or do not answer.
    """
    answer = await connection.request(action, subject, json.dumps(body).encode() if body else b"")
    said: dict[str, Any] = json.loads(answer.data)
    if "error" in said:
        with translated(action):
            raise APIError.from_error(said["error"])
    return said


async def subjects(
    connection: Connection, action: str, stream: str, *, within: str
) -> Sequence[str]:
    """Those of messages that lie in a stream, of a pattern; raises as `ask`.

    Of more than 100,000 each page is another question.
    """
    found: list[str] = []
    asked: dict[str, Any] = {"subjects_filter": within}
    async for page in _pages(connection, action, f"{API}.STREAM.INFO.{stream}", asked):
        of_page = page.get("state", {}).get("subjects") or {}
        found.extend(of_page)
        if not of_page or len(found) >= page.get("total", 0):
            break
        asked["offset"] = len(found)
    return found


async def consumers(connection: Connection, stream: str) -> Sequence[Mapping[str, Any]]:
    """The configurations of all, of which a page has 256; raises as `ask`."""
    found: list[Mapping[str, Any]] = []
    asked: dict[str, Any] = {}
    action = "list the stream's consumers"
    async for page in _pages(connection, action, f"{API}.CONSUMER.LIST.{stream}", asked):
        of_page = page.get("consumers") or []
        found.extend(one["config"] for one in of_page)
        if not of_page or len(found) >= page.get("total", 0):
            break
        asked["offset"] = len(found)
    return found


async def _pages(
    connection: Connection, action: str, subject: str, asked: Mapping[str, Any]
) -> AsyncIterator[dict[str, Any]]:
    """One after the other, as `asked` says when each is due."""
    while True:
        yield await ask(connection, action, subject, asked)
