"""A saved workflow in the API format."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pydantic import JsonValue

from queue_agent_runtimes.comfyui.conversion.classes import Classes, ClassInfo, InputSpec
from queue_agent_runtimes.comfyui.conversion.document import (
    Document,
    EditorNode,
    InputSlot,
    invalid,
    label,
)
from queue_agent_runtimes.comfyui.conversion.instances import Instances, Scope, take_apart
from queue_agent_runtimes.comfyui.conversion.links import (
    ONLY_IN_THE_EDITOR,
    Given,
    Severed,
    Shown,
    Source,
    Tracer,
)
from queue_agent_runtimes.comfyui.conversion.widgets import Values, every_input, values_of

_MOST_NAMED: Final = 10
"""Faults that a message names; warnings are as many."""


@dataclass(frozen=True)
class Converted:
    """A workflow in the API format, and words for what was left out of it."""

    graph: dict[str, dict[str, JsonValue]]
    warnings: tuple[str, ...] = ()


def convert(workflow: JsonValue, object_info: Mapping[str, JsonValue]) -> Converted:
    """What the editor would send for a saved workflow to a server with these classes.

    `object_info` is the server's answer to `/object_info`.

    Raises:
        Rejected: it cannot be converted (type ``invalid_workflow``); the message names the node.
    """
    document = Document.read(workflow)
    conversion = _Conversion(take_apart(document), Classes(object_info))
    return conversion.converted()


class _Conversion:
    def __init__(self, instances: Instances, classes: Classes) -> None:
        self._instances = instances
        self._tracer = Tracer(instances)
        self._told: dict[tuple[tuple[str, ...], int], Given | None] = {}
        self._classes = classes
        self._warnings: list[str] = []

    def converted(self) -> Converted:
        nodes = [
            (scope, node)
            for scope, node in self._instances.nodes()
            if node.type not in ONLY_IN_THE_EDITOR
        ]
        unknown = [
            f"{label(node, scope.id_of(node))}: {_why_unknown(node.type)}"
            for scope, node in nodes
            if node.type not in self._classes
        ]
        if unknown:
            raise invalid("; ".join(_cut(unknown)) + ".")
        if not nodes:
            raise invalid("The workflow has no nodes that a server runs.")
        graph = {scope.id_of(node): self._node(scope, node) for scope, node in nodes}
        self._sever(graph)
        return Converted(graph, tuple(_cut(self._warnings)))

    def _node(self, scope: Scope, node: EditorNode) -> dict[str, JsonValue]:
        info = self._classes[node.type]
        name = label(node, scope.id_of(node))
        values, rest = self._values(scope, node)
        if rest and not self._classes[node.type].by_the_editor:
            self._warnings.append(f"{name}: {len(rest)} of its values belong to no input")
        links: dict[str, JsonValue] = {}
        for slot in node.inputs:
            origin = self._tracer.origin_of(scope, node, slot)
            if isinstance(origin, Shown):
                origin = self._shown(origin)
            if isinstance(origin, Source):
                links[slot.name] = [origin.node_id, origin.slot]
            elif isinstance(origin, Given) and origin.value is not None:
                values[slot.name] = origin.value
            elif isinstance(origin, Severed):
                self._warnings.append(f"{name}: {slot.name[:60]} was linked to {origin.why}")
        filled, left_out = _filled(info, node, values, links)
        self._warnings += [f"{name}: {why}" for why in left_out]
        inputs = {key: _wrapped(value) for key, value in filled.items()}
        for unknown in sorted(links.keys() - self._inputs_of(info, filled, links)):
            self._warnings.append(f"{name}: {unknown[:60]} is no input on this server")
            del links[unknown]
        return {
            "class_type": node.type,
            "inputs": {**inputs, **links},
            "_meta": {"title": node.title or node.type},
        }

    def _values(self, scope: Scope, node: EditorNode) -> tuple[Values, list[JsonValue]]:
        """What a node's own widgets hold, and what belongs to none of its inputs."""
        values, rest = values_of(node, self._classes[node.type])
        return {**values, **scope.inner.get(node.id, {})}, rest

    def _shown(self, shown: Shown) -> Given | None:
        """What a subgraph's widget holds: the same as the first inner one that it stands for."""
        key = (shown.scope.path, shown.index)
        if key not in self._told:
            self._told[key] = self._look_inside(shown)
        return self._told[key]

    def _look_inside(self, shown: Shown) -> Given | None:
        waiting, seen = [shown], {(shown.scope.path, shown.index)}
        while waiting:
            step = waiting.pop()
            for node, slot in step.scope.sheet.fed_by(step.index):
                inside = self._instances.inside(step.scope, node)
                if inside is not None:
                    names = [own.name for own in inside.sheet.inputs]
                    if slot.name in inside.inputs:
                        return Given(inside.inputs[slot.name])
                    if slot.name in names:
                        further = Shown(inside, names.index(slot.name))
                        if (inside.path, further.index) not in seen:
                            seen.add((inside.path, further.index))
                            waiting.append(further)
                elif slot.widget and node.type in self._classes:
                    values, _ = self._values(step.scope, node)
                    if slot.name in values:
                        return Given(values[slot.name])
        return None

    @staticmethod
    def _inputs_of(info: ClassInfo, filled: Values, links: Mapping[str, JsonValue]) -> set[str]:
        """The inputs that can be linked to: of an extension's class, which may take more, all."""
        if not info.closed:
            return set(links)
        return {spec.name for spec in every_input(info, filled, list(links))}

    def _sever(self, graph: Mapping[str, dict[str, JsonValue]]) -> None:
        """Takes away links to what has no place in the API format."""
        for node_id, node in graph.items():
            inputs = node["inputs"]
            for name, value in list(inputs.items()) if isinstance(inputs, dict) else []:
                if isinstance(value, list) and value[0] not in graph and isinstance(inputs, dict):
                    del inputs[name]
                    self._warnings.append(f"node {node_id}: {name[:60]} was linked to nothing left")


