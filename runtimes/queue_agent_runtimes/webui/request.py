"""From a job to the Web UI's request: pure functions.

Native fields pass untouched, unknown ones too, but for nulls, which count as absent. Taken out are
`model` and `loras` (the portable form's own) and the routing fields that v1alpha1 of AWS's guidance
keeps in `alwayson_scripts`. Defaults are said, since forks have others.
"""

import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from pydantic import JsonValue, TypeAdapter, ValidationError
from pydantic_core import to_json

from queue_agent.runtime import Asset, Assets, Reference, is_url
from queue_agent.runtime.http import Base64, Body, Part
from queue_agent.wire.errors import Rejected
from queue_agent.wire.job import Job, describe_errors
from queue_agent.wire.output import OutputOptions, webui_encoding
from queue_agent.wire.portable import DEFAULT_DENOISING_STRENGTH, Lora
from queue_agent.wire.samplers import DEFAULT_SAMPLER
from queue_agent_runtimes.webui.fields import (
    JsonObject,
    check_generation,
    check_upscaling,
    without_nulls,
)
from queue_agent_runtimes.webui.saving import without_saving

Path = tuple[str | int, ...]

ROUTES: Final = {
    "text-to-image": "/sdapi/v1/txt2img",
    "image-to-image": "/sdapi/v1/img2img",
    "extra-single-image": "/sdapi/v1/extra-single-image",
    "extra-batch-images": "/sdapi/v1/extra-batch-images",
}
GENERATIONS: Final = frozenset({"text-to-image", "image-to-image"})

_ROUTING_FIELDS: Final = (
    "task",
    "id_task",
    "uid",
    "save_dir",
    "sd_model_checkpoint",
    "sd_vae",
    "image_link",
    "override_settings",
)
PLAIN_UPSCALER: Final = "Lanczos"
"""What enlarges where no upscaler is named, as on other runtimes."""
_DEFAULTS: Final[JsonObject] = {
    "steps": 50,
    "cfg_scale": 7.0,
    "width": 512,
    "height": 512,
    "batch_size": 1,
    "n_iter": 1,
    "seed": -1,
}
"""Of the portable form, which are those of 1.10.1; forks have others."""
_DEFAULTS_OF_IMAGES: Final[JsonObject] = {"denoising_strength": DEFAULT_DENOISING_STRENGTH}
_DEFAULTS_OF_MASKS: Final[JsonObject] = {
    "inpaint_full_res": True,
    "inpainting_fill": 0,
    "mask_blur": 4,
}
_CONTROL_IMAGES: Final = ("image", "mask", "input_image")
_LORAS: Final = TypeAdapter(list[Lora])


@dataclass(frozen=True)
class Translated:
    """The request, except that the checkpoint's name is still as the publisher wrote it."""

    route: str
    request: JsonObject
    checkpoint: str | None
    warnings: tuple[str, ...]
    output: OutputOptions | None = None
    """How the images are to be encoded, where the job says so."""


def references(job: Job) -> Iterator[Reference]:
    """The URLs in the fields that hold images."""
    for path, value in _image_fields(job.content):
        if isinstance(value, str) and is_url(value):
            yield Reference(value, path)


def translate(job: Job, assets: Assets, *, switch_models: bool) -> Translated:
    """The Web UI's request for a job, with references where `body_of` puts their images.

    Raises:
        Rejected: a field that this function has to understand is wrong.
    """
    request = _copy(job.content)
    _check_references(request, assets)
    shown = without_nulls(request)
    request = shown if isinstance(shown, dict) else {}
    of_generation = job.task_type in GENERATIONS
    translated = _generation if of_generation else _upscaling
    return translated(job.task_type, request, switch_models=switch_models)


def _generation(task_type: str, request: JsonObject, *, switch_models: bool) -> Translated:
    warnings: list[str] = []
    routing = _take_routing_fields(request)
    _place_init_image(request, routing.get("image_link"))
    settings = _settings(request, routing)
    warnings += without_saving(request, settings)
    checkpoint = _checkpoint(request, settings)
    if not switch_models:
        warnings += _without_other_models(request, checkpoint)
        checkpoint = None
    output = _output(settings, warnings)
    if settings or request.get("override_settings"):
        request["override_settings"] = settings
    if request.pop("override_settings_restore_afterwards", True) is False:
        warnings.append("override_settings_restore_afterwards: no job changes the next")
    _append_loras(request)
    of_images = task_type == "image-to-image"
    check_generation(request, of_images=of_images)
    _check_data_urls(request)
    return Translated(ROUTES[task_type], request, checkpoint, tuple(warnings), output)


