"""One real server with the tiny model for all tests here."""

from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
import pytest_asyncio

from diffusers_servers import conditioning_options, tiny_server, upscaling_options
from families import SIDE
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


@pytest.fixture
def small_edits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without this, what Qwen-Image edits and Sana Sprint makes has a megapixel: minutes here."""
    from diffusers.pipelines.qwenimage import (  # noqa: PLC0415  loads torch
        pipeline_qwenimage_edit,
        pipeline_qwenimage_edit_inpaint,
        pipeline_qwenimage_edit_plus,
    )
    from diffusers.pipelines.sana import pipeline_sana_sprint  # noqa: PLC0415

    monkeypatch.setattr(
        pipeline_sana_sprint, "ASPECT_RATIO_1024_BIN", {"1.0": [float(SIDE), float(SIDE)]}
    )
    for module in (pipeline_qwenimage_edit, pipeline_qwenimage_edit_inpaint):
        monkeypatch.setattr(module, "calculate_dimensions", lambda *_: (SIDE, SIDE, None))
    monkeypatch.setattr(
        pipeline_qwenimage_edit_plus, "calculate_dimensions", lambda *_: (SIDE, SIDE)
    )
