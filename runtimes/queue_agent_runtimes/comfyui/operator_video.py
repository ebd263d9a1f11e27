"""Portable jobs for videos and meshes as inputs of the operator's workflow. Pure functions.

There is no workflow of core nodes for these: which nodes make them is the model's matter. As for
images, a field goes to the input of its name, and what a job leaves out is the workflow's own.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from pydantic import JsonValue

from queue_agent.runtime import Reference, is_url
from queue_agent.wire.errors import Rejected
from queue_agent.wire.video_and_mesh import (
    FILE_FIELDS,
    IMAGE_TO_3D,
    MeshContent,
    VideoContent,
    parse_mesh,
    parse_video,
)
from queue_agent_runtimes.comfyui.operator_portable import MODEL, PortableInputs, not_taken
from queue_agent_runtimes.comfyui.operator_workflow import SEED, OperatorWorkflow

VIDEO_TASKS: Final = frozenset(FILE_FIELDS)

_AS_THEY_ARE: Final = ("negative_prompt", SEED, "steps", "width", "height")
_LENGTH: Final = ("seconds", "fps", "frames")
_ASKS_FOR_NOTHING: Final[Mapping[str, JsonValue]] = {"negative_prompt": "", SEED: -1}


def parse_content(content: Mapping[str, JsonValue], task_type: str) -> VideoContent | MeshContent:
    """The content of a job of one of these task types.

    Raises:
        Rejected: it cannot be meant (type ``invalid_content``).
    """
    return parse_mesh(content) if task_type == IMAGE_TO_3D else parse_video(content, task_type)


def find_file_references(content: Mapping[str, JsonValue], task_type: str) -> Iterator[Reference]:
    """The fields of the task that hold a URL."""
    for name in FILE_FIELDS[task_type]:
        value = content.get(name)
        if isinstance(value, str) and is_url(value):
            yield Reference(value, (name,))


def images_of(content: VideoContent | MeshContent) -> Iterator[tuple[str, str, str]]:
    """The images of the task: the input of a workflow, what is given, and the field's name."""
    if isinstance(content, MeshContent):
        yield "image", content.image, "image"
        return
    if content.first is not None:
        field, value = content.first
        yield "first_frame", value, field
    if content.last_frame is not None:
        yield "last_frame", content.last_frame, "last_frame"


def video_inputs(own: OperatorWorkflow, content: VideoContent | MeshContent) -> PortableInputs:
    """The inputs that the job gives without its images, and warnings of what it asks in vain.

    Raises:
        Rejected: the workflow takes no last frame, and the job has one.
    """
    takes_two = "last_frame" in own.inputs
    if isinstance(content, VideoContent) and content.last_frame is not None and not takes_two:
        raise Rejected(f"last_frame: the workflow {own.name} takes none.", type="invalid_content")
    given: dict[str, JsonValue] = {}
    if content.prompt or "prompt" in own.inputs:
        given["prompt"] = content.prompt
    for name in _AS_THEY_ARE:
        value: JsonValue = getattr(content, name, None)
        if value is not None and (name in own.inputs or value != _ASKS_FOR_NOTHING.get(name)):
            given[name] = value
    if content.guidance_scale is not None:
        of_images = "guidance_scale" not in own.inputs and "cfg_scale" in own.inputs
        given["cfg_scale" if of_images else "guidance_scale"] = content.guidance_scale
    if content.model:
        given[MODEL] = content.model
    warnings = []
    if isinstance(content, VideoContent):
        given |= _length(own, content)
        warnings += [not_taken(own, "loras", "; none was applied")] if content.loras else []
    given |= {
        name: value
        for name, value in (content.model_extra or {}).items()
        if name in own.inputs and not own.inputs[name].media
    }
    missing = [*given, *content.unknown_fields]
    warnings += [not_taken(own, name) for name in missing if name not in own.inputs]
    return PortableInputs(
        {name: value for name, value in given.items() if name in own.inputs}, tuple(warnings)
    )


def _length(own: OperatorWorkflow, content: VideoContent) -> dict[str, JsonValue]:
    """In the words that the workflow has; by its own rate where the job names none."""
    given: dict[str, JsonValue] = {
        name: value for name in _LENGTH if (value := getattr(content, name)) is not None
    }
    rate = content.frame_rate or _rate_of(own)
    if content.seconds is not None and "seconds" not in own.inputs and "frames" in own.inputs:
        if content.frames is None and rate:
            given["frames"] = max(1, round(content.seconds * rate))
        if "frames" in given:
            del given["seconds"]
    if content.frames is not None and "frames" not in own.inputs and "seconds" in own.inputs:
        if content.seconds is None and rate:
            given["seconds"] = content.frames / rate
        if "seconds" in given:
            del given["frames"]
    return given


def _rate_of(own: OperatorWorkflow) -> float | None:
    """The frames a second that the workflow shows of its own."""
    exposed = own.inputs.get("fps")
    if exposed is None:
        return None
    node_id, name = exposed.targets[0]
    inputs = own.graph[node_id].get("inputs")
    held = inputs.get(name) if isinstance(inputs, dict) else None
    value = held if exposed.default is None else exposed.default
    return float(value) if isinstance(value, int | float) and value > 0 else None
