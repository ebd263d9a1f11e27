"""One deployment for all gateway tests: emulated cloud, fake Web UI, an agent, a gateway."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest

from gateway_site import Content, JsonObject, Site, client_of, opened_site
from page_visit import missing
from queue_agent.testing.aws import EmbeddedCloud
from queue_agent.testing.process import ServerProcess


@pytest.fixture(scope="session")
def site(embedded_cloud: EmbeddedCloud, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The deployment with its agent; tests keep apart by the ids and prompts of their jobs."""
    with opened_site(embedded_cloud, tmp_path_factory.mktemp("gateway"), step=0.01) as made:
        yield made


@pytest.fixture(scope="session")
def slow_site(
    embedded_cloud: EmbeddedCloud, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    """One whose jobs run long enough for a browser to see them at it."""
    if (reason := missing()) is not None:
        pytest.skip(reason)
    with opened_site(embedded_cloud, tmp_path_factory.mktemp("page"), step=0.04) as made:
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
