"""From a job's content to the tensors of the model that it is for."""

import asyncio
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pydantic import JsonValue

from queue_agent.runtime import Asset, Assets, Reference, is_url
from queue_agent.runtime.images import image_asset
from queue_agent.wire.errors import Rejected
from queue_agent.wire.portable import PortableContent, parse_portable
from queue_agent_runtimes.triton.datatypes import BYTES
from queue_agent_runtimes.triton.models import InferenceModel, TensorSpec
from queue_agent_runtimes.triton.options import TritonOptions
from queue_agent_runtimes.triton.pixels import as_pixels
from queue_agent_runtimes.triton.request import InputTensor, files_tensor, values_tensor
from queue_agent_runtimes.triton.tensor_roles import (
    IMAGES,
    TEXTS,
    image_output,
    inputs_by_role,
    role_of,
)

Path = tuple[str | int, ...]
"""Where in the content something stands."""
PIPELINE: Final = "pipeline"
IMAGE_TO_IMAGE: Final = "image-to-image"
TENSORS: Final = "inputs"
"""The field of a pipeline's content that holds tensors by name."""
_OWN: Final = frozenset({"model", TENSORS, "outputs"})
_SEEDS: Final = 2**31
"""Seeds that are drawn here fit into any datatype that models have for them."""
_VALUES: Final = (
    "prompt",
    "negative_prompt",
    "steps",
    "cfg_scale",
    "width",
    "height",
    "sampler_name",
    "scheduler",
)


@dataclass(frozen=True)
class AskedTensors:
    """What is asked of the model, once for each image that the server makes by itself."""

    requests: tuple[tuple[InputTensor, ...], ...] = ()
    seeds: tuple[int | None, ...] = ()
    """Of each request."""
    outputs: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def image_fields(
    content: Mapping[str, JsonValue], task_type: str, options: TritonOptions
) -> Iterable[tuple[Path, JsonValue]]:
    """Where images stand in a job, and what stands there."""
    if task_type == PIPELINE:
        tensors = content.get(TENSORS)
        for name, value in tensors.items() if isinstance(tensors, dict) else ():
            if role_of(name, options.inputs) in IMAGES:
                yield from _each((TENSORS, name), value)
    elif task_type == IMAGE_TO_IMAGE:
        for name in (*IMAGES, "image"):
            if content.get(name):
                yield from _each((name,), content[name])


def references_in(
    content: Mapping[str, JsonValue], task_type: str, options: TritonOptions
) -> Iterable[Reference]:
    """URLs where images stand."""
    for path, value in image_fields(content, task_type, options):
        if is_url(value):
            yield Reference(str(value), path)


def is_text(path: Path, options: TritonOptions) -> bool:
    """Whether words stand there, which may begin with a URL."""
    last = path[-1] if path else None
    return isinstance(last, str) and role_of(last, options.inputs) in TEXTS


def _spelled(path: Path) -> str:
    return ".".join(map(str, path))


def _each(path: Path, value: JsonValue) -> Iterable[tuple[Path, JsonValue]]:
    if isinstance(value, list):
        yield from (((*path, number), entry) for number, entry in enumerate(value))
    else:
        yield path, value


async def pipeline_tensors(
    content: Mapping[str, JsonValue], model: InferenceModel, options: TritonOptions, assets: Assets
) -> AskedTensors:
    """Of a pipeline's content: ``{"inputs": {NAME: VALUE}, "outputs": [NAME], "model": NAME}``.

    Raises:
        Rejected: it is of another form, or the model has no such tensors (``invalid_content``).
    """
    given, wanted = content.get(TENSORS), content.get("outputs")
    if not isinstance(given, dict):
        raise _wrong(f"{TENSORS}: must be an object of tensors by name")
    if wanted is not None and not (
        isinstance(wanted, list) and all(isinstance(name, str) for name in wanted)
    ):
        raise _wrong("outputs: must be a list of names")
    if unknown := sorted(content.keys() - _OWN):
        raise _wrong(f"{', '.join(unknown)}: a pipeline has {', '.join(sorted(_OWN))} only")
    tensors = []
    for name, value in given.items():
        spec, field = _input(model, name), f"{TENSORS}.{name}"
        if role_of(name, options.inputs) in IMAGES:
            images = _images(_each((TENSORS, name), value), assets)
            tensors.append(await _image_tensor(spec, images, field))
        else:
            tensors.append(_values_tensor(spec, value, field))
    _check_required(model, tensors)
    outputs = [str(name) for name in wanted] if isinstance(wanted, list) else [*model.outputs]
    return AskedTensors((tuple(tensors),), (None,), tuple(outputs))


async def portable_tensors(
    content: Mapping[str, JsonValue],
    task_type: str,
    model: InferenceModel,
    options: TritonOptions,
    assets: Assets,
) -> AskedTensors:
    """Of the portable form.

    Raises:
        Rejected: a field is wrong, or the model makes no such images.
    """
    portable = parse_portable(content)
    roles = inputs_by_role(model.inputs, options.inputs)
    if "prompt" not in roles:
        raise Rejected(
            f"The model {model.name!r} has no input for a prompt, by its name; it has: "
            f"{', '.join(model.inputs) or 'none'}.",
            type="unknown_model",
        )
    translation = _Translation(portable, model, roles)
    for field in _VALUES:
        translation.take(field)
    if task_type == IMAGE_TO_IMAGE:
        await translation.take_images(image_fields(content, task_type, options), assets)
        translation.take("denoising_strength")
    else:
        translation.leave_images(content)
    return translation.asked(_outputs(model, options))


