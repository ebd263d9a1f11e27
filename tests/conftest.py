"""What every kind of test may use: one emulated cloud for the whole run, and no hurry."""

import asyncio
import gc
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import structlog
from botocore.loaders import JSONFileLoader
from hypothesis import HealthCheck, settings

from made_once import open_run
from queue_agent.testing.aws import EmbeddedCloud
from queue_agent.testing.nats import NatsServer

# Of torch, here and in the servers that tests start: on tensors this small, more threads only wait
# for each other, and keep the cores from the other workers meanwhile.
os.environ["OMP_NUM_THREADS"] = "1"

# A process that a test starts need not compile again what another has.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")

LONGEST: Final = ("charts", "gateway", "journey", "runtimes", "cdk", "faults", "contract")
"""Folders whose files take long; the last to begin are `unit`'s, of which no worker is left with
much."""


_sdk_files: dict[str, Any] = {}
_load_sdk_file = JSONFileLoader.load_file


def _loaded_once(loader: JSONFileLoader, path: str) -> Any:
    if path not in _sdk_files:
        _sdk_files[path] = _load_sdk_file(loader, path)
    return _sdk_files[path]


# The AWS SDK keeps its descriptions of the services for a session, and each test has its own.
JSONFileLoader.load_file = _loaded_once


@pytest.fixture(autouse=True)
def _own_logging() -> Iterator[None]:
    """A command in this process sets logging up for good; the next test hears its own log.

    Not by the test's own `monkeypatch`: what this sets up first would be undone last, and with it
    what the test itself has patched, after the test's other fixtures have ended.
    """
    configure = structlog.configure
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(
            structlog,
            "configure",
            lambda **given: configure(**{**given, "cache_logger_on_first_use": False}),
        )
        yield
    structlog.reset_defaults()


def pytest_configure() -> None:
    """Before workers are started, which inherit the environment."""
    open_run()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Iterator[None]:
    """Begin with what takes long, after everything was shuffled.

    Workers take whole files in this order (`--no-loadscope-reorder`).
    """
    yield
    items.sort(key=_turn)


def _turn(item: pytest.Item) -> int:
    folder = item.path.relative_to(Path(__file__).parent).parts[0]
    return LONGEST.index(folder) if folder in LONGEST else len(LONGEST) + (folder == "unit")


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


@pytest.fixture(scope="session")
def nats_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    """A real one; tests keep apart by the names they deploy."""
    folder = tmp_path_factory.mktemp("nats")
    with NatsServer(folder, log=folder / "server.log") as server:
        yield server
