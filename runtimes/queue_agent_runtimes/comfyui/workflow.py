"""Workflows in ComfyUI's API format: reading, checking and changing them. Pure functions.

The format: https://docs.comfy.org/development/api-development/workflow-api-format
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from pydantic import JsonValue

from queue_agent.runtime import MediaKind, Reference
from queue_agent.wire.errors import Rejected

Node = dict[str, JsonValue]
Graph = dict[str, Node]

INVALID_WORKFLOW: Final = "invalid_workflow"

MEDIA_INPUTS: Final[Mapping[str, MediaKind]] = {
    "image": "image",
    "mask": "image",
    "video": "video",
    "audio": "audio",
    "file": "video",
}
"""Inputs by which loading nodes name a file; `file` is the core LoadVideo's."""

TEXT_INPUTS: Final = frozenset(
    {
        "clip_g",
        "clip_l",
        "llama",
        "negative",
        "negative_prompt",
        "positive",
        "positive_prompt",
        "prompt",
        "t5xxl",
        "text",
        "text_g",
        "text_l",
        "text_negative",
        "text_positive",
    }
)
"""Inputs by which encoding nodes, ComfyUI's own and the usual others, take a prompt.

`value` and `string` of nodes that hold a text for others are none: what they hold can be
linked to a node that fetches it.
"""

REFERENCE_SCHEMES: Final = ("https://", "http://", "s3://")
_DEPTH_OF_INPUTS: Final = 3
"""Of the path to one: the node's id, ``inputs``, its name."""
_PREFIX_INPUT: Final = "filename_prefix"
_HOW_TO_EXPORT: Final = (
    "This is a workflow in the editor's format. Export it in the API format instead: "
    "menu Workflow > Export (API); in older versions enable the dev mode options and "
    "choose Save (API Format)."
)
_MAX_FAULTS: Final = 10
_LONGEST_STEM: Final = 160
"""Bytes of what a job calls its files; with our tag, the server's number and an extension they
are to stay below 255."""


@dataclass(frozen=True)
class Workflow:
    """A checked workflow and what else the job sends with it."""

    graph: Graph
    extra_data: dict[str, JsonValue] = field(default_factory=dict)
    seeds: Mapping[str, int] = field(default_factory=dict)
    """Seed of what nodes put out, where it is known."""
    warnings: tuple[str, ...] = ()
    images: int = 0
    """Fewer than so many mean that the run went wrong."""


def read_workflow(content: Mapping[str, JsonValue]) -> Workflow:
    """The workflow in a pipeline job's content, in any of its three forms, checked.

    The forms: the API format itself; ``{"prompt": …, "extra_data": …}``, the body of
    `/prompt`; and ``{"workflow": …, "inputs": {"6.text": …}}``, which overrides inputs.

    Raises:
        Rejected: it cannot work (type ``invalid_workflow``); the message says how to mend it.
    """
    extra_data: JsonValue = {}
    inputs: JsonValue = {}
    graph: JsonValue = dict(content)
    if _is_wrapped(content, "prompt"):
        graph, extra_data = content["prompt"], content.get("extra_data", {})
    elif _is_wrapped(content, "workflow"):
        graph, inputs = content["workflow"], content.get("inputs", {})
        extra_data = content.get("extra_data", {})
    if not isinstance(extra_data, dict):
        raise _invalid("extra_data must be an object.")
    if not isinstance(inputs, dict):
        raise _invalid('inputs must be an object such as {"6.text": "a cat"}.')
    checked = _checked_graph(graph)
    return Workflow(_with_overrides(checked, inputs), extra_data)


def find_references(graph: Graph) -> Iterator[Reference]:
    """Inputs of loading nodes whose whole value is a URL; texts are never looked at."""
    for node_id, name, value in _file_inputs(graph):
        yield Reference(value, (node_id, "inputs", name), MEDIA_INPUTS[name])


def inputs_by_node(graph: Graph) -> dict[str, JsonValue]:
    """What the nodes are given, in the places of the graph."""
    return {node_id: {"inputs": inputs_of(node)} for node_id, node in graph.items()}


def is_text_input(path: tuple[str | int, ...]) -> bool:
    """Whether a place in the graph is the input of a node that holds a prompt."""
    return len(path) == _DEPTH_OF_INPUTS and path[-1] in TEXT_INPUTS


def with_files(graph: Graph, names: Mapping[tuple[str, str], str]) -> Graph:
    """The graph with the uploaded files' names by the URL and class that they replace."""
    changed = dict(graph)
    for node_id, name, url in _file_inputs(graph):
        file = names[url, folder_of(class_of(graph[node_id]))]
        changed[node_id] = with_input(changed[node_id], name, file)
    return changed


def folder_of(class_type: str) -> str:
    """The folder that a loading node of that class reads from."""
    return "output" if class_type == "LoadImageOutput" else "input"


def with_unique_prefixes(graph: Graph, tag: str) -> Graph:
    """The graph with a tag in each save node's file names; asked-for subfolders are kept."""
    changed = dict(graph)
    for node_id, node in graph.items():
        prefix = inputs_of(node).get(_PREFIX_INPUT)
        if isinstance(prefix, str):
            at = max(prefix.rfind("/"), prefix.rfind("\\")) + 1  # Windows servers take both
            stem = prefix[at:].encode()[:_LONGEST_STEM].decode(errors="ignore")
            unique = f"{prefix[:at]}{tag}-{stem}"
            changed[node_id] = with_input(node, _PREFIX_INPUT, unique)
    return changed


