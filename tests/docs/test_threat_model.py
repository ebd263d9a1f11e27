"""SECURITY.md says of each threat where it is met and which test shows it; both are there."""

import re
from pathlib import Path
from typing import Final

PROJECT: Final = Path(__file__).parents[2]
BASES: Final = (PROJECT, PROJECT / "queue_agent")
PATH: Final = re.compile(r"`([\w.-]+(?:/[\w.-]*)*)`")
ACTORS: Final = [
    "The publisher",
    "The tenant of a gateway",
    "A web page",
    "The runtime",
    "The network",
    "What it is built from",
]
TEXT: Final = (PROJECT / "SECURITY.md").read_text()


def threats() -> dict[str, list[list[str]]]:
    """By whom they come, the rows: what is tried, the guard, where it is, what shows it."""
    found: dict[str, list[list[str]]] = {}
    for heading, body in re.findall(r"(?m)^### (.+)$\n((?:(?!^##).*\n)*)", TEXT):
        rows = [line.strip("|").split(" | ") for line in body.splitlines() if line.startswith("|")]
        found[heading] = [row for row in rows[2:] if len(row) == 4]
        assert len(found[heading]) == len(rows) - 2, heading
    return found


def test_everybody_who_could_do_harm_has_a_table() -> None:
    assert list(threats()) == ACTORS
    assert all(threats().values())


def test_every_guard_is_where_the_page_says() -> None:
    named = [path for rows in threats().values() for row in rows for path in PATH.findall(row[2])]
    assert [path for path in named if not any((base / path).exists() for base in BASES)] == []
    assert [row for rows in threats().values() for row in rows if not PATH.findall(row[2])] == []


def test_every_guard_is_shown_by_a_test() -> None:
    for rows in threats().values():
        for tried, _, _, shown in rows:
            tests = PATH.findall(shown)
            assert tests, tried
            for path in tests:
                assert path.startswith("tests/"), tried
                assert (PROJECT / path).exists(), path
