"""A class name stands for one thing, wherever it is met."""

import ast
import gc
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
TREES: Final = ("queue_agent", "runtimes", "benchmarks", "cdk/image_service", "cdk/intake")
"""Folders of sources, beside the files in cdk/ itself, where builds are left too."""


def test_no_public_class_name_is_given_twice() -> None:
    gc.collect()  # what earlier tests left is finalized now: within a parse, CPython 3.11 stumbles
    places = defaultdict(list)
    for path in _sources():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert len(places) > 200
    assert {name: found for name, found in places.items() if len(found) > 1} == {}


def test_no_two_test_files_are_called_alike() -> None:
    """Pytest imports them by their names alone."""
    names = Counter(path.name for path in (ROOT / "tests").rglob("test_*.py"))
    assert {name: count for name, count in names.items() if count > 1} == {}


def _sources() -> Iterator[Path]:
    yield from (ROOT / "cdk").glob("*.py")
    for tree in TREES:
        yield from (ROOT / tree).rglob("*.py")
