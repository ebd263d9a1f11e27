"""What the documents tell a reader to type exists, and their links lead somewhere."""

import importlib.util
import itertools
import re
import shlex
import tomllib
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final

import pytest
import typer
from typer.core import TyperGroup

from queue_agent.cli.app import app
from queue_agent.settings.known import known_names

PROJECT: Final = Path(__file__).parents[2]
DOCUMENTS: Final = sorted(
    [
        *(
            PROJECT / name
            for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")
        ),
        *(PROJECT / folder / "README.md" for folder in ("cdk", "charts/queue-agent", "examples")),
        *(PROJECT / "docs").rglob("*.md"),
    ]
)
SHELL: Final = {"bash", "console", "sh", "shell"}
FENCED: Final = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INDENTED: Final = re.compile(r"(?:\A|\n\n)((?: {4}.*\n)+)")
INLINE: Final = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
LINK: Final = re.compile(r"\]\(([^)\s]+)\)")
SOURCE_FILE: Final = re.compile(r"[\w.]+(?:/[\w.]+)+\.py")
VARIABLE: Final = re.compile(r"QUEUE_AGENT_[A-Z]+(?:_[A-Z]+)*(?![A-Z_])")
OF_EXTRAS: Final = re.compile(r"(?:^\.|\.whl|sd-queue-agent)\[([\w, -]+)\]")
EXTRAS: Final = set(
    tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
)
STAGES: Final = set(
    re.findall(r"^FROM .* AS (\S+)$", (PROJECT / "Dockerfile").read_text(), re.MULTILINE)
)
TARGETS: Final = set(re.findall(r"^([a-z-]+):", (PROJECT / "Makefile").read_text(), re.MULTILINE))

each_document = pytest.mark.parametrize(
    "document", DOCUMENTS, ids=lambda path: str(path.relative_to(PROJECT))
)


@each_document
def test_every_command_in_the_documents_exists(document: Path) -> None:
    found = {shlex.join(words): fault(words) for words in commands(document.read_text())}
    assert {command: wrong for command, wrong in found.items() if wrong} == {}


@each_document
def test_every_relative_link_leads_somewhere(document: Path) -> None:
    prose = FENCED.sub("", document.read_text())
    links = [link for link in LINK.findall(prose) if "://" not in link]
    assert [link for link in links if not leads_somewhere(document, link)] == []


@each_document
def test_every_source_file_that_the_documents_name_exists(document: Path) -> None:
    if document.name in {"adding-a-runtime.md", "CHANGELOG.md"}:  # another package's, and the past
        return
    named = [name for name in INLINE.findall(document.read_text()) if SOURCE_FILE.fullmatch(name)]
    bases = (PROJECT, PROJECT / "queue_agent", document.parent)
    assert [name for name in named if not any((base / name).is_file() for base in bases)] == []


@each_document
def test_every_environment_name_in_the_documents_is_read(document: Path) -> None:
    assert set(VARIABLE.findall(document.read_text())) - known_names() == set()


@pytest.mark.parametrize(
    "text",
    [
        "`queue-agent nonsense`",
        "`queue-agent run --nonsense`",
        "`queue-agent workflow nonsense`",
        "```console\n$ QUEUE_AGENT_RUNTIME=webui .venv/bin/queue-agent nonsense\n```\n",
        "```sh\ncd here && queue-agent submit \\\n  --nonsense=1\n```\n",
        "    make nonsense\n",
        "`make demo nonsense STEPS=3`",
        "`.venv/bin/python -m runtimes.nonsense`",
        "`python docs/nonsense.py`",
        "`.venv/bin/pytest tests/nonsense.py`",
        "`kubectl exec pod -- queue-agent nonsense`",
        "`pip install '.[nonsense]'`",
        "`~/agent/bin/pip install --constraint nonsense.txt .`",
        "```sh\ndocker compose --file examples/nonsense.yaml up\n```\n",
        "`docker build --target nonsense .`",
    ],
)
def test_a_command_that_does_not_exist_is_noticed(text: str) -> None:
    assert list(filter(None, map(fault, commands(text))))


def commands(text: str) -> Iterator[list[str]]:
    """The simple commands in blocks and code spans, as words without their assignments."""
    blocks = [block for language, block in FENCED.findall(text) if language in SHELL]
    prose = FENCED.sub("", text)
    for block in [*blocks, *INDENTED.findall(prose), *INLINE.findall(prose)]:
        for line in block.replace("\\\n", " ").splitlines():
            yield from simple_commands(line.strip().removeprefix("$ "))


