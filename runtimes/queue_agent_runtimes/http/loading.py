"""From a YAML file to a declaration; what is wrong is said with file, line and field."""

from collections.abc import Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Final

import yaml
from pydantic import ValidationError

from queue_agent.wire.errors import SettingsError
from queue_agent_runtimes.http.declaration import Declaration, Location, faults

__all__ = ["load_declaration", "parse_declaration", "shipped_declarations"]

_SUFFIX: Final = ".yaml"
_MISSING: Final[Location] = ("(missing)",)
"""Last step of the place of a field that is not there."""


def shipped_declarations() -> dict[str, Traversable]:
    """The files that come with this package, by their names."""
    folder = files("queue_agent_runtimes.http") / "adapters"
    found = {entry.name: entry for entry in folder.iterdir() if entry.name.endswith(_SUFFIX)}
    return {name.removesuffix(_SUFFIX): found[name] for name in sorted(found)}


def load_declaration(name_or_file: str) -> Declaration:
    """The declaration of a file, or of one that is shipped under that name.

    Raises:
        SettingsError: there is none, or it cannot be used; with a line per fault.
    """
    shipped = shipped_declarations()
    if name_or_file in shipped:
        return parse_declaration(shipped[name_or_file].read_text("utf-8"), name_or_file)
    try:
        text = Path(name_or_file).read_text("utf-8")
    except OSError as error:
        raise SettingsError(
            f"{name_or_file} cannot be read: {error.strerror}; shipped are {', '.join(shipped)}"
        ) from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{name_or_file} holds no text in UTF-8") from error
    return parse_declaration(text, name_or_file)


def parse_declaration(text: str, name: str) -> Declaration:
    """The declaration of a YAML text; raises like `load_declaration`."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        value = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise SettingsError(f"{name}{line}: {error.problem or error.context}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise SettingsError(f"{name}: is no YAML: {error}") from error
    try:
        lines = list(_twice(node))
        declaration = Declaration.model_validate(value)
    except RecursionError as error:
        raise SettingsError(f"{name}: holds itself") from error
    except ValidationError as error:
        lines += [
            (
                (*fault["loc"], *_MISSING) if fault["type"] == "missing" else fault["loc"],
                fault["msg"].removeprefix("Value error, "),
            )
            for fault in error.errors(include_url=False, include_input=False)
        ]
    else:
        lines += faults(declaration)
        if not lines:
            return declaration
    raise SettingsError("\n".join(_spelled(name, node, where, words) for where, words in lines))


def _spelled(name: str, node: yaml.Node | None, location: Location, words: str) -> str:
    """One line: the file, the line of the deepest part that is there, the field, and the fault."""
    line, known = _line(node, location)
    field = ".".join(map(str, known))
    return f"{name}:{line}: {field}: {words}" if field else f"{name}:{line}: {words}"


def _line(node: yaml.Node | None, location: Location) -> tuple[int, Location]:
    """Of the part of the document, and its path; steps that are no keys are pydantic's own."""
    line = node.start_mark.line + 1 if node else 1
    known: list[str | int] = []
    missing = location[-1:] == _MISSING
    steps = location[:-1] if missing else location
    for number, step in enumerate(steps, 1):
        found = _child(node, step)
        if found is not None:
            line, node = found
        if found is not None or (missing and number == len(steps)):
            known.append(step)
    return line, tuple(known)


def _child(node: yaml.Node | None, step: str | int) -> tuple[int, yaml.Node] | None:
    if isinstance(node, yaml.MappingNode):
        for key, value in reversed(node.value):
            if isinstance(key, yaml.ScalarNode) and key.value == str(step):
                return key.start_mark.line + 1, value
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        entry = node.value[step]
        return entry.start_mark.line + 1, entry
    return None


def _twice(node: yaml.Node | None, path: Location = ()) -> Iterator[tuple[Location, str]]:
    """Keys that stand twice in a mapping, of which YAML would silently take the last."""
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            name = str(key.value)
            if name in seen and name != "<<":
                yield (*path, name), "stands twice"
            seen.add(name)
            yield from _twice(value, (*path, name))
    elif isinstance(node, yaml.SequenceNode):
        for number, entry in enumerate(node.value):
            yield from _twice(entry, (*path, number))
