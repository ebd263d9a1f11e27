"""The clouds that `queue-agent demo` runs on: a NATS server, or an emulated AWS account."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from queue_agent.cloud import Cloud, Deployment
from queue_agent.testing import aws
from queue_agent.testing.process import HOST, ServerProcess

CloudName = Literal["nats", "aws"]

_MAX_RECEIVES: Final = 10
"""Who tries what `kill -9` does to a job may do so more than twice."""
_LOOK: Final = 0.05
"""Seconds between two looks whether a server listens."""


@dataclass(frozen=True)
class DemoCloud:
    """One server that is topics, queue and bucket."""

    name: str
    """As the demo speaks of it."""
    server: ServerProcess
    environment: Mapping[str, str]
    """What a program needs beside the addresses to talk to it."""
    lasting: bool
    """Whether what it holds outlives its process."""
    deployed: Callable[[str], AbstractAsyncContextManager[tuple[Cloud, Deployment]]]
    """A client of it, once it listens, and what was made there for a runtime of that name."""


@dataclass(frozen=True)
class DemoCloudKind:
    """One of those that the demo can be run on."""

    extra: str
    modules: tuple[str, ...]
    """That the extra brings for it."""
    in_folder: Callable[[Path], DemoCloud]
    """Makes it, not yet started, its data in that folder."""


def _nats(folder: Path) -> DemoCloud:
    from queue_agent.testing import nats  # noqa: PLC0415  of an extra

    server = nats.NatsServer(folder)

    @asynccontextmanager
    async def deployed(runtime: str) -> AsyncIterator[tuple[Cloud, Deployment]]:
        await _listening(server)
        async with aclosing(server.connect()) as cloud:
            made = await nats.deploy(cloud, server.address, runtime, max_receives=_MAX_RECEIVES)
            yield cloud, made

    return DemoCloud("a NATS server", server, server.environment(), True, deployed)


def _aws(folder: Path) -> DemoCloud:  # noqa: ARG001  its data lie in memory
    server = aws.EmbeddedCloud()

    @asynccontextmanager
    async def deployed(runtime: str) -> AsyncIterator[tuple[Cloud, Deployment]]:
        await _listening(server)
        async with aclosing(server.connect()) as cloud:
            yield cloud, await aws.deploy(cloud, runtime, max_receives=_MAX_RECEIVES)

    # boto3 wants the region by another name than ours
    environment = {**server.environment(), "AWS_DEFAULT_REGION": aws.REGION}
    return DemoCloud("an AWS emulator", server, environment, False, deployed)


KINDS: Final[dict[CloudName, DemoCloudKind]] = {
    "nats": DemoCloudKind("demo", ("nats",), _nats),
    "aws": DemoCloudKind("demo-aws", ("moto", "flask"), _aws),
}


async def _listening(server: ServerProcess) -> None:
    while True:
        with suppress(OSError):
            _, writer = await asyncio.open_connection(HOST, server.port)
            writer.close()
            return
        await asyncio.sleep(_LOOK)
