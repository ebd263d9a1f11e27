"""From the Web UI's answers to artifacts and errors."""

import re
from collections.abc import Mapping
from typing import Final

from pydantic import JsonValue

from queue_agent.media.facts import kind_of
from queue_agent.runtime import Artifact, ArtifactRole, Asset, Output
from queue_agent.runtime.failures import is_beyond_repair, is_out_of_memory
from queue_agent.runtime.http import Response, error_from, parse_json, words_of
from queue_agent.runtime.images import decode_images, is_withheld
from queue_agent.wire.errors import QueueAgentError, Rejected, RuntimeSick, Unavailable
from queue_agent_runtimes.webui.comparison import differences, upscaling_differences
from queue_agent_runtimes.webui.fields import JsonObject
from queue_agent_runtimes.webui.request import without_images

_FAULT_OF_THE_JOB: Final = re.compile(
    r"invalid encoded image|invalid image url|request to local resource|requests not allowed"
    r"|init image not found|image not found|sampler not found|scheduler not found"
    r"|script .*not found|selectable script in the always on|could not find upscaler"
    r"|could not find checkpoint with name|cannot identify image file|image file is truncated"
    r"|bad number of images passed|number of steps must be non-negative"
    r"|overflow when unpacking long long|could not convert string to float"
    r"|kernel size can't be greater than actual input|negative dimension"
    r"|unknown prompt type|missing \d+ required positional argument"
    r"|prompt s/r did not find|resulting grid would be too large"
    r"|unknown (?:sampler|scheduler|upscaler|face restorer|vae|style)\b"
    r"|changing settings is disabled|with --freeze-s"
    r"|isinstance\(\) argument 2 cannot be a parameterized generic|validation error for ResProcess",
    re.IGNORECASE,
)
"""What a 500 says when another try cannot help."""
_OF_THE_GPU: Final = frozenset({"RuntimeError", "AcceleratorError", ""})
"""Exceptions of torch and its libraries; others may repeat what was asked for."""
_UNKNOWN_MODEL: Final = re.compile(r"model '.*' not found|unknown checkpoint", re.IGNORECASE)


async def output_of(
    answer: JsonObject, request: Mapping[str, JsonValue], warnings: tuple[str, ...]
) -> Output:
    """The artifacts of a successful answer to a request.

    Raises:
        Unavailable: the answer has not the API's form, or fewer images than it should (type
            ``invalid_answer``).
        Rejected: all of them were withheld (type ``withheld``).
    """
    encoded = answer.get("images", [answer.get("image")])
    if not isinstance(encoded, list):
        raise Unavailable("The runtime's answer has no images.", type="invalid_answer")
    info = _info(answer.get("info"))
    there = [
        (place, text)
        for place, text in enumerate(encoded)
        if text or not (is_withheld(answer, place) or is_withheld(info, place))
    ]
    images = await decode_images(text for _, text in there)
    artifacts = tuple(
        _artifact(image, place, info) for (place, _), image in zip(there, images, strict=True)
    )
    if encoded and not artifacts:
        raise Rejected("The runtime withheld all images.", type="withheld")
    response = {name: value for name, value in answer.items() if name not in {"images", "image"}}
    if "info" in response:
        response["info"] = info
    if "parameters" in response:
        response["parameters"] = without_images(response["parameters"])
    made = sum(artifact.role == "output" for artifact in artifacts)
    words = _shortfall(request, made, _expected(request, info), len(encoded) - len(there))
    if "info" in response:
        found = differences(request, answer.get("parameters"), info, artifacts)
    else:
        found = upscaling_differences(request, artifacts)
    return Output(artifacts, response, (*warnings, *filter(None, [words]), *found))


