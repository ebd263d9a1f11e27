"""Where an input's value comes from: through subgraphs, reroutes and what is bypassed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pydantic import JsonValue

from queue_agent_runtimes.comfyui.conversion.document import (
    BYPASSED,
    MUTED,
    NOTES,
    SETTER,
    EditorNode,
    InputSlot,
    Sheet,
    invalid,
    label,
)
from queue_agent_runtimes.comfyui.conversion.instances import Instances, Scope

_MOST_STEPS: Final = 500_000
"""From one node to the next, for all inputs together."""
REROUTES: Final = frozenset({"Reroute", "Reroute (rgthree)"})
PRIMITIVE: Final = "PrimitiveNode"
GETTER: Final = "GetNode"
_WIDGETS_OF_THE_EDITOR: Final = frozenset(
    {
        "Bookmark (rgthree)",
        "Fast Actions Button (rgthree)",
        "Fast Bypasser (rgthree)",
        "Fast Groups Bypasser (rgthree)",
        "Fast Groups Muter (rgthree)",
        "Fast Muter (rgthree)",
        "Label (rgthree)",
        "Mute / Bypass Relay (rgthree)",
        "Mute / Bypass Repeater (rgthree)",
        "Node Collector (rgthree)",
        "Random Unmuter (rgthree)",
    }
)
ONLY_IN_THE_EDITOR: Final = REROUTES | {PRIMITIVE, GETTER, SETTER} | NOTES | _WIDGETS_OF_THE_EDITOR
"""Nodes that no server knows: what they do is done when a workflow is converted."""


@dataclass(frozen=True)
class Source:
    """An output of a node in the API format."""

    node_id: str
    slot: int


@dataclass(frozen=True)
class Given:
    """A value, of a subgraph's widget or of a primitive."""

    value: JsonValue


@dataclass(frozen=True)
class Severed:
    """The link leads to nothing that is left."""

    why: str


@dataclass(frozen=True)
class Shown:
    """A subgraph's widget of which the instance says nothing: what the inner ones hold."""

    scope: Scope
    index: int
    """Of the subgraph's input."""


Origin = Source | Given | Shown | Severed


@dataclass(frozen=True)
class _Input:
    scope: Scope
    node: EditorNode
    slot: InputSlot
    type: str


@dataclass(frozen=True)
class _OutputSlot:
    scope: Scope
    node: EditorNode
    index: int
    type: str
    """What the input wants that is in search of it."""


_Step = _Input | _OutputSlot | Origin | None


class Tracer:
    """Follows links to where they come from."""

    def __init__(self, instances: Instances) -> None:
        self._instances = instances
        self._steps = 0

    def origin_of(self, scope: Scope, node: EditorNode, slot: InputSlot) -> Origin | None:
        """Where an input's value comes from; None where nothing is linked to it.

        Raises:
            Rejected: the links run in a circle, or are too many.
        """
        step: _Step = _Input(scope, node, slot, slot.type)
        seen: set[tuple[object, ...]] = set()
        while isinstance(step, _Input | _OutputSlot):
            place = step.slot.name if isinstance(step, _Input) else step.index
            key = (type(step), step.scope.path, step.node.id, place)
            name = label(step.node, step.scope.id_of(step.node))
            if key in seen:
                raise invalid(f"{name}: its links run in a circle.")
            seen.add(key)
            self._steps += 1
            if self._steps > _MOST_STEPS:
                raise invalid(f"{name}: the links of the workflow are too many to be followed.")
            step = _upstream(step) if isinstance(step, _Input) else _through(self._instances, step)
        return step


def _upstream(step: _Input) -> _Step:
    """From an input to the output that its link comes from."""
    scope, sheet = step.scope, step.scope.sheet
    if step.slot.link is None:
        return None
    link = sheet.links.get(step.slot.link)
    if link is None:
        return None
    if scope.instance is not None and scope.parent is not None and link.origin == sheet.input_node:
        return _from_outside(scope, link.origin_slot, step.type)
    origin = sheet.nodes.get(link.origin)
    if origin is None:
        return Severed(f"node {link.origin[:100]}, which is not there")
    return _OutputSlot(scope, origin, link.origin_slot, step.type)


