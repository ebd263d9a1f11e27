"""docs/runtimes.md says of each adapter what the adapter says of itself."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest
from pydantic import JsonValue

from queue_agent.runtime import RuntimeOptions, installed_runtimes, load_runtime

PAGE: Final = Path(__file__).parents[2] / "docs" / "runtimes.md"
NEEDED: Final[Mapping[str, Mapping[str, JsonValue]]] = {"http": {"adapter": "torchserve"}}
"""Options without which an adapter is none."""
OWN: Final = ("queue_agent_runtimes", "queue_agent_diffusers")


def rows() -> dict[str, dict[str, str]]:
    """The table's rows by the names of adapters, and their cells by the column's title."""
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("|")]
    header, _, *body = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert all(len(row) == len(header) for row in body)
    return {re.findall("`([^`]+)`", row[0])[0]: dict(zip(header, row, strict=True)) for row in body}


def adapters() -> list[str]:
    return [name for name in installed_runtimes() if load_runtime(name).__module__.startswith(OWN)]


def test_each_adapter_has_a_row_and_no_other_thing_has_one() -> None:
    assert set(rows()) == set(adapters())


@pytest.mark.parametrize("name", adapters())
def test_a_row_has_the_task_types_that_the_adapter_declares(name: str) -> None:
    named = re.findall("`([^`]+)`", rows()[name]["Task types"])
    assert named == sorted(load_runtime(name).task_types)


@pytest.mark.parametrize("name", adapters())
def test_a_row_promises_previews_where_the_adapter_shows_some(name: str) -> None:
    assert ("previews" in rows()[name]["Progress"]) is load_runtime(name).shows_previews


@pytest.mark.parametrize("name", adapters())
def test_a_row_says_how_many_jobs_are_handed_over_at_a_time(name: str) -> None:
    options = RuntimeOptions(own=NEEDED.get(name, {}))
    said, runtime = rows()[name]["At a time"], load_runtime(name)(options)
    assert said.startswith(("what the server says", "what you say", f"{runtime.concurrency}"))
    waits = re.search(r"and (\d+) waits?", said)
    assert int(waits[1] if waits else 0) == runtime.backlog
