"""No test is in more of a hurry than the slowest machine that it runs on."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

TESTS: Final = Path(__file__).parents[1]
CLIENTS: Final = {"AsyncClient", "Client", "get", "post", "put", "patch", "delete", "request"}
"""What of httpx gives up after five seconds unless it is told otherwise."""


def test_who_asks_another_process_says_how_long_it_may_take() -> None:
    found = [*_calls("httpx")]
    assert len(found) > 50
    hurried = [
        place
        for place, call in found
        if isinstance(call.func, ast.Attribute)
        and call.func.attr in CLIENTS
        and not {"timeout", "transport", None} & {given.arg for given in call.keywords}
    ]
    assert hurried == []


def test_no_script_of_the_browser_waits_for_a_time() -> None:
    scripts = [*TESTS.rglob("*.mjs")]
    assert len(scripts) > 5
    timed = ("waitForTimeout", "setTimeout", "setInterval")
    assert [path.name for path in scripts if any(word in path.read_text() for word in timed)] == []


def _calls(module: str) -> Iterator[tuple[str, ast.Call]]:
    """The calls of a module's functions, by where they stand, in tests that start processes."""
    for path in TESTS.rglob("*.py"):
        folder = path.relative_to(TESTS).parts[0]
        if folder in {"unit", "fakes"}:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and isinstance(node.func.value, ast.Name)
                and node.func.value.id == module
            ):
                yield f"{path.relative_to(TESTS)}:{node.lineno}", node
