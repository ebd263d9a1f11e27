"""Portable jobs as inputs of the operator's workflow that is the answer to them. Pure functions.

A field of the portable form goes to the input of its name; the image to start from (or to
upscale) goes to `image`. What a job leaves out is the workflow's own, whatever the form's default.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from pydantic import JsonValue

from queue_agent.runtime import InputKind
from queue_agent.wire.portable import PortableContent
from queue_agent.wire.samplers import choose, find_sampler
from queue_agent_runtimes.comfyui.builder import split_lora_tags
from queue_agent_runtimes.comfyui.operator_workflow import SEED, OperatorWorkflow

MODEL: Final = "model"

KINDS: Final[dict[str, InputKind]] = {
    "prompt": "text",
    "negative_prompt": "text",
    SEED: "number",
    "steps": "number",
    "cfg_scale": "number",
    "width": "number",
    "height": "number",
    "batch_size": "number",
    "n_iter": "number",
    "denoising_strength": "number",
    "upscaling_resize": "number",
    "upscaler_1": "text",
    "sampler_name": "text",
    "scheduler": "text",
    MODEL: "text",
    "image": "image",
    "mask": "image",
    "seconds": "number",
    "fps": "number",
    "frames": "number",
    "guidance_scale": "number",
    "first_frame": "image",
    "last_frame": "image",
}
"""What inputs must hold that are called like fields of the portable form."""

_AS_THEY_ARE: Final = (KINDS.keys() & PortableContent.model_fields.keys()) - {
    "prompt",
    "sampler_name",
    "scheduler",
    MODEL,
    "image",
    "mask",
}
_ASKS_FOR_NOTHING: Final[dict[str, JsonValue]] = {
    "negative_prompt": "",
    SEED: -1,
    "batch_size": 1,
    "n_iter": 1,
    "upscaler_1": "None",
}


@dataclass(frozen=True)
class PortableInputs:
    """What a portable job gives to a workflow, without its files."""

    inputs: dict[str, JsonValue]
    warnings: tuple[str, ...]


def portable_inputs(own: OperatorWorkflow, content: PortableContent) -> PortableInputs:
    """The inputs that a portable job gives, and warnings of all that it asks for in vain."""
    prompt, loras = split_lora_tags(content)
    given: dict[str, JsonValue] = {}
    if prompt or "prompt" in own.inputs:
        given["prompt"] = prompt
    for name in sorted(_AS_THEY_ARE & content.model_fields_set):
        value: JsonValue = getattr(content, name)
        if name in own.inputs or value != _ASKS_FOR_NOTHING.get(name):
            given[name] = value
    if content.checkpoint:
        given[MODEL] = content.checkpoint
    warnings = [*_sampling(own, content, given)]
    warnings += [
        not_taken(own, name, "; it has its own") for name in given if name not in own.inputs
    ]
    if loras:
        warnings.append(not_taken(own, "loras", "; none was applied"))
    extras: dict[str, JsonValue] = dict(content.model_extra or {})
    given |= {
        name: value
        for name, value in extras.items()
        if name in own.inputs and not own.inputs[name].media
    }
    warnings += [not_taken(own, name) for name in content.unknown_fields if name not in own.inputs]
    return PortableInputs(
        {name: value for name, value in given.items() if name in own.inputs}, tuple(warnings)
    )


def not_taken(own: OperatorWorkflow, name: str, but: str = "") -> str:
    """The warning of a field that the workflow does not expose."""
    return f"{name[:100]}: the workflow {own.name} does not take it{but}"


def _sampling(
    own: OperatorWorkflow, content: PortableContent, given: dict[str, JsonValue]
) -> Iterator[str]:
    """Adds sampler and schedule in ComfyUI's words, where the job names them."""
    choice = choose(content.sampler_name, content.scheduler)
    if content.sampler_name:
        sampler = choice.sampler.comfyui if choice.sampler else content.sampler_name
        if sampler is None:
            yield f"sampler_name: ComfyUI has no {content.sampler_name!r}; {own.name} has its own"
        else:
            given["sampler_name"] = sampler
    named = content.scheduler or (content.sampler_name and not find_sampler(content.sampler_name))
    schedule = choice.schedule.comfyui if choice.schedule else choice.unknown_schedule
    if named and schedule:
        given["scheduler"] = schedule
    elif content.scheduler and choice.schedule:
        yield f"scheduler: ComfyUI has no {content.scheduler!r}; {own.name} has its own"
