"""What every kind of test may use: one emulated cloud for the whole run, and no hurry."""

import asyncio
import gc
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from queue_agent.testing.aws import EmbeddedCloud

settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")


def pytest_sessionstart() -> None:
    """Let no loop be made for whoever only asks for one.

    pytest-asyncio does before each test, and nobody closes that loop: where a test then calls
    `asyncio.run`, which forgets it, the collector warns of it at any time, as of an error.
    """
    asyncio.set_event_loop(None)


def pytest_collection_finish() -> None:
    """Spare the garbage collector what stays to the end: thousands of tests, and all modules."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def embedded_cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedCloud]:
    """The emulator, a process of its own; tests keep apart by the names they deploy."""
    with EmbeddedCloud(log=tmp_path_factory.mktemp("cloud") / "cloud.log") as cloud:
        yield cloud
