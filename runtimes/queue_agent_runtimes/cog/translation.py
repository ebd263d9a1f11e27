"""From a job to the model's input: pure functions.

A portable job's fields go to the inputs that have the usual names (`names.NAMES`), and its other
fields, where the model has an input of that very name, as they are. What a publisher does not
say is left to the model, which knows its own best.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from math import gcd
from typing import Final

from pydantic import JsonValue

from queue_agent.runtime import Asset, Assets, is_url
from queue_agent.runtime.images import image_asset
from queue_agent.runtime.places import is_prompt
from queue_agent.wire.errors import Rejected
from queue_agent.wire.job import Job
from queue_agent.wire.portable import PortableContent, parse_portable
from queue_agent.wire.samplers import find_sampler
from queue_agent.wire.video_and_mesh import (
    FILE_FIELDS,
    IMAGE_TO_3D,
    IMAGE_TO_VIDEO,
    TEXT_TO_VIDEO,
    VIDEO_TASKS,
    parse_mesh,
    parse_video,
)
from queue_agent_runtimes.cog.names import ASPECT_RATIO, NAMES, USUAL
from queue_agent_runtimes.cog.places import Place, shown, texts_in
from queue_agent_runtimes.cog.schema import ModelInput, ModelSchema

PIPELINE: Final = "pipeline"
TEXT_TO_IMAGE: Final = "text-to-image"
IMAGE_TO_IMAGE: Final = "image-to-image"
TASK_TYPES: Final = frozenset(
    {PIPELINE, TEXT_TO_IMAGE, IMAGE_TO_IMAGE, TEXT_TO_VIDEO, IMAGE_TO_VIDEO, IMAGE_TO_3D}
)
_OF_IMAGES: Final = ("init_images", "image", "mask", "denoising_strength")
_PORTABLE_FILES: Final[Mapping[str, tuple[str, ...]]] = {
    IMAGE_TO_IMAGE: ("init_images", "image", "mask"),
    **FILE_FIELDS,
}

_NONE: Final = "the model has no such input"

Json = Mapping[str, JsonValue]
_Finder = Callable[[str], object]
"""From a spelling to what it means; None where that is not known."""


@dataclass
class TranslatedInput:
    """A model's input, the files that go into it, and what of the job it cannot honour."""

    input: dict[str, JsonValue] = field(default_factory=dict)
    files: dict[Place, Asset] = field(default_factory=dict)
    """By their places in the input, where nothing stands yet."""
    warnings: list[str] = field(default_factory=list)


def own_input(content: Json, schema: ModelSchema) -> tuple[Place, Json]:
    """The input of a `pipeline` job and where it stands: the content, or its only field `input`."""
    inner = content.get("input")
    if isinstance(inner, dict) and len(content) == 1 and "input" not in schema.inputs:
        return ("input",), inner
    return (), content


def media_fields(job: Job, schema: ModelSchema) -> Iterator[tuple[Place, str]]:
    """Where files stand in a job's content, and what stands there.

    Of a model that does not describe its inputs, that is whatever names a place and is no prompt.
    """
    root, given = ((), job.content) if job.task_type != PIPELINE else own_input(job.content, schema)
    names = set(_PORTABLE_FILES.get(job.task_type, ()))
    names |= {name for name, one in schema.inputs.items() if one.is_file}
    anywhere = job.task_type == PIPELINE and not schema.is_known
    for path, text in texts_in(dict(given)):
        if not text:
            continue
        if (path[0] in names and len(path) <= 2) or (
            anywhere and is_url(text) and not is_prompt(path)
        ):
            yield (*root, *path), text


def translate(job: Job, assets: Assets, schema: ModelSchema) -> TranslatedInput:
    """The model's input for a job.

    Raises:
        Rejected: a field has a wrong type or is out of range (type ``invalid_content``), or the
            model has no input for what the job is about (``unsupported_by_model``).
    """
    if job.task_type == PIPELINE:
        translated = _own(job, assets, schema)
    else:
        translated = _Portable(job, assets, schema).translated()
    placed = {**translated.input, **dict.fromkeys((str(path[0]) for path in translated.files), "")}
    faults = [
        fault
        for fault in schema.faults(placed)
        if fault.partition(":")[0] not in {path[0] for path in translated.files}
    ]
    if faults:
        raise Rejected("; ".join(faults), type="invalid_content")
    return translated


