"""The public names of the Python packages change only on purpose.

`docs/reference/public.md` says which modules are public and what a version may change.
"""

import ast
import importlib
import inspect
import re
import types
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

PROJECT: Final = Path(__file__).parents[2]
NAMES: Final = Path(__file__).with_name("public_names.txt")
PUBLIC: Final = frozenset(NAMES.read_text().split())
MODULES: Final = sorted({name.partition(":")[0] for name in PUBLIC})
REFERENCE: Final = PROJECT / "docs" / "reference"

each_module = pytest.mark.parametrize("module", MODULES)


def names_of(module: str) -> list[str]:
    """What the module declares, as lines of the committed list."""
    return [f"{module}:{name}" for name in importlib.import_module(module).__all__]


@each_module
def test_a_public_module_has_the_names_that_are_committed(module: str) -> None:
    committed = {name for name in PUBLIC if name.startswith(f"{module}:")}
    assert set(names_of(module)) == committed, (
        "A new name: add it to tests/packaging/public_names.txt and to CHANGELOG.md. "
        "A name that went: bring it back, deprecated (docs/reference/public.md)."
    )


def test_the_committed_names_are_in_order() -> None:
    lines = NAMES.read_text().splitlines()
    assert lines == sorted(set(lines))


@each_module
def test_every_public_name_exists(module: str) -> None:
    loaded = importlib.import_module(module)
    assert [name for name in loaded.__all__ if not hasattr(loaded, name)] == []


@each_module
def test_the_documentation_has_every_public_module(module: str) -> None:
    shown = "\n".join(page.read_text() for page in (REFERENCE / "api").glob("*.md"))
    assert re.search(rf"^::: {re.escape(module)}$", shown, re.MULTILINE)
    listed = (REFERENCE / "public.md").read_text()
    assert f"`{module}`" in listed or f"`.{module.rpartition('.')[2]}`" in listed


def test_the_documentation_shows_no_module_that_is_not_public() -> None:
    shown = "\n".join(page.read_text() for page in (REFERENCE / "api").glob("*.md"))
    assert sorted(re.findall(r"^::: (\S+)$", shown, re.MULTILINE)) == MODULES


def test_the_client_exports_whatever_it_returns() -> None:
    client = importlib.import_module("queue_agent.client")
    exported = [getattr(client, name) for name in client.__all__]
    returned = {
        found
        for thing in exported
        for signature in signatures(thing)
        for found in ours(signature.get("return"))
    }
    held = {found for thing in exported for kind in fields(thing) for found in ours(kind)}
    assert returned - set(exported) == set()
    assert held - set(exported) == set()


@each_module
def test_every_type_in_a_public_signature_is_public(module: str) -> None:
    loaded = importlib.import_module(module)
    public = {id(thing) for home in MODULES for thing in things_of(home)}
    hidden = {
        f"{name}: {found.__module__}.{found.__qualname__}"
        for name in loaded.__all__
        for signature in [*signatures(getattr(loaded, name)), fields_by_name(getattr(loaded, name))]
        for kind in signature.values()
        for found in ours(kind)
        if id(found) not in public and not found.__name__.startswith("_")
    }
    assert hidden == set()


def pages_with_python() -> Iterator[tuple[str, str]]:
    """The Python that authors of adapters, publishers and subscribers copy, by where it stands."""
    for page in [PROJECT / "README.md", *sorted((PROJECT / "docs").rglob("*.md"))]:
        blocks = re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
        for number, block in enumerate(blocks, 1):
            yield f"{page.relative_to(PROJECT)} {number}", block
    for example in sorted((PROJECT / "examples").glob("*.py")):
        yield str(example.relative_to(PROJECT)), example.read_text()


@pytest.mark.parametrize("code", [pytest.param(code, id=at) for at, code in pages_with_python()])
def test_documented_python_imports_public_names_only(code: str) -> None:
    assert imports(code) - PUBLIC == set()


@pytest.mark.parametrize(
    "adapter", ["bundled", "cog", "comfyui", "openai_images", "openai_videos", "triton", "webui"]
)
def test_our_own_adapters_import_what_those_of_others_may(adapter: str) -> None:
    for path in (PROJECT / "runtimes" / "queue_agent_runtimes" / adapter).glob("*.py"):
        ours = {name for name in imports(path.read_text()) if name.startswith("queue_agent.")}
        assert ours - PUBLIC == set()


def imports(code: str) -> set[str]:
    """What is imported by name from packages of this project."""
    return {
        f"{statement.module}:{alias.name}"
        for statement in ast.walk(ast.parse(code))
        if isinstance(statement, ast.ImportFrom) and str(statement.module).startswith("queue_agent")
        for alias in statement.names
    }


def things_of(module: str) -> Iterator[Any]:
    loaded = importlib.import_module(module)
    yield from (getattr(loaded, name) for name in loaded.__all__)


def signatures(thing: Any) -> Iterator[dict[str, Any]]:
    """The annotations of a function, or of what users call of a class."""
    if inspect.isfunction(thing):
        yield hints(thing)
    if not isinstance(thing, type) or not thing.__module__.startswith("queue_agent"):
        return
    for name, member in vars(thing).items():
        if name.startswith("_") and name not in {"__init__", "__enter__", "__aenter__"}:
            continue
        for function in functions(member):
            yield hints(function)


def functions(member: Any) -> Iterator[Callable[..., Any]]:
    if isinstance(member, classmethod | staticmethod):
        member = member.__func__
    if isinstance(member, property):
        member = member.fget
    if inspect.isfunction(inspect.unwrap(member) if callable(member) else member):
        yield inspect.unwrap(member)


def fields_by_name(thing: Any) -> dict[str, Any]:
    """The annotated attributes of a class that users see."""
    if not isinstance(thing, type) or not thing.__module__.startswith("queue_agent"):
        return {}
    return {name: kind for name, kind in hints(thing).items() if not name.startswith("_")}


def fields(thing: Any) -> list[Any]:
    return list(fields_by_name(thing).values())


def hints(thing: Any) -> dict[str, Any]:
    """The annotations; what a module imports for type checkers only counts as anything."""
    foreign: dict[str, Any] = {}
    while True:
        try:
            return typing.get_type_hints(thing, localns=foreign)
        except NameError as error:
            foreign[str(error.name)] = Any


def ours(annotation: Any) -> set[type]:
    """The classes of this project that an annotation names, at any depth."""
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        module = annotation.__module__
        return {annotation} if module.startswith("queue_agent") else set()
    parts = typing.get_args(annotation)
    return set().union(*(ours(part) for part in parts)) if parts else set()
