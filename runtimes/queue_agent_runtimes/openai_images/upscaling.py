"""From a job that makes an image larger to the bundled runtime's request."""

from collections.abc import Mapping
from typing import Final

from pydantic import JsonValue

from queue_agent.runtime import ModelUse
from queue_agent.wire.portable import parse_portable

UPSCALING: Final = "extra-single-image"
PATH: Final = "/v1/images/upscales"
_PLAIN: Final = "lanczos"
_OF_THE_SERVER: Final = ("num_inference_steps", "guidance_scale", "output_format")
"""The server's own names for what goes to it as it is."""


def translate_upscaling(
    content: Mapping[str, JsonValue],
) -> tuple[dict[str, JsonValue], list[str]]:
    """The request's fields without the file, and a warning for each that is not honoured.

    Raises:
        Rejected: a field has a wrong type or is out of range (type ``invalid_content``).
    """
    others = (*_OF_THE_SERVER, "image")
    portable = parse_portable(
        {name: value for name, value in content.items() if name not in others}
    )
    request: dict[str, JsonValue] = {
        "response_format": "b64_json",
        "upscaler": portable.upscaler_1,
        "scale": portable.upscaling_resize,
    }
    warnings = [
        f"{name}: the runtime has no such field; ignored." for name in portable.unknown_fields
    ]
    if portable.upscaler_1 == "None":
        request["upscaler"] = _PLAIN
        warnings.append("upscaler_1: none is named; the image was resized without a model.")
    if portable.prompt:
        request["prompt"] = portable.prompt
    if portable.negative_prompt:
        request["negative_prompt"] = portable.negative_prompt
    if portable.seed >= 0:
        request["seed"] = portable.seed
    asked = portable.model_fields_set
    if "steps" in asked:
        request["num_inference_steps"] = portable.steps
    if "cfg_scale" in asked:
        request["guidance_scale"] = portable.cfg_scale
    request.update({name: content[name] for name in _OF_THE_SERVER if name in content})
    return request, warnings


def upscaler_of(request: Mapping[str, JsonValue]) -> ModelUse:
    """What a request has the server load, which resizes without a model, too."""
    name = str(request["upscaler"])
    return ModelUse() if name.casefold() == _PLAIN else ModelUse.named([name])
