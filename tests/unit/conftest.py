"""What a unit test may not do."""

import subprocess
from collections.abc import Iterator
from typing import Any, NoReturn

import pytest


@pytest.fixture(autouse=True)
def no_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests that start processes have their place in another folder."""

    def refuse(*arguments: object, **options: object) -> NoReturn:
        raise AssertionError(f"a unit test starts no process: {arguments[1:]}")

    monkeypatch.setattr(subprocess.Popen, "__init__", refuse)


@pytest.fixture(scope="session")
def sdk_loaded_once() -> Iterator[None]:
    """Let the AWS SDK read the descriptions of its services once, and not for each cloud."""
    from aiobotocore.session import get_session  # noqa: PLC0415  most tests need none

    from queue_agent.cloud.aws import cloud  # noqa: PLC0415

    loader = get_session().get_component("data_loader")

    def session() -> Any:
        made = get_session()
        made.register_component("data_loader", loader)
        return made

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(cloud, "get_session", session)
        yield


def pytest_itemcollected(item: pytest.Item) -> None:
    """Let time pass as soon as nothing is left to do, in tests of which it is the loop's.

    Looptime goes round its loop 42 times more before each step; nothing here needs that, since
    what threads do is waited for anyway.
    """
    if item.get_closest_marker("looptime"):
        item.add_marker(pytest.mark.looptime(noop_cycles=0))
