"""From a message's body to what it holds: a job, a pointer to one, or nothing to be done."""

from collections.abc import Mapping
from typing import Final

from pydantic import JsonValue

from queue_agent.wire.bounded_json import JsonError, load
from queue_agent.wire.errors import Malformed, NoJob
from queue_agent.wire.foreign import foreign_kind
from queue_agent.wire.job import MOST_WRAPPINGS, Job, has_marks, job_of, salvaged
from queue_agent.wire.pointer import PayloadPointer, pointer_beside, pointer_of
from queue_agent.wire.shapes import shape_of, shape_of_text
from queue_agent.wire.wrapping import Wrapped, decoded, within

_A_JOB: Final = "a job is a JSON object with 'metadata' and 'content'"


def read_message(
    body: str | bytes, attributes: Mapping[str, str] | None = None
) -> Job | PayloadPointer:
    """What a message asks for, whatever was wrapped around it.

    What has the marks of a job is one, whatever else it has.

    Raises:
        NoJob: it asks for nothing.
        Malformed: it holds no job that could be understood; `details` as of `parse_job`.
    """
    if isinstance(body, str) and (pointer := pointer_beside(body, attributes or {})):
        return pointer
    found: Wrapped = body
    for _ in range(MOST_WRAPPINGS + 1):
        value = _value(found) if isinstance(found, (str, bytes)) else found
        if has_marks(value):
            return job_of(value)
        if kind := foreign_kind(value):
            raise NoJob(f"The message asks for nothing; it is a {kind}.", type=kind)
        if pointer := pointer_of(value):
            return pointer
        found = within(value)
        if found is None:
            return _job(value)
    raise Malformed(f"The body has more than {MOST_WRAPPINGS} wrappings.")


def asks(body: str, attributes: Mapping[str, str]) -> bool:
    """Whether a message may be meant for an agent: a job, or what an agent must answer."""
    try:
        read_message(body, attributes)
    except NoJob:
        return False
    except Malformed:
        return True
    return True


def _value(text: str | bytes) -> JsonValue:
    try:
        return load(text)
    except JsonError as error:
        if isinstance(text, str) and (data := decoded(text)):
            return _value(data)
        shape = shape_of_text(text)
        looks = f" It looks like {shape}; {_A_JOB}." if shape else ""
        raise Malformed(f"The body is not usable JSON: {error}.{looks}") from error


def _job(value: JsonValue) -> Job:
    """The job, though it lacks a mark of one; or what it is instead."""
    shape = shape_of(value)
    if shape is None:
        return job_of(value)
    details = salvaged(value) if isinstance(value, dict) else {}
    raise Malformed(f"This looks like {shape}; {_A_JOB}.", details=details)
