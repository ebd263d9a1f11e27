"""How much work a job is: what it takes grows with that, on a given runtime with a given model.

Read tolerantly from the content, the same by agents, which learn, and by publishers, who are told.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from pydantic import JsonValue

from queue_agent.wire.job import Job
from queue_agent.wire.portable import DEFAULT_DENOISING_STRENGTH, PortableContent, model_of
from queue_agent.wire.quality import quality_of
from queue_agent.wire.video_and_mesh import VIDEO_TASKS

__all__ = ["Work", "model_named", "work_of"]

_DEFAULTS: Final = {name: field.default for name, field in PortableContent.model_fields.items()}
_DRAWING: Final = frozenset({"text-to-image", "image-to-image"})
_MODEL_INPUTS: Final = ("ckpt_name", "unet_name")
"""Of ComfyUI's loading nodes."""
_UPSCALING: Final = frozenset({"extra-single-image", "extra-batch-images"})
_PLAIN_UPSCALERS: Final = frozenset({"", "lanczos", "nearest", "none"})
"""That need no model, whatever the runtime."""
_CONTROL_NODES: Final = "ControlNetApply"
"""How ComfyUI's names for nodes begin that have a sampler asked for more."""
_MOST_LEADING: Final = 3
"""Of so many and more it makes no difference how many they are."""
_MOST_NODES: Final = 2_000
_LARGEST: Final = 1e12


@dataclass(frozen=True, slots=True)
class Work:
    """What a job asks of a GPU."""

    kind: str
    """Its task type, and of workflows which; its quality where that is not exact, and how many
    ControlNets and IP-Adapters lead it."""
    model: str | None
    """The checkpoint that it names, or its upscaler."""
    amount: float | None = None
    """Megapixels times steps, of all images or frames; None: nobody can tell."""
    megapixels: float = 0.0
    """Of one image or frame."""
    count: float = 1.0
    """Images or frames."""


def work_of(job: Job) -> Work:
    """The work of a job, as far as its content tells."""
    content, kind = job.content, job.task_type
    if isinstance(named := content.get("workflow"), str):
        return Work(f"{kind} {named}"[:200], model_of(content))
    if nodes := list(_nodes(content)):
        return _of_graph(kind, nodes)
    if kind in VIDEO_TASKS:
        return _of_video(kind, content)
    if kind in _DRAWING:
        return _of_images(kind + _faster(content) + _led(content), content)
    return Work(kind, model_named(job))


def model_named(job: Job) -> str | None:
    """The model that a job in the portable form names; None where it names or needs none."""
    if job.task_type not in _UPSCALING:
        return model_of(job.content)
    named = job.content.get("upscaler_1")
    needs = isinstance(named, str) and named.casefold() not in _PLAIN_UPSCALERS
    return str(named) if needs else None


def _of_images(kind: str, content: Mapping[str, JsonValue]) -> Work:
    steps = _number(content, "steps", _DEFAULTS["steps"])
    width, height = (_number(content, side, _DEFAULTS[side]) for side in ("width", "height"))
    count = _number(content, "batch_size", 1) * _number(content, "n_iter", 1)
    strength = _number(content, "denoising_strength", DEFAULT_DENOISING_STRENGTH)
    megapixels = width * height / 1e6
    passes = steps * megapixels
    if content.get("init_images"):
        passes *= min(1.0, strength)
    scale = _number(content, "hr_scale", 1)
    if scale > 1 and content.get("enable_hr") is not False:
        second = _number(content, "hr_second_pass_steps", steps)
        megapixels *= scale * scale
        passes += second * min(1.0, strength) * megapixels
    return _checked(Work(kind, model_of(content), passes * count, megapixels, count))


def _faster(content: Mapping[str, JsonValue]) -> str:
    """Of jobs whose steps reuse earlier ones: those take less for as much."""
    quality = quality_of(content)
    return f" {quality}" if quality not in {None, "exact"} else ""


def _led(content: Mapping[str, JsonValue]) -> str:
    """Of jobs whose steps ask more networks than one: those take more for as much."""
    scripts = content.get("alwayson_scripts")
    units = 0
    for name, script in scripts.items() if isinstance(scripts, dict) else ():
        if name.casefold() == "controlnet" and isinstance(script, dict):
            units += sum(
                isinstance(unit, dict) and unit.get("enabled") is not False
                for unit in _list(script.get("args"))
            )
    controls = units + len(_list(content.get("controls")))
    return _several("control", controls) + _several(
        "IP-Adapter", len(_list(content.get("ip_adapters")))
    )


def _several(name: str, count: int) -> str:
    if not count:
        return ""
    return f" {name}" if count == 1 else f" {min(count, _MOST_LEADING)} {name}s"


def _list(value: JsonValue) -> list[JsonValue]:
    return value if isinstance(value, list) else []


def _of_video(kind: str, content: Mapping[str, JsonValue]) -> Work:
    frames = _number(content, "frames", 0)
    frames = frames or _number(content, "seconds", 0) * _number(content, "fps", 0)
    steps, width, height = (_number(content, name, 0) for name in ("steps", "width", "height"))
    megapixels = width * height / 1e6
    amount = steps * megapixels * frames
    return _checked(Work(kind, model_of(content), amount or None, megapixels, frames or 1.0))


def _nodes(content: Mapping[str, JsonValue]) -> Iterator[tuple[str, Mapping[str, JsonValue]]]:
    """Class and inputs of the nodes of a graph, where the content is one or holds one."""
    graph: JsonValue = content.get("prompt")
    found: Mapping[str, JsonValue] = graph if isinstance(graph, dict) else content
    if len(found) > _MOST_NODES:
        return
    for node in found.values():
        if isinstance(node, dict) and isinstance(name := node.get("class_type"), str):
            inputs = node.get("inputs")
            yield name, inputs if isinstance(inputs, dict) else {}


def _of_graph(kind: str, nodes: list[tuple[str, Mapping[str, JsonValue]]]) -> Work:
    """A graph's: its samplers' steps, times the largest image that it names."""
    steps = sum(_number(inputs, "steps", 0) for _, inputs in nodes)
    model = next(
        (str(inputs[name]) for _, inputs in nodes for name in _MODEL_INPUTS if name in inputs), None
    )
    images = [
        (
            _number(inputs, "width", 0) * _number(inputs, "height", 0) / 1e6,
            _number(inputs, "batch_size", 1) * _number(inputs, "length", 1),
        )
        for _, inputs in nodes
    ]
    megapixels, count = max(images, key=lambda one: one[0] * one[1])
    amount = steps * megapixels * count
    controls = sum(name.startswith(_CONTROL_NODES) for name, _ in nodes)
    kind += _several("control", controls)
    return _checked(Work(kind, model, amount or None, megapixels, count))


def _checked(work: Work) -> Work:
    """The same, without an amount where that is none that any job has."""
    sizes = (work.amount or 0.0, work.megapixels, work.count)
    if all(math.isfinite(size) and 0 <= size < _LARGEST for size in sizes):
        return work
    return Work(work.kind, work.model)


def _number(content: Mapping[str, JsonValue], name: str, default: float) -> float:
    value = content.get(name)
    is_one = isinstance(value, int | float) and not isinstance(value, bool)
    try:
        return float(value) if is_one else float(default)  # type: ignore[arg-type]
    except OverflowError:
        return math.inf
