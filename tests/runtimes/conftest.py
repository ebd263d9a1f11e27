"""One real server with the tiny model for all tests here."""

from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
import pytest_asyncio

from diffusers_servers import conditioning_options, tiny_server, upscaling_options
from harness import PATIENCE
from queue_agent.testing.process import ServerProcess


@pytest.fixture(scope="session")
def server() -> Iterator[ServerProcess]:
    """The bundled runtime, its model loaded."""
    with tiny_server(*conditioning_options(), *upscaling_options()) as server:
        yield server


@pytest_asyncio.fixture
async def client(server: ServerProcess) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the server, patient with the small machines that tests run on."""
    async with httpx.AsyncClient(base_url=server.url, timeout=PATIENCE) as client:
        yield client
