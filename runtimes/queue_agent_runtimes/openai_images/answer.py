"""From a server's answers to artifacts, progress and errors."""

from collections.abc import Mapping
from typing import Final

from pydantic import JsonValue, ValidationError

from queue_agent.runtime import (
    OWN,
    Artifact,
    Capabilities,
    Loaded,
    ModelUse,
    OfferedModel,
    Output,
    Prepared,
    Progress,
)
from queue_agent.runtime.http import Response
from queue_agent.runtime.http import error_from as usual_error_from
from queue_agent.runtime.images import decode_images, is_withheld
from queue_agent.wire.errors import QueueAgentError, Rejected, Unavailable
from queue_agent.wire.media_types import UNKNOWN

WITHHELD: Final = ("content_filter", "content_policy_violation", "moderation_blocked")
"""Codes of servers of the dialect, OpenAI's and Azure's among them, for what they hold back."""


def error_from(answer: Response) -> QueueAgentError:
    """What an answer that is no success means."""
    error = usual_error_from(answer)
    if answer.status == 409:  # it was stopped, and not by us
        return Unavailable(
            error.message,
            type="runtime_interrupted",
            details=error.details,
            retry_after=answer.retry_after,
        )
    code = _code(answer)
    if answer.status == 404 and code == "model_not_found":
        return Rejected(error.message, type="unknown_model", details=error.details)
    if isinstance(error, Rejected) and code in WITHHELD:
        return Rejected(error.message, type="withheld", details=error.details)
    return error


def failed(answer: Response) -> QueueAgentError:
    """The same of a question of the adapter's own: no job is at fault, whatever the answer."""
    return usual_error_from(answer, faults_of_the_job=())


def _code(answer: Response) -> JsonValue:
    try:
        fault = answer.json_object().get("error")
    except QueueAgentError:
        return None
    return fault.get("code") if isinstance(fault, dict) else None


def read_models(answer: Mapping[str, JsonValue]) -> tuple[OfferedModel, ...]:
    """The models of a list in the dialect's form."""
    data = answer.get("data")
    entries = data if isinstance(data, list) else []
    ids = [entry.get("id") for entry in entries if isinstance(entry, dict)]
    return tuple(OfferedModel(name=name) for name in ids if isinstance(name, str))


def read_loaded(answer: Mapping[str, JsonValue]) -> tuple[dict[str, str], Loaded]:
    """The bundled runtime's list: names by those in what jobs use, and what of it is loaded."""
    served: dict[str, str] = {}
    uses = []
    for part in ("data", "upscalers"):
        data = answer.get(part)
        for entry in data if isinstance(data, list) else []:
            if not (isinstance(entry, dict) and isinstance(name := entry.get("id"), str)):
                continue
            is_default = part == "data" and not served
            use = ModelUse.named([name, OWN] if is_default else [name])
            served |= dict.fromkeys(use.models, name)
            if entry.get("state") == "loaded":
                uses.append(use)
    return served, Loaded(tuple(uses), max(1, len(uses)))


def read_capabilities(answer: Mapping[str, JsonValue]) -> Capabilities:
    """What the bundled runtime says of itself.

    Raises:
        Unavailable: it is of another form.
    """
    try:
        return Capabilities.model_validate(answer)
    except ValidationError as error:
        raise Unavailable(
            "The runtime's capabilities make no sense.", type="invalid_answer"
        ) from error


async def read_output(answer: dict[str, JsonValue], prepared: Prepared) -> Output:
    """The artifacts of an answer.

    Raises:
        Unavailable: it holds fewer images than were asked for, without saying that they were
            withheld (type ``invalid_answer``).
        Rejected: all were withheld (type ``withheld``).
    """
    data = answer.get("data")
    if not isinstance(data, list) or not data:
        raise Unavailable("The runtime's answer holds no images.", type="invalid_answer")
    entries = [entry if isinstance(entry, dict) else {} for entry in data]
    there = [
        (place, entry)
        for place, entry in enumerate(entries)
        if entry.get("b64_json") or not (is_withheld(entry) or is_withheld(answer, place))
    ]
    images = await decode_images(entry.get("b64_json") for _, entry in there)
    asked = prepared.request.get("seed")
    artifacts = []
    for (number, entry), image in zip(there, images, strict=True):
        if image.media_type == UNKNOWN:
            raise Unavailable(
                f"Image {number + 1} of the answer is of no known kind.", type="invalid_answer"
            )
        seed = entry.get("seed", asked + number if isinstance(asked, int) else None)
        artifacts.append(
            Artifact(image.content, image.media_type, seed if isinstance(seed, int) else None)
        )
    told: list[JsonValue] = [
        {name: value for name, value in entry.items() if name != "b64_json"} for entry in entries
    ]
    complaints = answer.get("warnings")
    warnings = [*map(str, complaints)] if isinstance(complaints, list) else []
    if len(artifacts) < len(entries):
        warnings.append(f"The runtime withheld {len(entries) - len(artifacts)} images.")
    if len(entries) < (expected := _images_of(prepared)):
        raise Unavailable(
            f"The runtime made {len(entries)} of {expected} images.", type="invalid_answer"
        )
    if not artifacts:
        raise Rejected("The runtime withheld all images.", type="withheld")
    return Output(tuple(artifacts), {**answer, "data": told}, (*prepared.warnings, *warnings))


def _images_of(prepared: Prepared) -> int:
    """How many images were asked for."""
    number = prepared.request.get("n")
    return number if isinstance(number, int) else 1


def read_progress(status: Mapping[str, JsonValue]) -> Progress | None:
    """The progress in the bundled runtime's status of a job, short of 1 until its answer is in."""
    fraction, step, steps = (status.get(name) for name in ("progress", "step", "steps"))
    if not isinstance(fraction, int | float):
        return None
    return Progress(
        float(min(max(fraction, 0.0), 0.99)),
        step=step if isinstance(step, int) else None,
        steps=steps if isinstance(steps, int) else None,
    )