def _own(job: Job, assets: Assets, schema: ModelSchema) -> TranslatedInput:
    root, given = own_input(job.content, schema)
    made = TranslatedInput(dict(given))
    for path, text in media_fields(job, schema):
        _set_file(made, path[len(root) :], text, assets, field=shown(path))
    if schema.is_known:
        for name in sorted(given.keys() - schema.inputs.keys()):
            made.warnings.append(f"{shown((*root, name))}: the model has no such input; ignored.")
            del made.input[name]
    return made


class _Portable:
    """The translation of one portable job."""

    def __init__(self, job: Job, assets: Assets, schema: ModelSchema) -> None:
        self._job, self._assets, self._schema = job, assets, schema
        self._made = TranslatedInput()

    def translated(self) -> TranslatedInput:
        task = self._job.task_type
        if task in VIDEO_TASKS:
            self._video()
        elif task == IMAGE_TO_3D:
            self._mesh()
        else:
            self._image()
        return self._made

    def _image(self) -> None:
        asked = parse_portable(self._job.content)
        said = asked.model_fields_set
        self._must_put("prompt", asked.prompt)
        self._put("negative_prompt", asked.negative_prompt or None)
        if said & {"width", "height"}:
            self._size(asked.width, asked.height)
        self._put("steps", asked.steps if "steps" in said else None)
        self._put("cfg_scale", asked.cfg_scale if "cfg_scale" in said else None)
        self._put("seed", asked.seed if asked.seed >= 0 else None)
        if asked.image_count > 1:
            self._put("images", asked.image_count, said_as="batch_size, n_iter")
        self._choice("sampler_name", asked.sampler_name or asked.scheduler, by=find_sampler)
        self._choice("model", asked.checkpoint)
        if self._job.task_type == IMAGE_TO_IMAGE:
            self._images(asked)
        elif not asked.wants_no_hires:
            for name in _OF_IMAGES:
                if getattr(asked, name) not in (None, []):
                    self._ignored(name, "has no meaning for text-to-image")
        if asked.loras:
            self._ignored("loras", "the model takes none by name")
        self._rest(asked.unknown_fields, self._job.content.keys() - type(asked).model_fields.keys())

    def _images(self, asked: PortableContent) -> None:
        images = [(f"init_images[{place}]", image) for place, image in enumerate(asked.init_images)]
        if asked.image is not None:
            images.append(("image", asked.image))
        if not images:
            raise Rejected("init_images: an image is required.", type="invalid_content")
        target = self._must_find("init_images")
        if target.type == "array":
            for number, (name, image) in enumerate(images):
                self._file((target.name, number), image, name)
        else:
            self._file((target.name,), images[0][1], images[0][0])
            for name, _ in images[1:]:
                self._ignored(name, "the model takes one image")
        if asked.mask is not None:
            self._file((self._must_find("mask").name,), asked.mask, "mask")
        self._put("denoising_strength", asked.denoising_strength)

    def _video(self) -> None:
        asked = parse_video(self._job.content, self._job.task_type)
        self._must_put("prompt", asked.prompt)
        self._put("negative_prompt", asked.negative_prompt or None)
        if asked.width and asked.height:
            self._size(asked.width, asked.height)
        if asked.seconds is None or (asked.frame_count and self._schema.find(NAMES["frames"])):
            self._put("frames", asked.frame_count)
        else:
            self._put("seconds", asked.seconds)
        self._put("fps", asked.frame_rate)
        self._common(asked.steps, asked.guidance_scale, asked.seed)
        if self._job.task_type == IMAGE_TO_VIDEO:
            if asked.first is None:
                raise Rejected("first_frame: an image is required.", type="invalid_content")
            name, image = asked.first
            self._file((self._must_find("first_frame").name,), image, name)
            if asked.last_frame is not None:
                self._file((self._must_find("last_frame").name,), asked.last_frame, "last_frame")
        if asked.loras:
            self._ignored("loras", "the model takes none by name")
        self._choice("model", asked.model)
        self._rest(asked.unknown_fields, (asked.model_extra or {}).keys())

    def _mesh(self) -> None:
        asked = parse_mesh(self._job.content)
        self._file((self._must_find("init_images").name,), asked.image, "image")
        self._put("prompt", asked.prompt or None)
        self._put("negative_prompt", asked.negative_prompt or None)
        self._common(asked.steps, asked.guidance_scale, asked.seed)
        self._choice("model", asked.model)
        self._rest(asked.unknown_fields, (asked.model_extra or {}).keys())

    def _common(self, steps: int | None, guidance: float | None, seed: int) -> None:
        self._put("steps", steps)
        self._put("cfg_scale", guidance, said_as="guidance_scale")
        self._put("seed", seed if seed >= 0 else None)

    def _put(self, name: str, value: JsonValue, *, said_as: str = "") -> None:
        """A field to the input for it; None asks for nothing."""
        if value is None:
            return
        if (target := self._schema.find(NAMES[name])) is None:
            self._ignored(said_as or name, "the model has no such input")
        else:
            self._made.input[target.name] = _as(target, value)

    def _must_put(self, name: str, value: str) -> None:
        self._made.input[self._must_find(name).name] = value

    def _must_find(self, name: str) -> ModelInput:
        if (target := self._schema.find(NAMES[name])) is None:
            raise Rejected(
                f"{name}: the model has no input for it; its inputs: "
                f"{', '.join(self._schema.inputs)}. A job of the type pipeline names them itself.",
                type="unsupported_by_model",
            )
        return target

    def _file(self, place: Place, value: str, name: str) -> None:
        _set_file(self._made, place, value, self._assets, field=name)

    def _size(self, width: int, height: int) -> None:
        sides = [self._schema.find(NAMES[name]) for name in ("width", "height")]
        if all(sides):
            self._put("width", width)
            self._put("height", height)
            return
        divisor = gcd(width, height)
        for names, words in (
            (NAMES["size"], (f"{width}x{height}", f"{width}*{height}")),
            (ASPECT_RATIO, (f"{width // divisor}:{height // divisor}",)),
        ):
            target = self._schema.find(names)
            for word in words:
                if target and word in target.choices:
                    self._made.input[target.name] = word
                    return
        self._ignored("width, height", "the model has no such size")

    def _choice(self, name: str, value: str | None, by: _Finder = str.casefold) -> None:
        """One of the model's choices, which have spellings of their own."""
        if not value:
            return
        target = self._schema.find(NAMES[name])
        choices = [choice for choice in (target.choices if target else ()) if _is_text(choice)]
        wanted = by(value)
        for choice in choices:
            same = str(choice).casefold() == value.casefold()
            if target and (same or (wanted is not None and by(str(choice)) == wanted)):
                self._made.input[target.name] = choice
                return
        self._ignored(name, f"{value!r} is none of the model's" if choices else _NONE)

    def _rest(self, asking: Iterable[str], given: Iterable[str]) -> None:
        """Fields that the portable form has no word for: the model's own, or ignored."""
        known = self._schema.inputs if self._schema.is_known else USUAL
        own = {name for name in given if name in known and name not in self._made.input}
        for name in sorted(own):
            value = self._job.content[name]
            one = self._schema.inputs.get(name)
            if one and one.is_file and isinstance(value, str):
                self._file((name,), value, name)
            else:
                self._made.input[name] = value
        for name in asking:
            if name not in own:
                self._ignored(name, _NONE)

    def _ignored(self, name: str, reason: str) -> None:
        self._made.warnings.append(f"{name}: {reason}; ignored.")