def _output(settings: JsonObject, warnings: list[str]) -> OutputOptions | None:
    """How the images are to be encoded, taken out: the agent does it, since the Web UI forgets."""
    encoding = webui_encoding(settings)
    for name in encoding.names:
        settings.pop(name)
    warnings += (f"override_settings.{fault}" for fault in encoding.faults)
    return encoding.options


def _upscaling(task_type: str, request: JsonObject, *, switch_models: bool) -> Translated:
    del switch_models
    _place_extra_image(request, _take_routing_fields(request).get("image_link"))
    check_upscaling(request, of_several=task_type == "extra-batch-images")
    _check_data_urls(request)
    warnings: tuple[str, ...] = ()
    restored = request.get("gfpgan_visibility") or request.get("codeformer_visibility")
    if "upscaler_1" not in request and ("upscaling_resize" in request or not restored):
        request["upscaler_1"] = PLAIN_UPSCALER
        warnings = ("upscaler_1: none is named; the image was resized without a model",)
    return Translated(ROUTES[task_type], request, None, warnings)


def with_checkpoint(request: JsonObject, name: str) -> JsonObject:
    """The request with the checkpoint to load; the server's own counts again for the next job."""
    settings = request.get("override_settings")
    known = settings if isinstance(settings, dict) else {}
    return {**request, "override_settings": {**known, "sd_model_checkpoint": name}}


def with_defaults(request: JsonObject, *, of_images: bool) -> JsonObject:
    """The request that says what counts where a field is absent.

    An infotext fills what is absent, so that nothing is said beside one. Images are always asked
    for, and no option outlives its job.
    """
    fixed: JsonObject = {"send_images": True, "override_settings_restore_afterwards": True}
    if request.get("infotext"):
        return {**request, **fixed}
    defaults = dict(_DEFAULTS)
    if not request.get("sampler_index"):
        defaults["sampler_name"] = DEFAULT_SAMPLER.webui
    if of_images:
        defaults |= _DEFAULTS_OF_IMAGES
        defaults |= _DEFAULTS_OF_MASKS if request.get("mask") else {}
    return {**defaults, **request, **fixed}


def body_of(request: JsonObject, assets: Assets) -> Body:
    """The request as it is sent: with the images in the places of their references.

    The places are held open by marks that no publisher can have written, since they are made up
    when the text is known.
    """
    text = _copy(request)
    inputs: list[Asset] = []
    mark = secrets.token_hex(16)
    for path, value in list(_image_fields(text)):
        if isinstance(value, str) and is_url(value):
            _put(text, path, f"{mark}-{len(inputs)}-")
            inputs.append(assets[value])
    first, *others = to_json(text).split(mark.encode())
    parts: list[Part] = [first]
    for piece in others:
        _, number, behind = piece.split(b"-", 2)
        parts += [Base64(inputs[int(number)]), behind]
    return Body(parts, "application/json")


def without_images(parameters: JsonValue) -> JsonValue:
    """The request that the Web UI's answer repeats, without the input images."""
    if not isinstance(parameters, dict):
        return parameters
    shown = _copy(parameters)
    for path, value in list(_image_fields(shown)):
        if isinstance(value, str) and not is_url(value):
            _put(shown, path, None)
    return shown


def _without_other_models(request: JsonObject, checkpoint: str | None) -> list[str]:
    """Take out what would make the server load another model; in words."""
    others = [request.pop(name, None) for name in ("refiner_checkpoint", "hr_checkpoint_name")]
    return [
        f"{name!r} is not loaded: this runtime keeps its checkpoint."
        for name in filter(None, (checkpoint, *others))
    ]


def _check_data_urls(request: JsonObject) -> None:
    for path, value in _image_fields(request):
        is_data_url = isinstance(value, str) and value[:5].lower() == "data:"
        if is_data_url and ";base64," not in str(value)[:200]:
            where = ".".join(map(str, path))
            raise Rejected(f"{where}: a data URL without base64.", type="invalid_content")


def _copy(content: JsonObject) -> JsonObject:
    return {name: _copy_value(value) for name, value in content.items()}


def _copy_value(value: JsonValue) -> JsonValue:
    if isinstance(value, dict):
        return _copy(value)
    if isinstance(value, list):
        return [_copy_value(item) for item in value]
    return value