def with_input(node: Node, name: str, value: JsonValue) -> Node:
    """A copy of the node with one input changed."""
    return {**node, "inputs": {**inputs_of(node), name: value}}


def inputs_of(node: Node) -> dict[str, JsonValue]:
    inputs = node.get("inputs")
    return inputs if isinstance(inputs, dict) else {}


def class_of(node: Node) -> str:
    return str(node.get("class_type"))


def _is_wrapped(content: Mapping[str, JsonValue], key: str) -> bool:
    inner = content.get(key)
    return isinstance(inner, dict) and not isinstance(inner.get("class_type"), str)


def _checked_graph(graph: JsonValue) -> Graph:
    if not isinstance(graph, dict):
        raise _invalid("The workflow must be an object of nodes by their id.")
    if isinstance(graph.get("nodes"), list) or isinstance(graph.get("links"), list):
        raise _invalid(_HOW_TO_EXPORT)
    if not graph:
        raise _invalid("The workflow has no nodes.")
    nodes: Graph = {}
    faults: list[str] = []
    for node_id, node in graph.items():
        if not isinstance(node, dict):
            faults.append(f"node {node_id}: must be an object with class_type and inputs")
            continue
        faults += _faults_of(node_id, node, graph)
        nodes[node_id] = node
    _raise_if_any(faults)
    _raise_if_cyclic(nodes)
    return nodes


def _faults_of(node_id: str, node: Node, graph: Mapping[str, JsonValue]) -> Iterator[str]:
    if not isinstance(node.get("class_type"), str):
        yield f"node {node_id}: class_type is missing"
    if not isinstance(node.get("inputs"), dict):
        yield f"node {node_id}: inputs must be an object"
    for name, value in inputs_of(node).items():
        if not isinstance(value, list) or len(value) != 2 or isinstance(value[1], str):
            continue
        source = value[0]
        if isinstance(source, int | float) and str(source) in graph:
            yield (
                f'node {node_id}, input {name}: the node id in a link is text: ["{source}", '
                f"{value[1]}] instead of [{source}, {value[1]}]"
            )
        elif isinstance(source, str) and source not in graph:
            yield f"node {node_id}, input {name}: links to node {source}, which does not exist"


def links_of(node: Node) -> list[str]:
    """The ids of the nodes that a node takes its inputs from."""
    return [
        value[0]
        for value in inputs_of(node).values()
        if isinstance(value, list) and len(value) == 2 and isinstance(value[0], str)
    ]


def _raise_if_cyclic(graph: Graph) -> None:
    """Takes away nodes that nobody waits for until none is left, or only cycles are."""
    waiting = {node_id: set(links_of(node)) & graph.keys() for node_id, node in graph.items()}
    dependents: dict[str, list[str]] = {node_id: [] for node_id in graph}
    for node_id, sources in waiting.items():
        for source in sources:
            dependents[source].append(node_id)
    free = [node_id for node_id, sources in waiting.items() if not sources]
    while free:
        done = free.pop()
        del waiting[done]
        for dependent in dependents[done]:
            waiting[dependent].discard(done)
            if not waiting[dependent]:
                free.append(dependent)
    if waiting:
        circle = " -> ".join(_one_cycle(waiting))
        raise _invalid(f"The links form a circle: {circle}. Remove one of these links.")


def _one_cycle(waiting: Mapping[str, set[str]]) -> Sequence[str]:
    """Follows sources that wait themselves until a node comes again."""
    path: dict[str, None] = {}
    node_id = next(iter(waiting))
    while node_id not in path:
        path[node_id] = None
        node_id = next(source for source in waiting[node_id] if source in waiting)
    visited = list(path)
    return [*visited[visited.index(node_id) :], node_id]


def _with_overrides(graph: Graph, inputs: Mapping[str, JsonValue]) -> Graph:
    changed = dict(graph)
    faults = []
    for key, value in inputs.items():
        node_id, _, name = key.partition(".")
        if node_id not in graph:
            faults.append(f"inputs.{key}: the workflow has no node {node_id}")
        elif name not in inputs_of(graph[node_id]):
            known = ", ".join(inputs_of(graph[node_id])) or "none"
            faults.append(f"inputs.{key}: node {node_id} has no input {name!r}; it has: {known}")
        else:
            changed[node_id] = with_input(changed[node_id], name, value)
    _raise_if_any(faults)
    return _checked_graph(dict(changed)) if inputs else changed


def _file_inputs(graph: Graph) -> Iterator[tuple[str, str, str]]:
    for node_id, node in graph.items():
        for name in MEDIA_INPUTS.keys() & inputs_of(node).keys():
            value = inputs_of(node)[name]
            if isinstance(value, str) and value.startswith(REFERENCE_SCHEMES):
                yield node_id, name, value


def _raise_if_any(faults: Sequence[str]) -> None:
    if faults:
        more = len(faults) - _MAX_FAULTS
        tail = f"; and {more} more" if more > 0 else ""
        raise _invalid("; ".join(faults[:_MAX_FAULTS]) + tail + ".")


def _invalid(message: str) -> Rejected:
    return Rejected(message, type=INVALID_WORKFLOW)