def simple_commands(line: str) -> Iterator[list[str]]:
    try:
        words = shlex.split(line, comments=True)
    except ValueError:  # prose with an apostrophe, not a command
        return
    between = {"&&", "||", "|", ";", "--"}
    for split, group in itertools.groupby(words, between.__contains__):
        command = list(itertools.dropwhile(re.compile(r"\w+=").match, group))
        if not split and command:
            yield command


def fault(words: Sequence[str]) -> str | None:
    """What is wrong with a command, if it is one that we know."""
    program = re.sub(r"^(?:\.venv|~/[\w-]+)/bin/", "", words[0])
    check = CHECKS.get(re.sub(r"[\d.]+$", "", program))
    return check(words[1:]) if check else None


def queue_agent_fault(arguments: Sequence[str]) -> str | None:
    if not arguments or arguments in (["--version"], ["--install-completion"]):
        return None
    options = options_by_command()
    command = arguments[0] if arguments[0] in options else " ".join(arguments[:2])
    if command not in options:
        return f"queue-agent has no command {command!r}"
    known = options[command] | {"--help"}
    asked = {word.partition("=")[0] for word in arguments if word.startswith("--")}
    return f"no such options: {asked - known}" if asked - known else None


def make_fault(arguments: Sequence[str]) -> str | None:
    targets = {word for word in arguments if "=" not in word and not word.startswith("-")}
    return f"no such targets: {targets - TARGETS}" if targets - TARGETS else None


def python_fault(arguments: Sequence[str]) -> str | None:
    if not arguments:
        return None
    if arguments[0] != "-m":
        return paths_fault(arguments[:1])
    try:
        found = importlib.util.find_spec(arguments[1])
    except ModuleNotFoundError:
        found = None
    return None if found else f"no module {arguments[1]!r}"


def paths_fault(arguments: Sequence[str]) -> str | None:
    paths = [word.partition("::")[0] for word in arguments if "/" in word]
    missing = [path for path in paths if not (PROJECT / path).exists()]
    return f"no such files: {missing}" if missing else None


def pip_fault(arguments: Sequence[str]) -> str | None:
    extras = {extra for word in arguments for extra in OF_EXTRAS.findall(word)}
    named = {extra.strip() for found in extras for extra in found.split(",")}
    wrong = [f"no such extras: {named - EXTRAS}"] if named - EXTRAS else []
    return "".join(wrong) or files_fault(arguments, "--constraint", "--requirement")


def docker_fault(arguments: Sequence[str]) -> str | None:
    stages = {stage for option, stage in pairwise(arguments) if option == "--target"}
    wrong = [f"no such stages: {stages - STAGES}"] if stages - STAGES else []
    return "".join(wrong) or files_fault(arguments, "--file", "--env-file")


def files_fault(arguments: Sequence[str], *options: str) -> str | None:
    """Of what follows these options; a file beside the reader's own has no folder in its name."""
    named = [word for option, word in pairwise(arguments) if option in options]
    missing = [
        word
        for word in named
        if not word.endswith(".env") or "/" in word
        if not (PROJECT / word).is_file()
    ]
    return f"no such files: {missing}" if missing else None


CHECKS: Final[dict[str, Callable[[Sequence[str]], str | None]]] = {
    "queue-agent": queue_agent_fault,
    "make": make_fault,
    "python": python_fault,
    "pytest": paths_fault,
    "pip": pip_fault,
    "docker": docker_fault,
}


def options_by_command() -> dict[str, set[str]]:
    """By a command's name, with its group's before it where it is in one."""
    found = {}
    waiting = [("", command) for command in typer.main.get_group(app).commands.values()]
    while waiting:
        before, command = waiting.pop()
        name = f"{before} {command.name}".strip()
        if isinstance(command, TyperGroup):
            waiting += [(name, inner) for inner in command.commands.values()]
        else:
            found[name] = {option for parameter in command.params for option in parameter.opts}
    return found


def leads_somewhere(document: Path, link: str) -> bool:
    path, _, anchor = link.partition("#")
    target = document.parent / path if path else document
    if not target.exists():
        return False
    if not anchor or target.suffix != ".md":
        return True
    headings = re.findall(r"^#+ (.*)$", FENCED.sub("", target.read_text()), re.MULTILINE)
    return anchor in {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in headings}
