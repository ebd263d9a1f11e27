"""Subgraphs taken apart: every node by the id that it has in the API format, as ``57:8``."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from pydantic import JsonValue

from queue_agent_runtimes.comfyui.conversion.document import (
    BYPASSED,
    MUTED,
    Document,
    EditorNode,
    Sheet,
    invalid,
    label,
)
from queue_agent_runtimes.comfyui.conversion.words import is_control

_MAX_DEPTH: Final = 32
_MAX_FLAT_NODES: Final = 10_000
_OLD_PREFIX: Final = re.compile(r"^(?:\s*\d+\s*:\s*)+")
"""Of promoted widgets' names, where older editors said the inner nodes' ids."""


@dataclass(frozen=True)
class Scope:
    """A sheet in one place of the workflow: the workflow itself, or an instance of a subgraph."""

    sheet: Sheet
    path: tuple[str, ...] = ()
    instance: EditorNode | None = None
    parent: "Scope | None" = None
    inputs: Mapping[str, JsonValue] = field(default_factory=dict)
    """What the instance's own widgets say, by the subgraph's inputs."""
    inner: Mapping[tuple[str, str], JsonValue] = field(default_factory=dict)
    """What they say, by the inner node and widget."""

    def id_of(self, node: EditorNode) -> str:
        return ":".join((*self.path, node.id))


@dataclass(frozen=True)
class Instances:
    """The workflow with its subgraphs taken apart."""

    root: Scope
    children: Mapping[tuple[str, ...], Scope]
    """The scope in an instance, by the instance's path."""

    def inside(self, scope: Scope, node: EditorNode) -> Scope | None:
        """The scope in a node that is an instance of a subgraph."""
        return self.children.get((*scope.path, node.id))

    def nodes(self) -> Iterator[tuple[Scope, EditorNode]]:
        """Every node that is no instance, and neither muted nor bypassed, nor in what is."""
        waiting = [self.root]
        while waiting:
            scope = waiting.pop()
            for node in scope.sheet.nodes.values():
                if node.mode in {MUTED, BYPASSED}:
                    continue
                inside = self.inside(scope, node)
                if inside is None:
                    yield scope, node
                else:
                    waiting.append(inside)


def take_apart(document: Document) -> Instances:
    """Every instance of every subgraph.

    Raises:
        Rejected: subgraphs hold each other without end, or too many of them.
    """
    root = Scope(document.root)
    children: dict[tuple[str, ...], Scope] = {}
    waiting, count = [root], 0
    while waiting:
        scope = waiting.pop()
        count += len(scope.sheet.nodes)
        if count > _MAX_FLAT_NODES:
            raise invalid(f"With its subgraphs the workflow has over {_MAX_FLAT_NODES} nodes.")
        for node in scope.sheet.nodes.values():
            sheet = document.subgraphs.get(node.type)
            if sheet is None:
                continue
            path = (*scope.path, node.id)
            if len(path) > _MAX_DEPTH:
                name = label(node, ":".join(path[:3]) + ":…")
                raise invalid(f"{name}: subgraphs stand over {_MAX_DEPTH} deep in each other.")
            inputs, inner = instance_values(node, sheet, document, outer=scope.inner)
            child = Scope(sheet, path, node, scope, inputs, inner)
            children[path] = child
            waiting.append(child)
    return Instances(root, children)


def instance_values(
    node: EditorNode,
    sheet: Sheet,
    document: Document,
    *,
    outer: Mapping[tuple[str, str], JsonValue] | None = None,
) -> tuple[dict[str, JsonValue], dict[tuple[str, str], JsonValue]]:
    """What an instance's widgets say: by the subgraph's inputs, and by inner node and widget.

    Newer editors save one value for each input that has a widget; older ones one for each
    widget that is shown (`promoted`), or none, since the inner nodes hold them already.
    """
    inputs: dict[str, JsonValue] = {}
    inner: dict[tuple[str, str], JsonValue] = {}
    if isinstance(node.values, Mapping):
        inputs.update(node.values)
    elif node.promoted:
        for (source, shown), value in zip(node.promoted, node.values, strict=False):
            if value is None:
                continue
            name = _OLD_PREFIX.sub("", shown)
            own = name if source == "-1" else _input_for(sheet, source, name)
            if own is None:
                inner[source, name] = value
            else:
                inputs[own] = value
    elif node.values:
        names = _inputs_with_widgets(sheet, document)
        if len(node.values) != len(names) and set(names) <= node.named.keys():
            inputs.update(node.named)
        else:
            inputs.update(_in_order(names, node.values))
    for (owner, name), value in (outer or {}).items():
        if owner == node.id:
            inputs[name] = value
    known = {slot.name for slot in sheet.inputs}
    return {name: value for name, value in inputs.items() if name in known}, inner


def _in_order(names: list[str], values: tuple[JsonValue, ...]) -> Iterator[tuple[str, JsonValue]]:
    """Names with their values; some files have one more after each seed, as its node has."""
    extra = len(values) > len(names)
    position = 0
    for name in names:
        if position >= len(values):
            return
        if values[position] is not None:
            yield name, values[position]
        position += 1
        if extra and position < len(values) and is_control(values[position]):
            position += 1


def _inputs_with_widgets(sheet: Sheet, document: Document) -> list[str]:
    return [
        slot.name
        for index, slot in enumerate(sheet.inputs)
        if _reaches_a_widget(sheet, index, document)
    ]


def _reaches_a_widget(sheet: Sheet, index: int, document: Document) -> bool:
    waiting, seen = [(sheet, index)], {(id(sheet), index)}
    while waiting:
        found, position = waiting.pop()
        for node, slot in found.fed_by(position):
            if slot.widget:
                return True
            nested = document.subgraphs.get(node.type)
            names = [inner.name for inner in nested.inputs] if nested else []
            if nested is None or slot.name not in names:
                continue
            step = (nested, names.index(slot.name))
            if (id(nested), step[1]) not in seen:
                seen.add((id(nested), step[1]))
                waiting.append(step)
    return False


def _input_for(sheet: Sheet, source: str, name: str) -> str | None:
    """The subgraph's input that is linked to an inner node's widget."""
    for index, own in enumerate(sheet.inputs):
        if any(node.id == source and slot.name == name for node, slot in sheet.fed_by(index)):
            return own.name
    return None
