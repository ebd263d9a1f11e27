"""From the Web UI's answers to artifacts and errors."""

import re
from typing import Final

from pydantic import JsonValue
from pydantic_core import from_json

from queue_agent.media.facts import kind_of, media_type_of
from queue_agent.runtime import Artifact, ArtifactRole, Output
from queue_agent.runtime.failures import is_beyond_repair, is_out_of_memory
from queue_agent.runtime.http import Response, error_from, words_of
from queue_agent.runtime.images import decode_images
from queue_agent.wire.errors import QueueAgentError, Rejected, RuntimeSick, Unavailable
from queue_agent_runtimes.webui.request import JsonObject, without_images

_FAULT_OF_THE_JOB: Final = re.compile(
    r"invalid encoded image|invalid image url|request to local resource|requests not allowed"
    r"|init image not found|image not found|sampler not found|scheduler not found"
    r"|script .*not found|could not find upscaler|cannot identify image file",
    re.IGNORECASE,
)
"""What a 500 says when another try cannot help."""
_OF_THE_GPU: Final = frozenset({"RuntimeError", "AcceleratorError", ""})
"""Exceptions of torch and its libraries; others may repeat what was asked for."""
_UNKNOWN_MODEL: Final = re.compile(r"model '.*' not found|unknown checkpoint", re.IGNORECASE)


async def output_of(answer: JsonObject, warnings: tuple[str, ...]) -> Output:
    """The artifacts of a successful answer.

    Raises:
        Unavailable: the answer has not the API's form (type ``invalid_answer``).
    """
    encoded = answer.get("images", [answer.get("image")])
    if not isinstance(encoded, list):
        raise Unavailable("The runtime's answer has no images.", type="invalid_answer")
    images = await decode_images(encoded)
    info = _info(answer.get("info"))
    artifacts = tuple(_artifact(data, place, info) for place, data in enumerate(images))
    response = {name: value for name, value in answer.items() if name not in {"images", "image"}}
    if "info" in response:
        response["info"] = info
    if "parameters" in response:
        response["parameters"] = without_images(response["parameters"])
    return Output(artifacts, response, (*warnings, *_shortfall(artifacts, info)))


def error_of(answer: Response) -> QueueAgentError:
    """What an unsuccessful answer means, in the server's own words."""
    name, words = _error_and_words(answer)
    details: dict[str, JsonValue] = {"status": answer.status, "error": name, "answer": words}
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
    return refused if _FAULT_OF_THE_JOB.search(words) else _failure(name, words, details)


def _failure(name: str, words: str, details: JsonObject) -> Unavailable:
    """What lies in the server or its GPU, and not in the job."""
    if name == "OutOfMemoryError" or is_out_of_memory(words):
        return Unavailable(
            f"The GPU ran out of memory: {words}", type="out_of_memory", details=details
        )
    if name in _OF_THE_GPU and is_beyond_repair(words):
        return RuntimeSick(f"The runtime is beyond repair: {words}", details=details)
    return Unavailable(f"The runtime failed: {words}", details=details)


def _error_and_words(answer: Response) -> tuple[str, str]:
    """The exception's class and text, of `{"error", "detail", "body", "errors"}`."""
    try:
        value: JsonValue = from_json(answer.body)
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
        value: JsonValue = from_json(text, allow_inf_nan=False)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _artifact(data: bytes, place: int, info: JsonObject) -> Artifact:
    media_type = media_type_of(data)
    if kind_of(media_type) not in {"image", "video"}:
        raise Unavailable(f"Image {place + 1} of the answer is none.", type="invalid_answer")
    role, number = _role(place, info)
    seed = _item(info.get("all_seeds"), number) if role == "output" else None
    infotext = _item(info.get("infotexts"), place) if role != "extra" else None
    return Artifact(
        data,
        media_type,
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


def _shortfall(artifacts: tuple[Artifact, ...], info: JsonObject) -> tuple[str, ...]:
    made = sum(artifact.role == "output" for artifact in artifacts)
    seeds = info.get("all_seeds")
    expected = len(seeds) if isinstance(seeds, list) else 1
    if made >= expected:
        return ()
    return (f"The runtime made {made} of {expected} images.",)
