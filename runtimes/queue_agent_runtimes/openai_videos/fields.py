"""From a job's content to the fields of the request: pure functions."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from pydantic import JsonValue

from queue_agent.wire.errors import Rejected
from queue_agent.wire.video_and_mesh import (
    FILE_FIELDS,
    IMAGE_TO_3D,
    MeshContent,
    VideoContent,
    parse_mesh,
    parse_video,
)
from queue_agent_runtimes.openai_images.fields import lora_object
from queue_agent_runtimes.openai_videos.engines import EngineFacts, Server

Json = dict[str, JsonValue]

_NATIVE: Final = frozenset(
    {
        "aspect_ratio",
        "boundary_ratio",
        "enable_frame_interpolation",
        "enable_teacache",
        "enable_upscaling",
        "enhance_prompt",
        "extra_params",
        "flow_shift",
        "frame_interpolation_exp",
        "frame_interpolation_scale",
        "generate_sound",
        "generator_device",
        "guidance_rescale",
        "guidance_scale_2",
        "lora",
        "max_sequence_length",
        "n",
        "num_frames",
        "num_inference_steps",
        "num_outputs_per_prompt",
        "output_compression",
        "output_format",
        "output_quality",
        "quality",
        "short_edge",
        "size",
        "sound_duration",
        "true_cfg_scale",
        "upscaling_scale",
        "user",
    }
)
"""The engines' own names for what goes to the server as it is.

None of those by which a request names files on the server's disk: `video_path`, `output_path`,
`perf_dump_path`, `upscaling_model_path` and the like.
"""
_PLAIN: Final = frozenset(
    {"input_reference", "model", "prompt", "response_format", "seconds", "size", "user"}
)
"""What OpenAI's API has words for, and so stands outside of an engine's extension."""


@dataclass(frozen=True)
class EngineRequest:
    """What is sent, without the files."""

    fields: Json
    files: tuple[tuple[str, str], ...] = ()
    """The request's field and the content's for each image."""
    warnings: list[str] = field(default_factory=list)


def file_fields(content: Mapping[str, JsonValue], task_type: str) -> Iterable[tuple[str, str]]:
    """The fields of the content that hold images, and what stands there."""
    for name in FILE_FIELDS.get(task_type, ()):
        value = content.get(name)
        if isinstance(value, str) and value:
            yield name, value


def translate(
    content: Mapping[str, JsonValue],
    task_type: str,
    server: Server,
    *,
    switch_models: bool = True,
) -> EngineRequest:
    """The request for a video or a mesh.

    Raises:
        Rejected: a field has a wrong type or is out of range, or asks for what the engine cannot
            do at all (type ``invalid_content``).
    """
    native = {name: content[name] for name in _NATIVE & content.keys() if content[name] is not None}
    _refuse_paths(native)
    portable = {name: value for name, value in content.items() if name not in _NATIVE}
    asked: VideoContent | MeshContent
    if task_type == IMAGE_TO_3D:
        asked = parse_mesh(portable)
        made = EngineRequest(_common_fields(asked), (("image", "image"),))
    else:
        asked = parse_video(portable, task_type)
        made = _video(asked, server.engine)
    _choose_model(made, asked.model, server, switch_models=switch_models)
    made.fields.update(native)
    made.warnings.extend(
        f"{name}: the runtime has no such field; ignored." for name in asked.unknown_fields
    )
    return made


def extended(fields: Json, engine: EngineFacts) -> Json:
    """The fields with those in the engine's extension that belong there."""
    if engine.extension is None:
        return fields
    plain = {name: value for name, value in fields.items() if name in _PLAIN}
    others = {name: value for name, value in fields.items() if name not in _PLAIN}
    return {**plain, engine.extension: others} if others else plain


def _video(content: VideoContent, engine: EngineFacts) -> EngineRequest:
    fields = {"prompt": content.prompt, **_common_fields(content), **_length(content, engine)}
    warnings: list[str] = []
    if content.width is not None:
        fields["size"] = f"{content.width}x{content.height}"
    if content.loras and engine.lists_loras:
        fields["loras"] = [{"name": lora.name, "scale": lora.weight} for lora in content.loras]
    elif content.loras and engine.loras:
        fields["lora"] = lora_object(content.loras[0])
        if len(content.loras) > 1:
            warnings.append(f"loras: {engine.name} takes one a request; only the first is used.")
    elif content.loras:
        warnings.append("loras: the runtime loads none for a job; ignored.")
    return EngineRequest(fields, _frames(content, engine), warnings)


def _common_fields(content: VideoContent | MeshContent) -> Json:
    fields: Json = {"prompt": content.prompt} if content.prompt else {}
    given: Json = {
        "negative_prompt": content.negative_prompt or None,
        "num_inference_steps": content.steps,
        "guidance_scale": content.guidance_scale,
        "seed": content.seed if content.seed >= 0 else None,
    }
    fields.update({name: value for name, value in given.items() if value is not None})
    return fields


def _length(content: VideoContent, engine: EngineFacts) -> Json:
    fields: Json = {}
    if content.frame_rate is not None:
        fields["fps"] = content.frame_rate
    seconds = content.seconds
    if content.frames is not None or seconds is None:
        if content.frames is not None:
            fields["num_frames"] = content.frames
        return fields
    if seconds.is_integer():
        fields["seconds"] = int(seconds)
    elif not engine.whole_seconds:
        fields["seconds"] = seconds
    elif content.frame_count is not None:
        fields["num_frames"] = content.frame_count
    else:
        raise _rejected(f"seconds: {engine.name} takes whole ones; say fps or frames as well.")
    return fields


def _frames(content: VideoContent, engine: EngineFacts) -> tuple[tuple[str, str], ...]:
    if content.first is None:
        return ()
    first, _ = content.first
    if content.last_frame is None:
        return (("input_reference", first),)
    if not engine.last_frames:
        raise _rejected(f"last_frame: {engine.name} takes none.")
    return (("input_references", first), ("input_references", "last_frame"))


def _choose_model(
    made: EngineRequest, model: str | None, server: Server, *, switch_models: bool
) -> None:
    if model is not None and switch_models:
        made.fields["model"] = model
    elif model is not None:
        made.warnings.append("model: the operator does not allow jobs to choose it; ignored.")
    if "model" not in made.fields and server.engine.extension and server.models:
        made.fields["model"] = server.models[0]  # Dynamo routes by it


def _refuse_paths(native: Mapping[str, JsonValue]) -> None:
    """Engines take `extra_params` for fields, those among them that name files on their disk."""
    for name, value in native.items():
        if name == "lora" or not isinstance(value, dict):
            continue
        paths = [key for key in value if key.lower().endswith(("path", "paths", "dir"))]
        if paths:
            raise Rejected(
                f"{name}.{paths[0]}: names a file on the runtime's disk, which is not a job's "
                "to choose.",
                type="reference_forbidden",
            )


def _rejected(words: str) -> Rejected:
    return Rejected(words, type="invalid_content")
