"""What a unit test may not do."""

import subprocess
from typing import NoReturn

import pytest


@pytest.fixture(autouse=True)
def no_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests that start processes have their place in another folder."""

    def refuse(*arguments: object, **options: object) -> NoReturn:
        raise AssertionError(f"a unit test starts no process: {arguments[1:]}")

    monkeypatch.setattr(subprocess.Popen, "__init__", refuse)


def pytest_itemcollected(item: pytest.Item) -> None:
    """Let time pass as soon as nothing is left to do, in tests of which it is the loop's.

    Looptime goes round its loop 42 times more before each step; nothing here needs that, since
    what threads do is waited for anyway.
    """
    if item.get_closest_marker("looptime"):
        item.add_marker(pytest.mark.looptime(noop_cycles=0))
