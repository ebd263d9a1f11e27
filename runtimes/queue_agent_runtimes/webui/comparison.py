"""Whether what came back is what was asked for: warnings, in words.

The Web UI takes another thing without a word in the place of much that it cannot do. Its answer
repeats the request as it was understood, and `info` says what was used (`tests/recordings`).
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from pydantic import JsonValue

from queue_agent.media.facts import UnreadableImage, facts_of
from queue_agent.runtime import Artifact
from queue_agent_runtimes.webui.fields import JsonObject
from queue_agent_runtimes.webui.forks import is_other_sampler

Request = Mapping[str, JsonValue]

_NONE: Final = (None, "", "None")
_STEP: Final = 8
"""Of which sides are multiples."""
_CLIP_LAYERS: Final = "CLIP_stop_at_last_layers"
_TOLD_OTHERWISE: Final = frozenset({"force_task_id", "sampler_index", "scheduler"})
"""Fields that what is repeated may lack, on older versions."""


def differences(
    request: Request, parameters: JsonValue, info: JsonObject, artifacts: Sequence[Artifact]
) -> list[str]:
    """What of a request of txt2img or img2img was not done as asked."""
    found = [*_unknown_fields(request, parameters)]
    if not request.get("script_name"):  # scripts may change all of this, and say so
        found += [*_of_names(request, info), *_of_models(request, info)]
        found += [*_of_effects(request, info)]
        found += _of_sizes(request, artifacts)
    if request.get("script_args") and not request.get("script_name"):
        found.append("script_args: no script is named that would take them")
    return found


def upscaling_differences(request: Request, artifacts: Sequence[Artifact]) -> list[str]:
    """What of a request of the extras was not done as asked."""
    to_size = request.get("resize_mode") == 1
    enlarged = to_size or request.get("upscaling_resize", 2) != 1
    if request.get("upscaler_1") in _NONE:
        restored = request.get("gfpgan_visibility") or request.get("codeformer_visibility")
        asked = "upscaling_resize" in request or to_size
        if enlarged and (asked or not restored):
            return ["upscaler_1: none is named, so that the image was not enlarged"]
    elif to_size:
        return [*_wrong_size(request, "upscaling_resize_w", "upscaling_resize_h", artifacts)]
    return []


def _unknown_fields(request: Request, parameters: JsonValue) -> Iterator[str]:
    if not isinstance(parameters, dict) or "prompt" not in parameters:
        return
    for name in request:
        if name not in parameters and name not in _TOLD_OTHERWISE:
            yield f"{name}: the runtime does not know this field"


def _of_names(request: Request, info: JsonObject) -> Iterator[str]:
    used, asked = info.get("sampler_name"), request.get("sampler_name")
    schedule, used_schedule = request.get("scheduler"), _said(info, "Schedule type")
    if not isinstance(used, str):
        return
    used_class = _said(info, "Scheduler")
    if isinstance(asked, str) and is_other_sampler(asked, used_class):
        yield f"sampler_name: {asked!r} was asked for, {used_class} was taken"
    elif isinstance(asked, str) and not _same_sampler(asked, used):
        yield f"sampler_name: {asked!r} was asked for, {used!r} was taken"
    if not isinstance(schedule, str) or schedule.casefold() == "automatic":
        return
    if used_schedule is None:
        yield f"scheduler: the runtime does not say that it took {schedule!r}"
    elif not _same(schedule, used_schedule):
        yield f"scheduler: {schedule!r} was asked for, {used_schedule!r} was taken"


def _same_sampler(asked: str, used: str) -> bool:
    """Old names hold the schedule, which newer versions say apart."""
    return _same(asked, used) or asked.casefold().startswith(f"{used.casefold()} ")


def _same(one: str, other: str) -> bool:
    return one.casefold().replace("_", " ") == other.casefold().replace("_", " ")


def _said(info: JsonObject, label: str) -> str | None:
    """What the image's infotext says under a label."""
    infotexts = info.get("infotexts")
    text = infotexts[-1] if isinstance(infotexts, list) and infotexts else None
    last = text.rpartition("\n")[2] if isinstance(text, str) else ""
    _, found, rest = f", {last}".partition(f", {label}: ")
    return rest.partition(",")[0].strip() if found else None


def _of_models(request: Request, info: JsonObject) -> Iterator[str]:
    settings = request.get("override_settings")
    wanted = settings.get("sd_model_checkpoint") if isinstance(settings, dict) else None
    name = info.get("sd_model_name") or _said(info, "Model")  # as SD.Next tells it
    checksum = info.get("sd_model_hash")
    if isinstance(wanted, str) and isinstance(name, str) and name:
        known = [name, checksum] if isinstance(checksum, str) and checksum else [name]
        if not any(part in wanted or wanted in part for part in known):
            yield f"override_settings: the checkpoint {wanted!r} was asked for, {name!r} was taken"
    refiner = request.get("refiner_checkpoint")
    if info.get("infotexts") and refiner not in _NONE and _said(info, "Refiner") is None:
        yield "refiner_checkpoint: the runtime does not say that it took it"


def _of_effects(request: Request, info: JsonObject) -> Iterator[str]:
    """What forks take and do not heed: SD.Next most of the options, Forge's version 2 tiles."""
    settings, used = request.get("override_settings"), info.get("clip_skip")
    layers = settings.get(_CLIP_LAYERS) if isinstance(settings, dict) else None
    if isinstance(layers, int | float) and isinstance(used, int | float) and layers != used:
        yield f"override_settings.{_CLIP_LAYERS}: {layers:g} was asked for, {used:g} was taken"
    if request.get("tiling") and str(info.get("version", "")).startswith("f2."):
        yield "tiling: the runtime takes it and makes no tiles"


def _of_sizes(request: Request, artifacts: Sequence[Artifact]) -> Iterator[str]:
    """1.10.1 cuts sides to multiples of 8, though its infotext says the size asked for."""
    if request.get("mask"):  # of a size that follows from others
        return
    if request.get("enable_hr"):
        yield from _not_enlarged(request, artifacts)
        return
    yield from _wrong_size(request, "width", "height", artifacts)


def _not_enlarged(request: Request, artifacts: Sequence[Artifact]) -> Iterator[str]:
    """SD.Next leaves it, where its upscaler does not go with the model."""
    width, scale = request.get("width"), request.get("hr_scale", 2)
    target = request.get("hr_resize_x") or request.get("hr_resize_y")
    if target or not isinstance(width, int) or not isinstance(scale, int | float) or scale <= 1:
        return
    for artifact in artifacts:
        try:
            made = facts_of(artifact).width if artifact.role == "output" else None
        except UnreadableImage:  # whoever stores it says so
            continue
        if made is not None and made < width * scale - 2 * _STEP:
            yield f"enable_hr: {scale:g} times {width} pixels were asked for, the image has {made}"
            return


def _wrong_size(
    request: Request, width: str, height: str, artifacts: Sequence[Artifact]
) -> Iterator[str]:
    asked = request.get(width), request.get(height)
    if not all(isinstance(side, int) for side in asked):
        return
    for artifact in artifacts:
        if artifact.role != "output":
            continue
        try:
            facts = facts_of(artifact)
        except UnreadableImage:  # whoever stores it says so
            continue
        if facts.width and (facts.width, facts.height) != asked:
            came = f"{facts.width}x{facts.height}"
            yield f"{width}, {height}: {asked[0]}x{asked[1]} was asked for, the image is {came}"
            return
