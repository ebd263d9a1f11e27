"""What a job says beside its workflow: honoured, or named as what it is not. Pure functions."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final

from pydantic import JsonValue, ValidationError

from queue_agent.runtime import ModelFile, read_model_files
from queue_agent.wire.errors import Rejected
from queue_agent.wire.job import describe_errors
from queue_agent.wire.output import FORMATS, OutputOptions, format_called
from queue_agent.wire.shortening import shortened

Json = dict[str, JsonValue]

INVALID: Final = "invalid_workflow"
_HONOURED: Final = frozenset(
    {
        "prompt",
        "workflow",
        "inputs",
        "extra_data",
        "partial_execution_targets",
        "images",
        "models",
        "convert_output",
    }
)
_WITHOUT_A_WORD: Final = frozenset({"client_id"})
"""Whom events go to is nothing that a job is about."""
_ORDER: Final = "the order of jobs is the agent's; metadata.priority is what it goes by"
_WHY_NOT: Final = {
    "front": _ORDER,
    "number": _ORDER,
    "prompt_id": "the agent gives prompts their ids",
}
_MAX_WARNINGS: Final = 20
_ENCODER: Final = ("quality", "lossless")
"""Options of Salad's encoders that ours have, too."""


@dataclass(frozen=True)
class Beside:
    """The rest of a body of `/prompt`, or of one as RunPod's and Salad's servers take it."""

    inputs: Json = field(default_factory=dict)
    """What to put into nodes, by ``6.text``."""
    extra_data: Json = field(default_factory=dict)
    targets: list[str] | None = None
    """The output nodes that are to be executed; None for all."""
    images: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Base64 or data URLs by the names that inputs call them by."""
    models: tuple[ModelFile, ...] = ()
    """Those that the job brings, with their URLs."""
    output: OutputOptions | None = None
    """How its files are to be delivered."""
    warnings: tuple[str, ...] = ()


def read_beside(body: Mapping[str, JsonValue]) -> Beside:
    """What stands beside the workflow in the body; null is as absent.

    Raises:
        Rejected: it is not of the form that it has to be.
    """
    given = {name: value for name, value in body.items() if value is not None}
    output, unknown = _output(given)
    return Beside(
        inputs=_object(given, "inputs", 'an object such as {"6.text": "a cat"}'),
        extra_data=_object(given, "extra_data", "an object"),
        targets=_targets(given),
        images=_images(given.get("images", [])),
        models=tuple(read_model_files(given.get("models"), "models")),
        output=output,
        warnings=(*unknown, *_not_honoured(given.keys() - _HONOURED - _WITHOUT_A_WORD)),
    )


def _output(given: Mapping[str, JsonValue]) -> tuple[OutputOptions | None, tuple[str, ...]]:
    """Salad's ``convert_output``, and words for what of it is not done.

    https://github.com/SaladTechnologies/comfyui-api: a format, and options of its encoder.
    """
    if "convert_output" not in given:
        return None, ()
    told = _object(given, "convert_output", 'an object such as {"format": "webp"}')
    options = _object(told, "options", "an object") if "options" in told else {}
    known = {name: options[name] for name in _ENCODER if options.get(name) is not None}
    kind = format_called(told.get("format"))
    if kind is None:
        raise Rejected(f"convert_output.format must be one of {', '.join(FORMATS)}.", type=INVALID)
    if kind == "png":
        known.pop("quality", None)  # of its palette there
    try:
        output = OutputOptions.model_validate({"format": kind, **known})
    except ValidationError as error:
        raise Rejected(f"convert_output.options: {describe_errors(error)}", type=INVALID) from error
    others = sorted(options.keys() - set(_ENCODER))[:_MAX_WARNINGS]
    words = (f"convert_output.options.{shortened(name, 100)}" for name in others)
    return output, tuple(f"{name}: has no effect" for name in words)


def _object(given: Mapping[str, JsonValue], name: str, form: str) -> Json:
    value = given.get(name, {})
    if not isinstance(value, dict):
        raise Rejected(f"{name} must be {form}.", type=INVALID)
    return value


def _targets(given: Mapping[str, JsonValue]) -> list[str] | None:
    """The server takes a text letter by letter, and numbers for no node's."""
    if "partial_execution_targets" not in given:
        return None
    targets = given["partial_execution_targets"]
    if not isinstance(targets, list) or not all(isinstance(node, str) for node in targets):
        raise Rejected(
            "partial_execution_targets must be a list of ids of output nodes, as text.",
            type=INVALID,
        )
    return [str(node) for node in targets]


def _images(given: JsonValue) -> dict[str, str]:
    """https://github.com/runpod-workers/worker-comfyui: its ``input.images``."""
    images: dict[str, str] = {}
    for number, image in enumerate(given if isinstance(given, list) else [given]):
        name = image.get("name") if isinstance(image, dict) else None
        data = image.get("image") if isinstance(image, dict) else None
        if not (isinstance(name, str) and name and isinstance(data, str) and data):
            raise Rejected(
                f'images[{number}] must be an object such as {{"name": "in.png", "image": '
                '"base64 or a data URL"}.',
                type=INVALID,
            )
        if images.setdefault(name, data) != data:
            raise Rejected(
                f"images[{number}]: another has the name {shortened(name)}.", type=INVALID
            )
    return images


def _not_honoured(names: Collection[str]) -> tuple[str, ...]:
    words = [
        f"{shortened(name, 100)}: has no effect; {_WHY_NOT[name]}"
        if name in _WHY_NOT
        else f"{shortened(name, 100)}: is not known beside a workflow, and has no effect"
        for name in sorted(names)
    ]
    if len(words) > _MAX_WARNINGS:
        more = len(words) - _MAX_WARNINGS
        words[_MAX_WARNINGS:] = [f"{more} more fields have no effect"]
    return tuple(words)
