"""Pipeline jobs whose workflow is in the editor's format.

They are converted when they are prepared, since that needs the server's `/object_info`. Until
then only places are known, not the inputs that values belong to: so which URLs are fetched is
told by the classes of loading nodes, whatever else names a place is refused, and what the
conversion makes of the workflow is looked through once more, by its inputs' names.
"""

import asyncio
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from pydantic import JsonValue

from queue_agent.runtime import Assets, MediaKind, Reference
from queue_agent.runtime.places import refuse_unfetched
from queue_agent.wire.errors import Rejected
from queue_agent_runtimes.comfyui.api import ComfyUIApi
from queue_agent_runtimes.comfyui.conversion import (
    Converted,
    Document,
    convert,
    is_editor_format,
)
from queue_agent_runtimes.comfyui.conversion.document import EditorNode, as_dict
from queue_agent_runtimes.comfyui.conversion.instances import Instances, Scope, take_apart
from queue_agent_runtimes.comfyui.conversion.links import ONLY_IN_THE_EDITOR
from queue_agent_runtimes.comfyui.file_inputs import FileInputs
from queue_agent_runtimes.comfyui.workflow import (
    REFERENCE_SCHEMES,
    TEXT_INPUTS,
    Workflow,
    find_references,
    inputs_by_node,
    is_text_input,
    read_workflow,
    unwrapped,
)

Path = tuple[str | int, ...]
_LOADS: Final = re.compile("Load(?!er)")
"""In the names of classes whose first widget is a file of the server's; loaders are of models.

Of classes that tell by which inputs they take files, any widget may be one.
"""
_NOTHING_KNOWN: Final = FileInputs()
_PROMPT_CLASSES: Final = ("TextEncode", "Prompt", "GLSLShader")
"""In the names of classes whose texts are words; by their inputs they are told later."""


_Held = tuple[str, str, Mapping[str, JsonValue]]
"""A node's id and class, and what it holds."""


@dataclass(frozen=True)
class SavedWorkflow:
    """A workflow as an editor saved it, and what else a job's content says with it."""

    document: Mapping[str, JsonValue]
    others: Mapping[str, JsonValue]
    """The fields beside it, such as `inputs` and `extra_data`."""

    def references(self, known: FileInputs = _NOTHING_KNOWN) -> Iterator[Reference]:
        """URLs in loading nodes, and in `inputs` that name such.

        Raises:
            Rejected: the workflow cannot be read.
        """
        for path, value, kind in self._files(known):
            if isinstance(value, str) and value.startswith(REFERENCE_SCHEMES):
                yield Reference(value, path, kind)

    def check_places(self, known: FileInputs = _NOTHING_KNOWN) -> None:
        """Refuse what names a place anywhere else in nodes that run, except in prompts.

        Raises:
            Rejected: of type ``reference_forbidden``; or the workflow cannot be read.
        """
        nodes: dict[str, JsonValue] = {}
        prompts: set[Path] = set()
        for node_id, node_type, values in self._values():
            nodes[node_id] = {"widgets_values": dict(values)}
            if any(word in node_type for word in _PROMPT_CLASSES):
                prompts |= {_place(node_id, key) for key in values}
            prompts |= {_place(node_id, key) for key in values.keys() & TEXT_INPUTS}
        inputs = self.others.get("inputs", {})
        prompts |= {("inputs", key) for key in as_dict(inputs) if _input_of(key) in TEXT_INPUTS}
        refuse_unfetched(
            {"nodes": nodes, "inputs": inputs},
            fetched=list(self.references(known)),
            is_text=prompts.__contains__,
        )

    def _files(self, known: FileInputs) -> Iterator[tuple[Path, JsonValue, MediaKind]]:
        """What names files: by its name, or by its class and its place."""
        instances = self._instances()
        types = {scope.id_of(node): node.type for scope, node in _running(instances)}
        for node_id, node_type, values in _held_by_nodes(instances):
            for key, value in values.items():
                if (kind := _kind_of(node_type, key, known)) is not None:
                    yield _place(node_id, key), value, kind
        for instance_id, scope in _ids_of_instances(instances):
            for key, value in scope.inputs.items():
                given = [*instances.fed_by(scope, key), ("", key)]
                kinds = [_kind_of(node_type, name, known) for node_type, name in given]
                for kind in [found for found in kinds if found is not None][:1]:
                    yield _place(instance_id, key), value, kind
        for key, value in as_dict(self.others.get("inputs")).items():
            node_id, _, name = key.partition(".")
            if name and (kind := _kind_of(types.get(node_id, ""), name, known)) is not None:
                yield ("inputs", key), value, kind

    def _values(self) -> Iterator[_Held]:
        """The id and class of each node that runs, and of each instance, with what it holds."""
        instances = self._instances()
        yield from _held_by_nodes(instances)
        for instance_id, scope in _ids_of_instances(instances):
            yield instance_id, "subgraph", dict(scope.inputs)

    def _instances(self) -> Instances:
        return take_apart(Document.read(dict(self.document)))


