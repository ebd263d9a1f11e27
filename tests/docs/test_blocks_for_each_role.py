"""Each block of README and of the pages by role is one of which a test knows what it is."""

import ast
import re
import shlex
import tomllib
from collections.abc import Iterator
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path
from typing import Final

import pytest

from queue_agent.wire.job import parse_job

PROJECT: Final = Path(__file__).parents[2]
PAGES: Final = [
    "README.md",
    "docs/index.md",
    "docs/installing.md",
    "docs/publishing.md",
    "docs/subscribing.md",
    "docs/operating.md",
]
FENCED: Final = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INDENTED: Final = re.compile(r"(?:\A|\n\n)((?: {4}\S.*\n)+)")
PROGRAMS: Final = {
    "aws", "cdk", "curl", "docker", "export", "helm", "make", "pip", "python3", "queue-agent",
}  # fmt: skip
"""What a block of commands may begin with: `test_documented_commands.py` knows our own by name."""
ARROWS: Final = re.compile("[▶▼◀⇄]")


def blocks(page: str) -> Iterator[tuple[str, str]]:
    """Language and text."""
    text = (PROJECT / page).read_text()
    yield from FENCED.findall(text)
    for block in INDENTED.findall(FENCED.sub("", text)):
        if not ARROWS.search(block):  # a drawing
            yield "sh", re.sub(r"^ {4}", "", block, flags=re.MULTILINE)


def of(*languages: str) -> list[tuple[str, str]]:
    return [(page, text) for page in PAGES for found, text in blocks(page) if found in languages]


def test_every_block_says_what_it_is() -> None:
    known = {"sh", "json", "python"}
    assert [(page, text) for page in PAGES for it, text in blocks(page) if it not in known] == []
    assert len(of("sh")) > len(PAGES)


@pytest.mark.parametrize(("page", "text"), of("sh"))
def test_every_command_is_of_a_program_that_a_reader_has_or_installs(page: str, text: str) -> None:
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        for between, group in groupby(words, {"&&", "|", ";"}.__contains__):
            command = [word for word in group if not re.match(r"[A-Z_]+=", word)]
            if command and not between:
                assert Path(command[0]).name in PROGRAMS, (page, line)


@pytest.mark.parametrize(("page", "text"), of("json"))
def test_every_job_is_one(page: str, text: str) -> None:
    assert parse_job(text).id, page


@pytest.mark.parametrize(("page", "text"), of("python"))
def test_every_program_imports_what_there_is(page: str, text: str) -> None:
    for node in ast.walk(ast.parse(text)):
        named = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            named = [str(node.module)]
        for name in named:
            assert find_spec(name), (page, name)


def test_every_extra_is_explained() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    page = (PROJECT / "docs" / "installing.md").read_text()
    assert [it for it in project["optional-dependencies"] if f"`{it}`" not in page] == []