def error_of(answer: Response, request: Mapping[str, JsonValue] | None = None) -> QueueAgentError:
    """What an unsuccessful answer means, in the server's own words.

    Of a generation's `request`, also what they mean beside it.
    """
    name, words = _error_and_words(answer)
    details: dict[str, JsonValue] = {"status": answer.status, "error": name, "answer": words}
    settings = (request or {}).get("override_settings")
    option = words.strip("'\"")
    if name == "KeyError" and isinstance(settings, dict) and option in settings:
        return Rejected(f"override_settings: the runtime has no option {option!r}", details=details)
    refused = Rejected(f"The runtime refused the job: {words}", details=details)
    if answer.status in {404, 405} and words in {"Not Found", "Method Not Allowed"}:
        return Unavailable(
            "The Web UI has no API: start it with --api.",
            type="runtime_api_missing",
            details=details,
        )
    if answer.status < 500:
        usual = error_from(answer)
        return refused if isinstance(usual, Rejected) else usual
    if _UNKNOWN_MODEL.search(words):
        return Rejected(words, type="unknown_model", details=details)
    return refused if _FAULT_OF_THE_JOB.search(words) else _failure(answer, name, words)


def _failure(answer: Response, name: str, words: str) -> Unavailable:
    """What lies in the server or its GPU, and not in the job."""
    details: JsonObject = {"status": answer.status, "error": name, "answer": words}
    later = answer.retry_after
    if name == "OutOfMemoryError" or is_out_of_memory(words):
        return Unavailable(
            f"The GPU ran out of memory: {words}",
            type="out_of_memory",
            details=details,
            retry_after=later,
        )
    if name in _OF_THE_GPU and is_beyond_repair(words):
        return RuntimeSick(f"The runtime is beyond repair: {words}", details=details)
    return Unavailable(f"The runtime failed: {words}", details=details, retry_after=later)


def _error_and_words(answer: Response) -> tuple[str, str]:
    """The exception's class and text, of `{"error", "detail", "body", "errors"}`."""
    try:
        value = parse_json(answer.body)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        return "", words_of(answer)
    text = value.get("detail") or value.get("errors")
    return str(value.get("error", "")), text if isinstance(text, str) else words_of(answer)


def _info(text: JsonValue) -> JsonObject:
    """`info` is a JSON text; anything else counts as no information."""
    if not isinstance(text, str):
        return {}
    try:
        value = parse_json(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _artifact(image: Asset, place: int, info: JsonObject) -> Artifact:
    if kind_of(image.media_type) not in {"image", "video"}:
        raise Unavailable(f"Image {place + 1} of the answer is none.", type="invalid_answer")
    role, number = _role(place, info)
    seed = _item(info.get("all_seeds"), number) if role == "output" else None
    infotext = _item(info.get("infotexts"), place) if role != "extra" else None
    return Artifact(
        image.content,
        image.media_type,
        seed=seed if isinstance(seed, int) else None,
        info=infotext if isinstance(infotext, str) else None,
        role=role,
    )


def _role(place: int, info: JsonObject) -> tuple[ArtifactRole, int]:
    """Grids come first, by-products such as ControlNet's detected maps after the images."""
    first = info.get("index_of_first_image")
    number = place - (first if isinstance(first, int) else 0)
    if number < 0:
        return "grid", number
    seeds = info.get("all_seeds")
    if isinstance(seeds, list) and number >= len(seeds):
        return "extra", number
    return "output", number


def _item(values: JsonValue, number: int) -> JsonValue:
    return values[number] if isinstance(values, list) and 0 <= number < len(values) else None


def _expected(request: Mapping[str, JsonValue], info: JsonObject) -> int:
    """How many images there should be at least."""
    seeds, inputs = info.get("all_seeds"), request.get("imageList")
    if isinstance(inputs, list):
        return len(inputs)
    asked = 1
    for name in ("batch_size", "n_iter"):
        number = request.get(name)
        asked *= number if isinstance(number, int) else 1
    if not isinstance(seeds, list):
        return asked
    scripted = request.get("script_name") or request.get("alwayson_scripts")
    return len(seeds) if scripted else max(len(seeds), asked)


def _shortfall(request: Mapping[str, JsonValue], made: int, expected: int, withheld: int) -> str:
    """Words for images that are not there, where that may be."""
    if made >= expected:
        return ""
    words = f"The runtime made {made} of {expected} images."
    if made + withheld < expected and not request.get("script_name"):
        raise Unavailable(words, type="invalid_answer")
    return words