def _image_fields(content: JsonObject) -> Iterator[tuple[Path, JsonValue]]:
    for name in ("mask", "image"):
        yield (name,), content.get(name)
    for number, image in enumerate(_list(content.get("init_images"))):
        yield ("init_images", number), image
    for number, file in enumerate(_list(content.get("imageList"))):
        if isinstance(file, dict):
            yield ("imageList", number, "data"), file.get("data")
    for name, script in _dict(content.get("alwayson_scripts")).items():
        if name == "image_link":
            yield ("alwayson_scripts", name), script
        elif name.lower() == "controlnet":
            for number, unit in enumerate(_list(_dict(script).get("args"))):
                yield from _unit_images(("alwayson_scripts", name, "args", number), unit)


def _unit_images(path: Path, unit: JsonValue) -> Iterator[tuple[Path, JsonValue]]:
    """A unit's images; older versions nest ``{"image": …, "mask": …}`` in its `image`."""
    for name in _CONTROL_IMAGES:
        value = _dict(unit).get(name)
        if isinstance(value, dict):
            yield from _unit_images((*path, name), value)
        elif value is not None:
            yield (*path, name), value


def _check_references(request: JsonObject, assets: Assets) -> None:
    for path, value in _image_fields(request):
        if isinstance(value, str) and is_url(value) and value not in assets:
            # The Web UI would fetch it itself, from inside the cluster.
            where = ".".join(map(str, path))
            raise Rejected(f"{where}: {value[:200]} was not fetched.", type="invalid_content")


def _put(content: JsonObject, path: Path, value: JsonValue) -> None:
    place: JsonValue = content
    for part in path[:-1]:
        if isinstance(place, dict):
            place = place[str(part)]
        elif isinstance(place, list):
            place = place[int(part)]
    last = path[-1]
    if isinstance(place, dict):
        place[str(last)] = value
    elif isinstance(place, list):
        place[int(last)] = value


def _take_routing_fields(request: JsonObject) -> JsonObject:
    scripts = request.get("alwayson_scripts")
    if not isinstance(scripts, dict):
        return {}
    return {name: scripts.pop(name) for name in _ROUTING_FIELDS if name in scripts}


def _place_init_image(request: JsonObject, link: JsonValue) -> None:
    if isinstance(link, str) and link and not request.get("init_images"):
        request["init_images"] = [link]


def _place_extra_image(request: JsonObject, link: JsonValue) -> None:
    if isinstance(link, str) and link and not request.get("image"):
        request["image"] = link
    if not request.get("alwayson_scripts"):
        request.pop("alwayson_scripts", None)


def _settings(request: JsonObject, routing: JsonObject) -> JsonObject:
    """`override_settings`, with those of the routing fields beneath."""
    given = request.get("override_settings")
    if given is not None and not isinstance(given, dict):
        raise Rejected("override_settings: must be an object.", type="invalid_content")
    settings = {**_dict(routing.get("override_settings")), **(given or {})}
    for name in ("sd_model_checkpoint", "sd_vae"):
        if routing.get(name) and not settings.get(name):
            settings[name] = routing[name]
    return settings


def _checkpoint(request: JsonObject, settings: JsonObject) -> str | None:
    native = settings.pop("sd_model_checkpoint", None)
    wanted = request.pop("model", None) or native or None
    if wanted is not None and not isinstance(wanted, str):
        raise Rejected("The checkpoint's name must be text.", type="invalid_content")
    return wanted


def _append_loras(request: JsonObject) -> None:
    given = request.pop("loras", None)
    if given is None:
        return
    try:
        loras = _LORAS.validate_python(given)
    except ValidationError as error:
        raise Rejected(f"loras: {describe_errors(error)}", type="invalid_content") from error
    prompt = request.get("prompt") or ""
    if not isinstance(prompt, str):
        raise Rejected("prompt: must be text.", type="invalid_content")
    request["prompt"] = " ".join([prompt, *map(_lora_tag, loras)]).strip()


def _lora_tag(lora: Lora) -> str:
    name = re.sub(r"\.(safetensors|ckpt|pt)$", "", lora.name)
    if re.search(r"[<>:]", name):
        raise Rejected(f"loras: {name!r} is no name of a LoRA.", type="invalid_content")
    return f"<lora:{name}:{lora.weight:g}>"


def _dict(value: JsonValue) -> JsonObject:
    return value if isinstance(value, dict) else {}


def _list(value: JsonValue) -> list[JsonValue]:
    return value if isinstance(value, list) else []