def _from_outside(scope: Scope, index: int, wanted: str) -> _Step:
    """From a subgraph's input to what its instance is given there."""
    if scope.instance is None or scope.parent is None or not 0 <= index < len(scope.sheet.inputs):
        return None
    name = scope.sheet.inputs[index].name
    slot = scope.instance.input(name)
    if slot is not None and slot.link is not None:
        return _Input(scope.parent, scope.instance, slot, wanted)
    return Given(scope.inputs[name]) if name in scope.inputs else Shown(scope, index)


def _through(instances: Instances, step: _OutputSlot) -> _Step:
    """From an output to itself, or through a node that only passes on."""
    scope, node = step.scope, step.node
    if node.mode == MUTED:
        return Severed(f"{label(node, scope.id_of(node))}, which is muted")
    if node.mode == BYPASSED:
        slot = _slot_for_bypass(node, step.index, step.type)
        if slot is None:
            name = label(node, scope.id_of(node))
            return Severed(f"{name}, which is bypassed and has no input of that type")
        return _Input(scope, node, slot, slot.type)
    inside = instances.inside(scope, node)
    if inside is not None:
        return _from_inside(inside, step)
    if node.type in ONLY_IN_THE_EDITOR:
        return _through_the_editors(scope, node, step.type)
    return Source(scope.id_of(node), step.index)


def _through_the_editors(scope: Scope, node: EditorNode, wanted: str) -> _Step:
    """Through a node that only the editor knows."""
    if node.type == PRIMITIVE:
        return _primitive(scope, node)
    if node.type == GETTER:
        return _from_setter(scope, node, wanted)
    if (node.type in REROUTES or node.type == SETTER) and node.inputs:
        return _Input(scope, node, node.inputs[0], wanted)
    return None


def _from_inside(inside: Scope, step: _OutputSlot) -> _Step:
    """From an instance's output to the inner one that feeds it."""
    sheet: Sheet = inside.sheet
    if not 0 <= step.index < len(sheet.outputs):
        return None
    link = sheet.targets.get(sheet.outputs[step.index].name)
    if link is None:
        return None
    if link.origin == sheet.input_node:
        return _from_outside(inside, link.origin_slot, step.type)
    origin = sheet.nodes.get(link.origin)
    return None if origin is None else _OutputSlot(inside, origin, link.origin_slot, step.type)


def _primitive(scope: Scope, node: EditorNode) -> Given | None:
    values = node.values.values() if isinstance(node.values, Mapping) else node.values
    for value in (*scope.inner.get(node.id, {}).values(), *values):
        return Given(value)
    return None


def _from_setter(scope: Scope | None, getter: EditorNode, wanted: str) -> _Step:
    """KJNodes' pair: what is set by a name, in the same sheet or around it."""
    name = _first_text(getter)
    while scope is not None:
        for node in scope.sheet.setters:
            if _first_text(node) == name:
                return _Input(scope, node, node.inputs[0], wanted)
        scope = scope.parent
    return Severed(f"{label(getter)}, for which nothing is set")


def _first_text(node: EditorNode) -> JsonValue:
    return node.values[0] if isinstance(node.values, tuple) and node.values else None


def _slot_for_bypass(node: EditorNode, index: int, wanted: str) -> InputSlot | None:
    """The input that takes an output's place: the one beside it, else the first that fits."""
    slots = node.inputs
    beside = slots[index] if 0 <= index < len(slots) else None
    if wanted in {"*", ""}:
        return beside or (slots[0] if slots else None)
    own = node.outputs[index] if 0 <= index < len(node.outputs) else wanted
    if beside and connects(beside.type, own) and connects(beside.type, wanted):
        return beside
    exact = next((slot for slot in slots if slot.type == wanted), None)
    return exact or next(
        (slot for slot in slots if connects(slot.type, own) and connects(slot.type, wanted)), None
    )


def connects(one: str, other: str) -> bool:
    """Whether the editor links the types; several may be named, with commas between."""
    if one in {"*", ""} or other in {"*", ""}:
        return True
    names = {name.strip().lower() for name in one.split(",")}
    return not names.isdisjoint(name.strip().lower() for name in other.split(","))
