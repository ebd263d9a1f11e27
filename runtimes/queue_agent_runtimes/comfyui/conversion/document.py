"""A saved workflow as values: nodes, their slots, links, and the subgraphs it defines."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

from pydantic import JsonValue

from queue_agent.wire.errors import Rejected

MUTED: Final = 2
BYPASSED: Final = 4
SETTER: Final = "SetNode"
"""KJNodes' node by which a value is had anywhere under a name."""
NOTES: Final = frozenset({"Note", "MarkdownNote"})

_MAX_NODES: Final = 10_000
_MAX_DEFINITIONS: Final = 1_000
_INPUT_NODE: Final = "-10"
_OUTPUT_NODE: Final = "-20"
"""Ids by which a subgraph's links name its own inputs and outputs."""


@dataclass(frozen=True)
class InputSlot:
    """One input of a node, or of a subgraph."""

    name: str
    type: str
    link: str | None = None
    widget: bool = False
    """Whether the input is a widget too, which a link replaces."""


@dataclass(frozen=True)
class Link:
    """From an output of one node to an input of another."""

    origin: str
    origin_slot: int
    target: str
    target_slot: int


@dataclass(frozen=True)
class EditorNode:
    """A node as it is saved."""

    id: str
    type: str
    title: str
    mode: int
    inputs: tuple[InputSlot, ...]
    outputs: tuple[str, ...]
    """The outputs' types."""
    values: tuple[JsonValue, ...] | Mapping[str, JsonValue] = ()
    """What its widgets hold: in their order, or by their names."""
    named: Mapping[str, JsonValue] = field(default_factory=dict)
    """What newer editors save beside that: the same by name."""
    promoted: tuple[tuple[str, str], ...] = ()
    """Of an instance of a subgraph: the inner nodes' widgets (id, name) that it shows."""
    models: JsonValue = None
    """What its properties say of the models that it loads, unread."""

    def input(self, name: str) -> InputSlot | None:
        return next((slot for slot in self.inputs if slot.name == name), None)


@dataclass(frozen=True)
class Sheet:
    """What is drawn on one canvas: the workflow itself, or a subgraph's definition."""

    name: str
    nodes: Mapping[str, EditorNode]
    links: Mapping[str, Link]
    inputs: tuple[InputSlot, ...] = ()
    outputs: tuple[InputSlot, ...] = ()
    input_node: str = _INPUT_NODE
    output_node: str = _OUTPUT_NODE

    @cached_property
    def targets(self) -> Mapping[str, Link]:
        """By a subgraph's output, the link that ends there."""
        return {
            self.outputs[link.target_slot].name: link
            for link in self.links.values()
            if link.target == self.output_node and 0 <= link.target_slot < len(self.outputs)
        }

    @cached_property
    def _fed(self) -> Mapping[int, list[tuple[EditorNode, InputSlot]]]:
        origins = {
            link_id: link.origin_slot
            for link_id, link in self.links.items()
            if link.origin == self.input_node
        }
        fed: dict[int, list[tuple[EditorNode, InputSlot]]] = {}
        for node in self.nodes.values():
            for slot in node.inputs:
                if slot.link is not None and slot.link in origins:
                    fed.setdefault(origins[slot.link], []).append((node, slot))
        return fed

    @cached_property
    def setters(self) -> Sequence[EditorNode]:
        return [node for node in self.nodes.values() if node.type == SETTER and node.inputs]

    @cached_property
    def weight(self) -> int:
        """What it costs to look at all of it once."""
        return sum(
            1 + len(node.inputs) + len(node.values) + len(node.named) + len(node.promoted)
            for node in self.nodes.values()
        )

    @cached_property
    def inputs_by_inner(self) -> Mapping[tuple[str, str], str]:
        """A subgraph's inputs by the inner ones (node, name) that they are linked to."""
        return {
            (node.id, slot.name): self.inputs[index].name
            for index, fed in self._fed.items()
            for node, slot in fed
            if 0 <= index < len(self.inputs)
        }

    def fed_by(self, index: int) -> Sequence[tuple[EditorNode, InputSlot]]:
        """The inner inputs that one of a subgraph's inputs is linked to."""
        return self._fed.get(index, [])


@dataclass(frozen=True)
class Document:
    """A saved workflow."""

    root: Sheet
    subgraphs: Mapping[str, Sheet]

    @classmethod
    def read(cls, workflow: JsonValue) -> "Document":
        """Parse what an editor saved.

        Raises:
            Rejected: it cannot be read (type ``invalid_workflow``); the message names the node.
        """
        if not isinstance(workflow, dict) or not is_editor_format(workflow):
            raise invalid("This is no workflow in the editor's format: it has no list of nodes.")
        subgraphs: dict[str, Sheet] = {}
        waiting = [workflow]
        while waiting:
            definitions = as_dict(waiting.pop().get("definitions")).get("subgraphs")
            for definition in map(as_dict, as_list(definitions)):
                subgraphs[text(definition.get("id"))] = _sheet(definition)
                waiting.append(definition)
                if len(subgraphs) > _MAX_DEFINITIONS:
                    raise invalid(f"The workflow defines over {_MAX_DEFINITIONS} subgraphs.")
        return cls(_sheet(workflow), subgraphs)

    def sheets(self) -> Iterator[Sheet]:
        yield self.root
        yield from self.subgraphs.values()


