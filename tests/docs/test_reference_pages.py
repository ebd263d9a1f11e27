"""The pages that follow from the code are as the code would have them."""

import runpy
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
GENERATED: dict[Path, str] = runpy.run_path(str(DOCS / "generate.py"))["pages"]()


@pytest.mark.parametrize("page", GENERATED, ids=lambda path: path.name)
def test_a_reference_page_is_what_docs_generate_writes(page: Path) -> None:
    assert page.read_text() == GENERATED[page], "run: .venv/bin/python docs/generate.py"