def _running(instances: Instances) -> Iterator[tuple[Scope, EditorNode]]:
    for scope, node in instances.nodes():
        if node.type not in ONLY_IN_THE_EDITOR or node.type == "PrimitiveNode":
            yield scope, node


def _held_by_nodes(instances: Instances) -> Iterator[_Held]:
    for scope, node in _running(instances):
        yield scope.id_of(node), node.type, held_values(scope, node)


def _ids_of_instances(instances: Instances) -> Iterator[tuple[str, Scope]]:
    for path, scope in instances.children.items():
        yield f"{':'.join(path)}:", scope


def saved_in(content: Mapping[str, JsonValue]) -> SavedWorkflow | None:
    """The workflow in the editor's format that a job's content is, or has in its fields.

    The same forms as in the API format: itself, under `workflow`, or under `prompt`. One that
    stands in `extra_data` beside a prompt is what the images are to carry, and is not looked at.
    """
    content = unwrapped(content)
    if is_editor_format(dict(content)):
        return SavedWorkflow(content, {})
    for key in ("workflow", "prompt"):
        document = content.get(key)
        if isinstance(document, dict) and is_editor_format(document):
            others = {name: value for name, value in content.items() if name != key}
            return SavedWorkflow(document, others)
    return None


class Conversions:
    """Converts workflows for one server, whose classes it asks for when the first comes."""

    def __init__(self, api: ComfyUIApi) -> None:
        self._api = api
        self._object_info: dict[str, JsonValue] | None = None
        self._files = FileInputs()

    def forget(self) -> None:
        """The server went away: another may come, with other classes."""
        self._object_info = None

    async def converted(self, saved: SavedWorkflow, assets: Assets) -> Workflow:
        """The workflow in the API format, checked like one that was sent so.

        Raises:
            Rejected: it cannot be converted, or names a place that was not fetched.
            Unavailable: the server does not tell its classes.
        """
        try:
            made = await self._convert(saved, again=False)
        except Rejected:  # the server may have been started anew, with other classes
            made = await self._convert(saved, again=True)
        workflow = read_workflow({**saved.others, "workflow": {**made.graph}})
        graph = workflow.graph
        fetched = [found for found in find_references(graph, self._files) if found.url in assets]
        refuse_unfetched(inputs_by_node(graph), fetched=fetched, is_text=is_text_input)
        return replace(workflow, warnings=(*made.warnings, *workflow.warnings))

    async def _convert(self, saved: SavedWorkflow, *, again: bool) -> Converted:
        if self._object_info is None or again:
            self._object_info = await self._api.object_info()
            self._files = await asyncio.to_thread(FileInputs.of, self._object_info)
        return await asyncio.to_thread(convert, dict(saved.document), self._object_info)


def held_values(scope: Scope, node: EditorNode) -> dict[str, JsonValue]:
    """A node's values by their names, or by their positions from ``0``."""
    if isinstance(node.values, Mapping):
        own = dict(node.values)
    else:
        own = {str(position): value for position, value in enumerate(node.values)}
    return {**own, **node.named, **scope.inner.get(node.id, {})}


def _kind_of(node_type: str, key: str, known: FileInputs) -> MediaKind | None:
    """Of the file that a value names, by the input's name or by its position; None: it names none.

    By position it is a guess, which the conversion corrects.
    """
    if not key.isdecimal():
        found = known.find(node_type, key)
        return found.kind if found else None
    if uploads := known.of_class(node_type):
        return uploads[0].kind
    if key != "0" or not _LOADS.search(node_type):
        return None
    if "Audio" in node_type:
        return "audio"
    if "Video" in node_type:
        return "video"
    return "image" if "Image" in node_type or "Mask" in node_type else "file"


def _place(node_id: str, key: str) -> Path:
    return ("nodes", node_id, "widgets_values", key)


def _input_of(key: str) -> str:
    """Of an override's key, what stands behind the node's id: ``12.image``."""
    return key.partition(".")[2]