def is_editor_format(workflow: JsonValue) -> bool:
    """Whether it has a list of nodes; the API format is an object of them."""
    return isinstance(workflow, dict) and isinstance(workflow.get("nodes"), list)


def label(node: EditorNode, node_id: str | None = None) -> str:
    """How messages call a node: its id, type and title, cut where they are long."""
    title = f', "{node.title[:60]}"' if node.title and node.title != node.type else ""
    return f"node {(node_id or node.id)[:100]} ({node.type[:60]}{title})"


def invalid(message: str) -> Rejected:
    return Rejected(message, type="invalid_workflow")


def as_dict(value: JsonValue) -> dict[str, JsonValue]:
    return value if isinstance(value, dict) else {}


def as_list(value: JsonValue) -> list[JsonValue]:
    return value if isinstance(value, list) else []


def text(value: JsonValue) -> str:
    """A name or id as text: ids are numbers in some versions, texts in others."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value)


def integer(value: JsonValue, default: int = 0) -> int:
    """A slot's or mode's number; some writers make texts of them."""
    try:
        return default if value is None or isinstance(value, list | dict) else int(value)
    except (ValueError, OverflowError):
        return default


def _sheet(saved: Mapping[str, JsonValue]) -> Sheet:
    nodes: dict[str, EditorNode] = {}
    for index, found in enumerate(as_list(saved.get("nodes"))):
        node = _node(found, index)
        if node.id in nodes:
            raise invalid(f"Two nodes have the id {node.id[:100]}.")
        nodes[node.id] = node
        if len(nodes) > _MAX_NODES:
            raise invalid(f"The workflow has over {_MAX_NODES} nodes.")
    return Sheet(
        name=text(saved.get("name")),
        nodes=nodes,
        links=dict(filter(None, map(_link, _links(saved.get("links"))))),
        inputs=tuple(map(_slot, as_list(saved.get("inputs")))),
        outputs=tuple(map(_slot, as_list(saved.get("outputs")))),
        input_node=text(as_dict(saved.get("inputNode")).get("id")) or _INPUT_NODE,
        output_node=text(as_dict(saved.get("outputNode")).get("id")) or _OUTPUT_NODE,
    )


def _node(saved: JsonValue, index: int) -> EditorNode:
    if not isinstance(saved, dict) or not text(saved.get("id")) or not text(saved.get("type")):
        raise invalid(f"nodes[{index}]: a node needs an id and a type.")
    properties = as_dict(saved.get("properties"))
    values = saved.get("widgets_values")
    return EditorNode(
        id=text(saved["id"]),
        type=text(saved["type"]),
        title=text(saved.get("title")),
        mode=integer(saved.get("mode")),
        inputs=tuple(map(_slot, as_list(saved.get("inputs")))),
        outputs=tuple(_type(as_dict(out).get("type")) for out in as_list(saved.get("outputs"))),
        values=values if isinstance(values, dict) else tuple(as_list(values)),
        named=as_dict(saved.get("widgets_values_named")),
        promoted=tuple(
            (text(entry[0]), text(entry[1]))
            for entry in as_list(properties.get("proxyWidgets"))
            if isinstance(entry, list) and len(entry) >= 2
        ),
        models=properties.get("models"),
    )


def _slot(saved: JsonValue) -> InputSlot:
    slot = as_dict(saved)
    link = slot.get("link")
    return InputSlot(
        name=text(slot.get("name")),
        type=_type(slot.get("type")),
        link=None if link is None else text(link),
        widget=isinstance(slot.get("widget"), dict),
    )


def _links(saved: JsonValue) -> list[JsonValue]:
    return list(saved.values()) if isinstance(saved, dict) else as_list(saved)


def _link(saved: JsonValue) -> tuple[str, Link] | None:
    """In either form: ``[id, origin, slot, target, slot, type]``, or an object."""
    if isinstance(saved, list) and len(saved) >= 5:
        link_id, *ends = saved[:5]
    elif isinstance(saved, dict):
        names = ("id", "origin_id", "origin_slot", "target_id", "target_slot")
        link_id, *ends = (saved.get(name) for name in names)
    else:
        return None
    origin, origin_slot, target, target_slot = ends
    return text(link_id), Link(
        text(origin), integer(origin_slot, -1), text(target), integer(target_slot, -1)
    )


def _type(saved: JsonValue) -> str:
    """A slot's type; lists (old combos) and numbers (litegraph's events) have names too."""
    return "COMBO" if isinstance(saved, list) else text(saved)
