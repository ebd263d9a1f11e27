"""What every kind of test may use: one emulated cloud for the whole run, and no hurry."""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from queue_agent.testing.aws import EmbeddedCloud

settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")


@pytest.fixture(scope="session")
def embedded_cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedCloud]:
    """The emulator, a process of its own; tests keep apart by the names they deploy."""
    with EmbeddedCloud(log=tmp_path_factory.mktemp("cloud") / "cloud.log") as cloud:
        yield cloud
