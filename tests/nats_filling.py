"""A NATS server's store, filled to the last byte and given room again."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from queue_agent.cloud.nats import NatsCloud, making
from queue_agent.wire.errors import Unavailable

ROOM: Final = 4 * 2**20
"""Bytes of a small store."""
_FILLER: Final = "filler"


@asynccontextmanager
async def filled(cloud: NatsCloud) -> AsyncIterator[Unavailable]:
    """Let nothing more fit while the context lasts; what the server said."""
    await making.make(cloud.connection, making.job_stream(_FILLER))
    said = Unavailable("")
    for size in (2**18, 2**12, 1):
        said = await _until_refused(cloud, bytes(size))
    yield said
    async with cloud.connection.using("make room") as js:
        await js.delete_stream(_FILLER)


async def _until_refused(cloud: NatsCloud, data: bytes) -> Unavailable:
    while True:
        try:
            async with cloud.connection.using("fill the store") as js:
                await js.publish(f"{_FILLER}.x", data)
        except Unavailable as error:
            return error
