"""Subgraphs taken apart: every node by the id that it has in the API format, as ``57:8``."""

import re
from collections.abc import Iterator, Mapping, Sequence
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
_MOST_WEIGHT: Final = 200_000
"""Of nodes, their inputs and values, each as often as it stands in an instance."""
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
    inner: Mapping[str, Mapping[str, JsonValue]] = field(default_factory=dict)
    """What they say of inner nodes' widgets: by the node's id and the widget's name."""

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

    def fed_by(self, scope: Scope, name: str) -> Iterator[tuple[str, str]]:
        """Class and input of the nodes within to which an instance hands an input of its own."""
        waiting = [(scope, name)]
        while waiting:
            inside, asked = waiting.pop()
            names = [slot.name for slot in inside.sheet.inputs]
            for node, slot in inside.sheet.fed_by(names.index(asked)) if asked in names else ():
                nested = self.inside(inside, node)
                if nested is None:
                    yield node.type, slot.name
                else:
                    waiting.append((nested, slot.name))

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
    subgraphs = document.subgraphs
    shown = {kind: _inputs_with_widgets(sheet, document) for kind, sheet in subgraphs.items()}
    waiting, weight = [root], 0
    while waiting:
        scope = waiting.pop()
        weight += scope.sheet.weight
        if weight > _MOST_WEIGHT:
            raise invalid("With its subgraphs taken apart, the workflow is too large.")
        for node in scope.sheet.nodes.values():
            sheet = subgraphs.get(node.type)
            if sheet is None:
                continue
            path = (*scope.path, node.id)
            if len(path) > _MAX_DEPTH:
                name = label(node, ":".join(path[:3]) + ":…")
                raise invalid(f"{name}: subgraphs stand over {_MAX_DEPTH} deep in each other.")
            child = _inside(scope, node, sheet, shown[node.type])
            children[path] = child
            waiting.append(child)
    return Instances(root, children)


def _inside(outer: Scope, node: EditorNode, sheet: Sheet, shown: Sequence[str]) -> Scope:
    """The scope in an instance, with what its widgets say.

    Newer editors save one value for each of the subgraph's inputs that has a widget (`shown`);
    older ones one for each that the instance names (`promoted`), or none, since the inner nodes
    hold them already.
    """
    inputs: dict[str, JsonValue] = {}
    inner: dict[str, dict[str, JsonValue]] = {}
    if isinstance(node.values, Mapping):
        inputs.update(node.values)
    elif node.promoted:
        for (source, told), value in zip(node.promoted, node.values, strict=False):
            name = _OLD_PREFIX.sub("", told)
            own = name if source == "-1" else sheet.inputs_by_inner.get((source, name))
            if value is None:
                continue
            if own is None:
                inner.setdefault(source, {})[name] = value
            else:
                inputs[own] = value
    elif node.values and len(node.values) != len(shown) and set(shown) <= node.named.keys():
        inputs.update(node.named)
    else:
        inputs.update(_in_order(shown, node.values))
    inputs.update(outer.inner.get(node.id, {}))
    known = {slot.name for slot in sheet.inputs}
    own_inputs = {name: value for name, value in inputs.items() if name in known}
    return Scope(sheet, (*outer.path, node.id), node, outer, own_inputs, inner)


def _in_order(names: Sequence[str], values: Sequence[JsonValue]) -> Iterator[tuple[str, JsonValue]]:
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
