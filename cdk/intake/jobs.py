"""From the body of a request to a job that an agent will understand and may store."""

import json
import secrets
from collections.abc import Callable, Sequence

from pydantic import JsonValue
from pydantic_core import from_json

from intake.settings import IntakeSettings
from queue_agent.wire.errors import Malformed, Rejected
from queue_agent.wire.job import Job, parse_job


def new_id() -> str:
    return secrets.token_hex(8)


def read_job(
    body: str,
    settings: IntakeSettings,
    *,
    make_id: Callable[[], str] | None = None,
) -> Job:
    """The job with its runtime filled in; `make_id` also for one that has no id.

    Raises:
        Malformed: an agent would not understand it.
        Rejected: no agent here would do it.
    """
    job = parse_job(_with_id(body, make_id) if make_id else body)
    runtime = job.metadata.runtime or next(iter(settings.folders))
    if runtime not in settings.folders:
        known = ", ".join(settings.folders)
        raise Rejected(f"metadata.runtime: {runtime!r} is none of: {known}", type="unknown_runtime")
    prefix = job.prefix
    if not _lies_in(prefix, settings.folders[runtime]):
        allowed = ", ".join(settings.folders[runtime])
        raise Rejected(
            f"metadata.prefix: {prefix!r} lies in none of: {allowed}", type="forbidden_prefix"
        )
    metadata = job.metadata.model_copy(update={"runtime": runtime})
    return job.model_copy(update={"metadata": metadata})


def _with_id(body: str, make_id: Callable[[], str]) -> str:
    """The body, completed where it is an object whose metadata lacks only an id."""
    try:
        value: JsonValue = from_json(body, allow_inf_nan=False)
    except ValueError:
        return body  # parse_job says what is wrong with it
    metadata = value.get("metadata") if isinstance(value, dict) else None
    if not isinstance(metadata, dict) or metadata.get("id") is not None:
        return body
    metadata["id"] = make_id()
    try:
        return json.dumps(value)
    except RecursionError as error:
        raise Malformed("The body is nested too deeply.") from error


def _lies_in(prefix: str, folders: Sequence[str]) -> bool:
    return any(f"{prefix}/".startswith(f"{folder}/") for folder in folders)
