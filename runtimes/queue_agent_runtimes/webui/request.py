"""From a job to the Web UI's request: pure functions.

Native fields pass untouched, unknown ones too. Taken out are `model` and `loras` (the portable
form's own) and the routing fields that v1alpha1 of AWS's guidance keeps in `alwayson_scripts`.
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
from queue_agent.wire.portable import Lora
from queue_agent.wire.samplers import find_sampler, find_schedule
from queue_agent_runtimes.webui.saving import without_saving

JsonObject = dict[str, JsonValue]
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
_CONTROL_IMAGES: Final = ("image", "mask", "input_image")
_LORAS: Final = TypeAdapter(list[Lora])


@dataclass(frozen=True)
class Translated:
    """The request, except that the checkpoint's name is still as the publisher wrote it."""

    route: str
    request: JsonObject
    checkpoint: str | None
    warnings: tuple[str, ...]


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
    warnings: list[str] = []
    checkpoint = None
    if job.task_type in GENERATIONS:
        routing = _take_routing_fields(request)
        _place_init_image(request, routing.get("image_link"))
        settings = _settings(request, routing)
        warnings += without_saving(request, settings)
        checkpoint = _checkpoint(request, settings)
        if checkpoint and not switch_models:
            warnings.append(f"{checkpoint!r} is not loaded: this runtime keeps its checkpoint.")
            checkpoint = None
        if settings or request.get("override_settings"):
            request["override_settings"] = settings
        _append_loras(request)
        _use_own_names(request)
    else:
        _place_extra_image(request, _take_routing_fields(request).get("image_link"))
    return Translated(ROUTES[job.task_type], request, checkpoint, tuple(warnings))


def with_checkpoint(request: JsonObject, name: str) -> JsonObject:
    """The request with the checkpoint to load, which stays loaded unless the job says else."""
    settings = request.get("override_settings")
    known = settings if isinstance(settings, dict) else {}
    return {
        "override_settings_restore_afterwards": False,
        **request,
        "override_settings": {**known, "sd_model_checkpoint": name},
    }


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


def _use_own_names(request: JsonObject) -> None:
    """Say samplers and schedules in the Web UI's words where the table knows them."""
    sampler, schedule = request.get("sampler_name"), request.get("scheduler")
    if isinstance(sampler, str) and (known := find_sampler(sampler)) and known.webui:
        request["sampler_name"] = known.webui
    if isinstance(schedule, str) and (found := find_schedule(schedule)):
        request["scheduler"] = found.webui


def _dict(value: JsonValue) -> JsonObject:
    return value if isinstance(value, dict) else {}


def _list(value: JsonValue) -> list[JsonValue]:
    return value if isinstance(value, list) else []
