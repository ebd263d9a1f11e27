"""One deployment for all gateway tests: emulated cloud, fake Web UI, an agent, a gateway."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest

from gateway_site import Content, JsonObject, Site, client_of, opened_site
from queue_agent.testing.aws import EmbeddedCloud
from queue_agent.testing.process import ServerProcess


@pytest.fixture(scope="session")
def site(embedded_cloud: EmbeddedCloud, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The deployment with its agent; tests keep apart by the ids and prompts of their jobs."""
    with opened_site(embedded_cloud, tmp_path_factory.mktemp("gateway")) as made:
        yield made


@pytest.fixture(scope="session")
def gateway(site: Site) -> ServerProcess:
    """A gateway that asks for no keys."""
    return site.start_gateway()


@pytest.fixture
async def api(gateway: ServerProcess) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the gateway."""
    async with client_of(gateway) as client:
        yield client


@pytest.fixture
def content() -> Content:
    """Portable content that is quick to work on."""

    def make(prompt: str, **fields: Any) -> JsonObject:
        return {"prompt": prompt, "steps": 2, "width": 64, "height": 64, "seed": 7, **fields}

    return make