class _Translation:
    """The tensors of one portable job, as they come together."""

    def __init__(
        self, portable: PortableContent, model: InferenceModel, roles: Mapping[str, str]
    ) -> None:
        self._portable = portable
        self._model = model
        self._roles = roles
        self._tensors: list[InputTensor] = []
        self._warnings: list[str] = []

    def take(self, field: str) -> None:
        """A field into its tensor; what was not asked for is left to the model, where it can be."""
        asked = field in self._portable.model_fields_set or field == "prompt"
        value = getattr(self._portable, field)
        if field not in self._roles:
            if asked and value not in (None, ""):
                self._ignore(field)
            return
        name = self._roles[field]
        if not asked and name in self._model.optional:
            return
        if field == "denoising_strength":
            value = self._portable.strength
        if value is not None:
            self._tensors.append(_values_tensor(self._model.inputs[name], value, field))

    async def take_images(self, fields: Iterable[tuple[Path, JsonValue]], assets: Assets) -> None:
        found: dict[str, list[Asset]] = {"init_images": [], "mask": []}
        for path, value in fields:
            role = "mask" if path[0] == "mask" else "init_images"
            found[role] += _images([(path, value)], assets)
        if not found["init_images"]:
            raise _wrong("init_images: an image is required")
        if "init_images" not in self._roles:
            raise Rejected(
                f"The model {self._model.name!r} takes no image to start from.",
                type="unknown_model",
            )
        for role, images in found.items():
            if images and role not in self._roles:
                self._ignore(role)
            elif images:
                if len(images) > 1:
                    self._warnings.append(f"{role}: only the first image is used.")
                spec = self._model.inputs[self._roles[role]]
                self._tensors.append(await _image_tensor(spec, images[:1], role))

    def leave_images(self, content: Mapping[str, JsonValue]) -> None:
        """Say that they mean nothing to a job of another kind."""
        for field in ("init_images", "image", "mask", "denoising_strength"):
            no_hires = field == "denoising_strength" and self._portable.wants_no_hires
            if content.get(field) not in (None, "", []) and not no_hires:
                self._warnings.append(f"{field}: has no meaning for text-to-image; ignored.")

    def asked(self, outputs: tuple[str, ...]) -> AskedTensors:
        """A request for each image, or one where the model makes several."""
        portable = self._portable
        count = portable.image_count
        if count > 1 and "batch_size" in self._roles:
            spec = self._model.inputs[self._roles["batch_size"]]
            self._tensors.append(_values_tensor(spec, count, "batch_size"))
            count = 1
        requests = (tuple(self._tensors),) * count
        seeds: tuple[int | None, ...] = (None,) * count
        if name := self._roles.get("seed"):
            spec = self._model.inputs[name]
            first = portable.seed if portable.seed >= 0 else secrets.randbelow(_SEEDS - count)
            drawn = range(first, first + count)
            requests = tuple((*self._tensors, _values_tensor(spec, one, "seed")) for one in drawn)
            seeds = (*drawn,)
        elif portable.seed >= 0:
            self._ignore("seed")
        self._warn_of_the_rest()
        _check_required(self._model, requests[0])
        return AskedTensors(requests, seeds, outputs, tuple(self._warnings))

    def _warn_of_the_rest(self) -> None:
        if self._portable.loras:
            self._ignore("loras")
        upscaling = {"upscaling_resize", "upscaler_1"} & self._portable.model_fields_set
        for field in sorted({*upscaling, *self._portable.unknown_fields}):
            self._ignore(field)

    def _ignore(self, field: str) -> None:
        self._warnings.append(f"{field}: the model {self._model.name} has no such input; ignored.")


def _check_required(model: InferenceModel, given: Sequence[InputTensor]) -> None:
    """Triton itself counts the inputs, and runs the model without one that it needs."""
    if missing := sorted(model.required - {tensor.name for tensor in given}):
        raise _wrong(f"The model {model.name} needs {', '.join(missing)}, which the job lacks")


def _outputs(model: InferenceModel, options: TritonOptions) -> tuple[str, ...]:
    name = image_output(model.outputs, options.output)
    if name is None:
        raise Rejected(
            f"The model {model.name!r} has no output for images, by its name; it has: "
            f"{', '.join(model.outputs) or 'none'}.",
            type="unknown_model",
        )
    return (name,)


def _input(model: InferenceModel, name: str) -> TensorSpec:
    try:
        return model.inputs[name]
    except KeyError:
        raise _wrong(
            f"{TENSORS}: the model {model.name} has no input {name!r}; it has: "
            f"{', '.join(model.inputs)}"
        ) from None


def _images(fields: Iterable[tuple[Path, JsonValue]], assets: Assets) -> list[Asset]:
    images = []
    for path, value in fields:
        if not isinstance(value, str):
            raise _wrong(f"{_spelled(path)}: must be a text")
        images.append(image_asset(value, assets, field=_spelled(path)))
    return images


async def _image_tensor(spec: TensorSpec, images: list[Asset], field: str) -> InputTensor:
    """By the input's datatype: files, or the pixels of one."""
    if spec.datatype == BYTES:
        return files_tensor(spec, images)
    if len(images) != 1:
        raise _wrong(f"{field}: the model takes one image")
    shape, data = await asyncio.to_thread(as_pixels, images[0], spec.shape, spec.datatype, field)
    return InputTensor(spec.name, spec.datatype, tuple(shape), (data,))


def _values_tensor(spec: TensorSpec, value: JsonValue, field: str) -> InputTensor:
    try:
        return values_tensor(spec, value)
    except ValueError as error:
        raise _wrong(f"{field}: {error}") from error


def _wrong(reason: str) -> Rejected:
    return Rejected(f"{reason}.", type="invalid_content")
