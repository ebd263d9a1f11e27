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
from queue_agent_runtimes.comfyui.file_inputs import MEDIA_INPUTS
from queue_agent_runtimes.comfyui.workflow import (
    REFERENCE_SCHEMES,
    TEXT_INPUTS,
    Workflow,
    find_references,
    inputs_by_node,
    is_text_input,
    read_workflow,
)

Path = tuple[str | int, ...]
_LOADS: Final = re.compile("Load(?!er)")
"""In the names of classes whose first widget is a file of the server's; loaders are of models."""
_PROMPT_CLASSES: Final = ("TextEncode", "Prompt", "GLSLShader")
"""In the names of classes whose texts are words; by their inputs they are told later."""


@dataclass(frozen=True)
class SavedWorkflow:
    """A workflow as an editor saved it, and what else a job's content says with it."""

    document: Mapping[str, JsonValue]
    others: Mapping[str, JsonValue]
    """The fields beside it, such as `inputs` and `extra_data`."""

    def references(self) -> Iterator[Reference]:
        """URLs in loading nodes, and in `inputs` that name such.

        Raises:
            Rejected: the workflow cannot be read.
        """
        for path, value, kind in self._files():
            if isinstance(value, str) and value.startswith(REFERENCE_SCHEMES):
                yield Reference(value, path, kind)

    def check_places(self) -> None:
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
            fetched=list(self.references()),
            is_text=prompts.__contains__,
        )

    def _files(self) -> Iterator[tuple[Path, JsonValue, MediaKind]]:
        """What names files: by its name, or as the first value of a class that loads."""
        for node_id, node_type, values in self._values():
            for key, value in values.items():
                if key in MEDIA_INPUTS:
                    yield _place(node_id, key), value, MEDIA_INPUTS[key]
                elif key == "0" and _LOADS.search(node_type):
                    yield _place(node_id, key), value, _kind_of(node_type)
        for key, value in as_dict(self.others.get("inputs")).items():
            if _input_of(key) in MEDIA_INPUTS:
                yield ("inputs", key), value, MEDIA_INPUTS[_input_of(key)]

    def _values(self) -> Iterator[tuple[str, str, Mapping[str, JsonValue]]]:
        """The id and class of each node that runs, and of each instance, with what it holds."""
        instances: Instances = take_apart(Document.read(dict(self.document)))
        for scope, node in instances.nodes():
            if node.type not in ONLY_IN_THE_EDITOR or node.type == "PrimitiveNode":
                yield scope.id_of(node), node.type, _held(scope, node)
        for path, scope in instances.children.items():
            yield f"{':'.join(path)}:", "subgraph", dict(scope.inputs)


def saved_in(content: Mapping[str, JsonValue]) -> SavedWorkflow | None:
    """The workflow in the editor's format that a job's content is, or has in its fields.

    The same forms as in the API format: itself, under `workflow`, or under `prompt`. One that
    stands in `extra_data` beside a prompt is what the images are to carry, and is not looked at.
    """
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
        fetched = [found for found in find_references(graph) if found.url in assets]
        refuse_unfetched(inputs_by_node(graph), fetched=fetched, is_text=is_text_input)
        return replace(workflow, warnings=(*made.warnings, *workflow.warnings))

    async def _convert(self, saved: SavedWorkflow, *, again: bool) -> Converted:
        if self._object_info is None or again:
            self._object_info = await self._api.object_info()
        return await asyncio.to_thread(convert, dict(saved.document), self._object_info)


def _held(scope: Scope, node: EditorNode) -> dict[str, JsonValue]:
    """A node's values by their names, or by their positions from ``0``."""
    if isinstance(node.values, Mapping):
        own = dict(node.values)
    else:
        own = {str(position): value for position, value in enumerate(node.values)}
    return {**own, **node.named, **scope.inner.get(node.id, {})}


def _kind_of(node_type: str) -> MediaKind:
    if "Audio" in node_type:
        return "audio"
    return "video" if "Video" in node_type else "image"


def _place(node_id: str, key: str) -> Path:
    return ("nodes", node_id, "widgets_values", key)


def _input_of(key: str) -> str:
    """Of an override's key, what stands behind the node's id: ``12.image``."""
    return key.partition(".")[2]
