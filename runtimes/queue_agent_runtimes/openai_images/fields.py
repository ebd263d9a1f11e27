"""From a job's content to the fields of the request: pure functions."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pydantic import JsonValue

from queue_agent.runtime import OWN, ModelUse
from queue_agent.wire.errors import Rejected
from queue_agent.wire.portable import Lora, PortableContent, parse_portable
from queue_agent.wire.quality import QUALITIES, parse_quality
from queue_agent.wire.samplers import choose, find_sampler
from queue_agent_runtimes.openai_images.conditions import CONDITIONS

IMAGE_TO_IMAGE: Final = "image-to-image"
_NATIVE: Final = frozenset(
    {
        "background",
        "diffusers_kwargs",
        "extra_params",
        "flow_shift",
        "generator_device",
        "guidance_scale",
        "layers",
        "lora",
        "max_sequence_length",
        "n",
        "num_inference_steps",
        "output_compression",
        "output_format",
        "quality",
        "size",
        "strength",
        "style",
        "true_cfg_scale",
        "user",
    }
)
"""The dialect's own names for what goes to the server as it is."""
_FIXED: Final[Mapping[str, JsonValue]] = {"response_format": "b64_json", "stream": False}
"""What the agent decides, and a job can therefore not."""


@dataclass(frozen=True)
class Dialect:
    """What a server understands beyond the common ground."""

    schedulers: bool
    """Whether `scheduler` takes the names of `queue_agent.wire.samplers`."""
    edits_for_sure: bool
    """Whether `strength` and `mask` are known to be honoured."""
    loras: bool
    """Whether `loras` takes names and scales for one request."""
    conditions: bool = False
    """Whether `controls` and `ip_adapters` name what leads the request beside its prompt."""
    qualities: bool = False
    """Whether `quality` takes the words of `queue_agent.wire.quality`."""
    one_lora: bool = False
    """Whether `lora` takes one, as vLLM-Omni has it."""


COMMON: Final = Dialect(schedulers=False, edits_for_sure=False, loras=False)
BUNDLED: Final = Dialect(
    schedulers=True,
    edits_for_sure=True,
    loras=True,
    conditions=True,
    qualities=True,
)


def translate(
    content: Mapping[str, JsonValue],
    task_type: str,
    dialect: Dialect,
    *,
    switch_models: bool = True,
) -> tuple[dict[str, JsonValue], list[str]]:
    """The request's fields without the files, and a warning for each that is not honoured.

    Raises:
        Rejected: a field has a wrong type or is out of range (type ``invalid_content``).
    """
    others = {*_NATIVE, "image", *(CONDITIONS if dialect.conditions else ())}
    portable = parse_portable(
        {name: value for name, value in content.items() if name not in others}
    )
    request: dict[str, JsonValue] = {
        "prompt": portable.prompt,
        "response_format": "b64_json",
        **_portable_fields(portable),
    }
    warnings = _common_warnings(portable)
    if portable.loras and dialect.loras:
        request["loras"] = [{"name": lora.name, "scale": lora.weight} for lora in portable.loras]
    elif portable.loras and dialect.one_lora:
        request["lora"] = lora_object(portable.loras[0])
        if len(portable.loras) > 1:
            warnings.append("loras: the server takes one a request; only the first is used.")
    elif portable.loras:
        warnings.append("loras: the runtime loads none for a job; ignored.")
    if portable.checkpoint and switch_models:
        request["model"] = portable.checkpoint
    elif portable.checkpoint:
        warnings.append("model: the operator does not allow jobs to choose it; ignored.")
    if portable.sampler_name or portable.scheduler:
        name, complaints = _sampler(portable) if dialect.schedulers else (None, [_NO_SAMPLERS])
        warnings += complaints
        if name:
            request["scheduler"] = name
    fields, complaints = _edit_fields(portable, content, task_type, dialect)
    request.update(fields)
    warnings += complaints
    request.update({name: content[name] for name in _NATIVE & set(content)})
    warnings += _check_quality(request, dialect)
    return request, warnings


def use_of(request: Mapping[str, JsonValue]) -> ModelUse:
    """What a request has the server load."""
    model, loras, one = (request.get(name) for name in ("model", "loras", "lora"))
    entries = [*(loras if isinstance(loras, list) else []), one]
    names = [entry.get("name") for entry in entries if isinstance(entry, dict)]
    return ModelUse.named(
        [model if isinstance(model, str) else OWN],
        [name for name in names if isinstance(name, str)],
    )