def _set_file(
    made: TranslatedInput, place: Place, value: str, assets: Assets, *, field: str
) -> None:
    """Keep a place of the input for a file; a data URL is one already, and stays."""
    if value.startswith("data:"):
        made.input[str(place[0])] = _with(made.input.get(str(place[0])), place[1:], value)
        return
    made.files[place] = image_asset(value, assets, field=field)
    made.input[str(place[0])] = _with(made.input.get(str(place[0])), place[1:], "")


def _with(old: JsonValue, place: Place, value: str) -> JsonValue:
    """A copy of what stands in an input, with a text at that place within it."""
    if not place:
        return value
    step, *inner = place
    if isinstance(step, int):
        entries = list(old) if isinstance(old, list) else []
        entries += [""] * (step + 1 - len(entries))
        entries[step] = _with(entries[step], tuple(inner), value)
        return entries
    fields = dict(old) if isinstance(old, dict) else {}
    fields[step] = _with(fields.get(step), tuple(inner), value)
    return fields


def _as(target: ModelInput, value: JsonValue) -> JsonValue:
    """A number as the model has it, where nothing is lost by that: ``3.0`` as 3 or ``"3"``."""
    if target.type == "integer" and isinstance(value, float) and value.is_integer():
        return int(value)
    if target.type == "string" and isinstance(value, int | float):
        return f"{value:g}"
    return value


def _is_text(value: JsonValue) -> bool:
    return isinstance(value, str)
