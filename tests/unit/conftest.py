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