def _check_quality(request: dict[str, JsonValue], dialect: Dialect) -> list[str]:
    """Of the portable form's words, which other servers do not have; theirs go as they are.

    Raises:
        Rejected: the bundled runtime has no such quality (type ``invalid_content``).
    """
    asked = request.get("quality")
    if dialect.qualities:
        try:
            parse_quality(asked)
        except ValueError as error:
            raise Rejected(f"quality: {error}.", type="invalid_content") from error
        return []
    if asked not in QUALITIES:
        return []
    del request["quality"]
    return [] if asked == "exact" else ["quality: the server computes each step; ignored."]


def lora_object(lora: Lora) -> dict[str, JsonValue]:
    """A LoRA as vLLM-Omni names one: `path` is a folder that the server finds by itself.

    Raises:
        Rejected: the name is a path, which leads to more than the server's LoRAs.
    """
    if lora.name.startswith(("~", ".")) or "/" in lora.name:  # of a hub's repository, too
        raise Rejected("loras: a name, and no path.", type="invalid_content")
    return {"name": lora.name, "path": lora.name, "scale": lora.weight}


_NO_SAMPLERS: Final = (
    "sampler_name, scheduler: the server takes none from a request; its own are used."
)


def _portable_fields(portable: PortableContent) -> dict[str, JsonValue]:
    """The fields that any server of the dialect knows, as far as the publisher set them."""
    asked = portable.model_fields_set
    fields: dict[str, JsonValue] = {}
    if portable.negative_prompt:
        fields["negative_prompt"] = portable.negative_prompt
    if portable.image_count > 1:
        fields["n"] = portable.image_count
    if asked & {"width", "height"}:
        fields["size"] = f"{portable.width}x{portable.height}"
    if "steps" in asked:
        fields["num_inference_steps"] = portable.steps
    if "cfg_scale" in asked:
        fields["guidance_scale"] = portable.cfg_scale
    if portable.seed >= 0:
        fields["seed"] = portable.seed
    return fields


def _common_warnings(portable: PortableContent) -> list[str]:
    upscaling = {"upscaling_resize", "upscaler_1"} & portable.model_fields_set
    extras = portable.model_extra or {}
    unknown = [
        name
        for name in portable.unknown_fields
        if name not in _FIXED or extras[name] != _FIXED[name]
    ]
    names = sorted({*upscaling, *unknown})
    return [f"{name}: the runtime has no such field; ignored." for name in names]


def _edit_fields(
    portable: PortableContent,
    content: Mapping[str, JsonValue],
    task_type: str,
    dialect: Dialect,
) -> tuple[dict[str, JsonValue], list[str]]:
    edits = task_type == IMAGE_TO_IMAGE
    given = [
        name
        for name in ("init_images", "image", "mask", "denoising_strength")
        if content.get(name) not in (None, "", [])
    ]
    if not edits:
        if portable.wants_no_hires:
            given = [name for name in given if name != "denoising_strength"]
        return {}, [f"{name}: has no meaning for {task_type}; ignored." for name in given]
    fields: dict[str, JsonValue] = {}
    if portable.denoising_strength is not None:
        fields["strength"] = portable.denoising_strength
    if dialect.edits_for_sure:
        return fields, []
    sent_as = {"denoising_strength": "strength", "mask": "mask"}
    return fields, [
        f"{name}: sent as {sent_as[name]!r}, which not every server of this kind reads."
        for name in given
        if name in sent_as
    ]


def _sampler(portable: PortableContent) -> tuple[str | None, list[str]]:
    """One name for sampler and schedule, as the bundled runtime takes it."""
    sampler_name, schedule_name = portable.sampler_name, portable.scheduler
    if not sampler_name and schedule_name and find_sampler(schedule_name):
        sampler_name, schedule_name = schedule_name, None  # diffusers' own use of the word
    choice = choose(sampler_name, schedule_name)
    warnings = []
    if choice.unknown_schedule:
        warnings.append(f"scheduler: {choice.unknown_schedule!r} is not known; ignored.")
    if choice.sampler is None or choice.sampler.diffusers is None:
        warnings.append(f"sampler_name: {sampler_name!r} is not known to diffusers; ignored.")
        return None, warnings
    name = choice.sampler.webui or choice.sampler.diffusers
    if choice.schedule and choice.schedule.diffusers is None:
        warnings.append(f"scheduler: {choice.schedule.webui!r} is not known to diffusers; ignored.")
    elif choice.schedule:
        name = f"{name} {choice.schedule.webui}"
    return name, warnings
