"""Workflows in ComfyUI's API format: reading, checking and changing them. Pure functions.

The format: https://docs.comfy.org/development/api-development/workflow-api-format
"""

import posixpath
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from pydantic import JsonValue

from queue_agent.runtime import ModelFile, Reference
from queue_agent.wire.errors import Rejected
from queue_agent.wire.output import OutputOptions
from queue_agent_runtimes.comfyui.beside import read_beside
from queue_agent_runtimes.comfyui.file_inputs import FileInput, FileInputs
from queue_agent_runtimes.comfyui.link_checks import (
    behind_circles,
    broken_links,
    one_circle,
    some_output_is_sound,
)

Node = dict[str, JsonValue]
Graph = dict[str, Node]

INVALID_WORKFLOW: Final = "invalid_workflow"

TEXT_INPUTS: Final = frozenset(
    {
        "clip_g",
        "clip_l",
        "fragment_shader",
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
"""Inputs by which encoding nodes, ComfyUI's own and the usual others, take a prompt; and the core
GLSLShader its program, whose comments tell where it is from.

`value` and `string` of nodes that hold a text for others are none: what they hold can be
linked to a node that fetches it.
"""

REFERENCE_SCHEMES: Final = ("https://", "http://", "s3://")
_DEPTH_OF_INPUTS: Final = 3
"""Of the path to one: the node's id, ``inputs``, its name."""
_PREFIX_INPUT: Final = "filename_prefix"
_NO_FILES: Final = TEXT_INPUTS | {_PREFIX_INPUT}
"""Inputs whose words may be those by which a job calls a file."""
_HOW_TO_EXPORT: Final = (
    "This is a workflow in the editor's format. Export it in the API format instead: "
    "menu Workflow > Export (API); in older versions enable the dev mode options and "
    "choose Save (API Format)."
)
_NOTHING_KNOWN: Final = FileInputs()
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
    targets: list[str] | None = None
    """The output nodes that are to be executed; None for all."""
    carried: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Base64 or data URLs by the names that inputs call them by."""
    models: tuple[ModelFile, ...] = ()
    """Those that the job brings, with their URLs."""
    output: OutputOptions | None = None
    """How its files are to be delivered."""


@dataclass(frozen=True)
class FileValue:
    """An input that stands for a file, and what it holds."""

    node_id: str
    name: str
    value: str
    input: FileInput


def read_workflow(
    content: Mapping[str, JsonValue], outputs: Collection[str] = frozenset()
) -> Workflow:
    """The workflow in a pipeline job's content, in any of its three forms, checked.

    The forms: the API format itself; ``{"prompt": …, "extra_data": …}``, the body of
    `/prompt`; and ``{"workflow": …, "inputs": {"6.text": …}}``, which overrides inputs; the last
    may stand in an ``input``. What else may stand beside it, see `Beside`. Links that are broken
    are left to the server where a node of one of the classes `outputs` needs none of them.

    Raises:
        Rejected: it cannot work (type ``invalid_workflow``); the message says how to mend it.
    """
    content = unwrapped(content)
    for name in ("prompt", "workflow"):
        if _is_wrapped(content, name):
            beside = read_beside({key: content[key] for key in content.keys() - {name}})
            graph = _checked_graph(content[name], outputs)
            graph = _with_overrides(graph, beside.inputs, outputs)
            return Workflow(
                graph,
                beside.extra_data,
                warnings=beside.warnings,
                targets=beside.targets,
                carried=beside.images,
                models=beside.models,
                output=beside.output,
            )
    return Workflow(_checked_graph(dict(content), outputs))


def unwrapped(content: Mapping[str, JsonValue]) -> Mapping[str, JsonValue]:
    """The content, or what stands in its `input`, as in the body of a serverless endpoint."""
    inner = content.get("input")
    if isinstance(inner, dict) and "class_type" not in inner and "workflow" in inner:
        return inner
    return content


def find_references(graph: Graph, known: FileInputs = _NOTHING_KNOWN) -> Iterator[Reference]:
    """Inputs that take files and whose whole value is a URL; texts are never looked at."""
    for found in _file_values(graph, known):
        if found.value.startswith(REFERENCE_SCHEMES):
            yield Reference(found.value, (found.node_id, "inputs", found.name), found.input.kind)


def find_carried(
    graph: Graph, known: FileInputs, named: Collection[str] = ()
) -> "Iterator[FileValue]":
    """Inputs that hold a file's data, or that call it by one of the names of those beside."""
    for node_id, node in graph.items():
        for name, value in inputs_of(node).items():
            if not isinstance(value, str) or name in _NO_FILES:
                continue
            asked = known.find(class_of(node), name)
            if value in named:
                yield FileValue(node_id, name, value, asked or FileInput("file"))
            elif asked and value[:5].lower() == "data:" and not known.is_text(class_of(node), name):
                yield FileValue(node_id, name, value, asked)


def inputs_by_node(graph: Graph) -> dict[str, JsonValue]:
    """What the nodes are given, in the places of the graph."""
    return {node_id: {"inputs": inputs_of(node)} for node_id, node in graph.items()}


def is_text_input(path: tuple[str | int, ...]) -> bool:
    """Whether a place in the graph is the input of a node that holds a prompt."""
    return len(path) == _DEPTH_OF_INPUTS and path[-1] in TEXT_INPUTS


def folder_of(class_type: str) -> str:
    """The folder that a loading node of that class reads images from."""
    found = _NOTHING_KNOWN.find(class_type, "image")
    return found.folder if found else "input"


def with_files(
    graph: Graph, names: Mapping[tuple[str, str], str], known: FileInputs = _NOTHING_KNOWN
) -> Graph:
    """The graph with the names of uploaded files in the place of what stood for them.

    `names` has them by that and by the folder in which they have to lie.
    """
    changed = dict(graph)
    for node_id, node in graph.items():
        for name, value in inputs_of(node).items():
            asked = known.find(class_of(node), name) or FileInput("file")
            if isinstance(value, str) and name not in _NO_FILES and (value, asked.place) in names:
                file = names[value, asked.place]
                changed[node_id] = with_input(changed[node_id], name, file)
    return changed


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


def prefix_folders(graph: Graph) -> set[str]:
    """The folders below the server's own into which save nodes of the graph put their files."""
    folders = set()
    for node in graph.values():
        prefix = inputs_of(node).get(_PREFIX_INPUT)
        if isinstance(prefix, str):
            folder = posixpath.normpath(posixpath.dirname(prefix))
            folders.add("" if folder == "." else folder)
    return folders


def with_input(node: Node, name: str, value: JsonValue) -> Node:
    """A copy of the node with one input changed."""
    return {**node, "inputs": {**inputs_of(node), name: value}}


def inputs_of(node: Node) -> dict[str, JsonValue]:
    inputs = node.get("inputs")
    return inputs if isinstance(inputs, dict) else {}


def class_of(node: Node) -> str:
    return str(node.get("class_type"))


def origin_of(node_id: str, graph: Graph) -> str:
    """The node of the workflow that this one is, or that became it.

    Nodes that a node becomes have its id before theirs: ``1.0.0.3``.
    """
    origin = node_id
    while origin not in graph and "." in origin:
        origin = origin.rpartition(".")[0]
    return origin if origin in graph else node_id


def _is_wrapped(content: Mapping[str, JsonValue], key: str) -> bool:
    inner = content.get(key)
    return isinstance(inner, dict) and not isinstance(inner.get("class_type"), str)


def _object(value: JsonValue) -> dict[str, JsonValue]:
    return value if isinstance(value, dict) else {}


def _checked_graph(graph: JsonValue, outputs: Collection[str]) -> Graph:
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
        faults += _faults_of(node_id, node)
        nodes[node_id] = node
    _raise_if_any(faults)
    broken, circling = broken_links(nodes), behind_circles(nodes)
    if not some_output_is_sound(nodes, {*broken, *circling}, outputs):
        _raise_if_any([fault for faults in broken.values() for fault in faults])
        if circling:
            circle = " -> ".join(one_circle(circling))
            raise _invalid(f"The links form a circle: {circle}. Remove one of these links.")
    return nodes


def _faults_of(node_id: str, node: Node) -> Iterator[str]:
    if not isinstance(node.get("class_type"), str):
        yield f"node {node_id}: class_type is missing"
    if not isinstance(node.get("inputs"), dict):
        yield f"node {node_id}: inputs must be an object"


def _with_overrides(
    graph: Graph, inputs: Mapping[str, JsonValue], outputs: Collection[str]
) -> Graph:
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
    return _checked_graph(dict(changed), outputs) if inputs else changed


def _file_values(graph: Graph, known: FileInputs) -> "Iterator[FileValue]":
    for node_id, node in graph.items():
        for name, value in inputs_of(node).items():
            asked = known.find(class_of(node), name)
            if asked is not None and isinstance(value, str):
                yield FileValue(node_id, name, value, asked)


def _raise_if_any(faults: Sequence[str]) -> None:
    if faults:
        more = len(faults) - _MAX_FAULTS
        tail = f"; and {more} more" if more > 0 else ""
        raise _invalid("; ".join(faults[:_MAX_FAULTS]) + tail + ".")


def _invalid(message: str) -> Rejected:
    return Rejected(message, type=INVALID_WORKFLOW)
