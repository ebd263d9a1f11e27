"""What the examples and each feature render to; `UPDATE_GOLDENS=1` writes it anew."""

import difflib
import os
from itertools import groupby
from pathlib import Path

import pytest
from chart_rendering import BASE, EXAMPLES, FEATURES, HERE, render_files, values_of

GOLDEN = HERE / "golden"
SHOWN = 6


def rendered(name: str) -> str:
    """All manifests in one text, each under the name of its template."""
    files = render_files(values_of(name))
    return "\n".join(
        f"# {Path(path).relative_to('queue-agent')}\n{text.strip()}\n"
        for path, text in sorted(files.items())
        if text.strip()
    )


def difference(before: str, after: str) -> str:
    """What changed, without line numbers; what is gone can be read in the base example."""
    lines = list(difflib.unified_diff(before.splitlines(), after.splitlines(), n=2, lineterm=""))
    short: list[str] = []
    for gone, run in groupby(lines[2:], lambda line: line.startswith("-")):
        part = ["@@" if line.startswith("@@ ") else line for line in run]
        if gone and len(part) > SHOWN:
            part = [*part[:SHOWN], f"-… and {len(part) - SHOWN} lines more"]
        short += part
    return "\n".join(short) + "\n"


def compare(text: str, golden: Path) -> None:
    if os.environ.get("UPDATE_GOLDENS"):
        golden.write_text(text)
    assert text == golden.read_text(), "run with UPDATE_GOLDENS=1 if this is what you meant"


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_renders_as_recorded(name: str) -> None:
    compare(rendered(name), GOLDEN / f"{name}.yaml")


@pytest.mark.parametrize("name", FEATURES)
def test_a_feature_changes_what_is_recorded_and_nothing_else(name: str) -> None:
    compare(difference(rendered(BASE), rendered(name)), GOLDEN / f"{name}.diff")


def test_every_golden_file_has_its_values() -> None:
    assert {path.stem for path in GOLDEN.iterdir()} == {*EXAMPLES, *FEATURES}