def _filled(
    info: ClassInfo, node: EditorNode, values: Values, links: Mapping[str, JsonValue]
) -> tuple[Values, list[str]]:
    """The values of a node's inputs, with the defaults of absent ones, and what is left out."""
    filled: Values = {}
    left_out: list[str] = []
    told: set[str] = set()
    for spec in every_input(info, values, [slot.name for slot in node.inputs]):
        told.add(spec.name)
        if spec.name in links:
            continue
        value = values.get(spec.name)
        if value is not None and _is_of_another_kind(spec, value):
            left_out.append(f"{spec.name[:60]} is a number on this server, and not in the file")
            value = None
        if value is None and spec.required and _is_widget(spec, node):
            value = spec.default
        if value is not None:
            filled[spec.name] = values[spec.name] = value
    if isinstance(node.values, Mapping):
        more = values.keys() - told
    else:
        more = {slot.name for slot in node.inputs if slot.name in values} - told
    for name in sorted(more - links.keys()):
        if info.closed:
            left_out.append(f"{name[:60]} is no input on this server")
        else:
            filled[name] = values[name]
    return filled, left_out


def _is_of_another_kind(spec: InputSpec, value: JsonValue) -> bool:
    """Whether the file means another input: a text where the server's class has a number."""
    return spec.kind in {"INT", "FLOAT", "BOOLEAN"} and not isinstance(value, int | float)


def _is_widget(spec: InputSpec, node: EditorNode) -> bool:
    slot: InputSlot | None = node.input(spec.name)
    return spec.is_widget or (slot is not None and slot.widget)


def _wrapped(value: JsonValue) -> JsonValue:
    """Lists are links in the API format; the server unwraps this."""
    return {"__value__": value} if isinstance(value, list) else value


def _why_unknown(class_type: str) -> str:
    if class_type.startswith(("workflow>", "workflow/")):
        return "group nodes cannot be converted; make a subgraph of it in the editor"
    return "this server has no such class of nodes"


def _cut(words: list[str]) -> list[str]:
    more = len(words) - _MOST_NAMED
    return words[:_MOST_NAMED] + ([f"and {more} more"] if more > 0 else [])
