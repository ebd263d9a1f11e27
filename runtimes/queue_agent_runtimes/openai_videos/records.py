"""What an engine says of a job: its record, and the failures that it tells of."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pydantic import JsonValue

from queue_agent.runtime.failures import is_beyond_repair, is_out_of_memory
from queue_agent.runtime.http import Response, words_of
from queue_agent.wire.errors import QueueAgentError, Rejected, RunLost, RuntimeSick, Unavailable
from queue_agent.wire.shortening import shortened
from queue_agent_runtimes.openai_images.answer import WITHHELD, error_from

_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,199}")
_UNDER_WAY: Final = frozenset({"queued", "in_progress", "processing", "running", "starting"})
_WITHDRAWN: Final = frozenset({"cancelled", "canceled", "deleted", "expired"})
_STATUSES: Final = _UNDER_WAY | _WITHDRAWN | {"completed", "failed"}
_PASSING: Final = frozenset({401, 403, 408, 409, 425, 429})
"""Codes of failures, among those of the client's fault, that are not the job's."""
_LONGEST_WORDS: Final = 1000
MOST_OUTPUTS: Final = 64


class JobForgotten(RunLost):
    """The engine has no such job any more; it was started anew, say."""


@dataclass(frozen=True)
class EngineRecord:
    """The state of a job, as the engine tells it."""

    id: str
    status: str
    fields: Mapping[str, JsonValue]

    @property
    def under_way(self) -> bool:
        return self.status in _UNDER_WAY

    @property
    def begun(self) -> bool:
        """Whether the engine works on it."""
        return self.under_way and (self.status != "queued" or self.fraction > 0)

    @property
    def fraction(self) -> float:
        """How much is done, short of 1 until its file is here."""
        percent = self.fields.get("progress")
        if isinstance(percent, bool) or not isinstance(percent, int | float):
            return 0.0
        return min(max(percent / 100, 0.0), 0.99)

    @property
    def outputs(self) -> int:
        """How many files it has."""
        number = self.fields.get("num_outputs")
        return number if isinstance(number, int) and 0 < number <= MOST_OUTPUTS else 1

    @property
    def previews(self) -> int:
        """How many looks at it there were so far."""
        return self._number("previews") or 0

    @property
    def step(self) -> int | None:
        """How many steps are done, where the engine tells."""
        return self._number("step")

    @property
    def steps(self) -> int | None:
        """Of how many."""
        return self._number("steps")

    @property
    def steps_saved(self) -> int:
        """How many it did not take, thanks to a checkpoint, as the bundled runtime tells it."""
        return self._number("resumed_steps") or 0

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is not as it was asked for, as the bundled runtime tells it."""
        told = self.fields.get("warnings")
        return tuple(map(str, told)) if isinstance(told, list) else ()

    def _number(self, name: str) -> int | None:
        number = self.fields.get(name)
        return number if isinstance(number, int) and number >= 0 else None

    def url(self, number: int) -> str | None:
        """Where a file lies that the engine has put elsewhere, as SGLang does with S3."""
        urls = self.fields.get("urls")
        found = urls[number] if isinstance(urls, list) and number < len(urls) else None
        if found is None and number == 0:
            found = self.fields.get("url")
        return found if isinstance(found, str) and found else None


def created_record(answer: Response) -> EngineRecord:
    """The record with which the engine has taken a job.

    Raises:
        Rejected: it refuses the job, or has no such route.
        Unavailable: it fails, or its answer makes no sense.
    """
    if not answer.ok:
        raise _refused(answer)
    record = _record(answer.json_object())
    if record is None:
        raise Unavailable("The runtime's answer names no job.", type="invalid_answer")
    return record


def found_record(answer: Response) -> EngineRecord:
    """The record of a job that the engine had; some have the status of its failure.

    Raises:
        JobForgotten: the engine has no such job any more.
        Unavailable: it fails, or its answer makes no sense.
    """
    if answer.ok:
        return created_record(answer)
    try:
        record = _record(answer.json_object())
    except QueueAgentError:
        record = None
    if record is not None:
        return record
    if answer.status == 404:
        raise JobForgotten(f"The runtime forgot the job: {words_of(answer)}")
    error = error_from(answer)
    if isinstance(error, Rejected):
        raise Unavailable(
            f"The runtime does not tell of the job ({answer.status}): {words_of(answer)}",
            details=error.details,
            retry_after=answer.retry_after,
        )
    raise error


def failure_of(record: EngineRecord) -> QueueAgentError:
    """Why a job has no file that has ended.

    The job's own fault where the engine has a code that says so, as vLLM-Omni has; in doubt the
    runtime's.
    """
    if record.status in _WITHDRAWN:
        return Unavailable("Somebody withdrew the job at the runtime.", type="runtime_interrupted")
    error = record.fields.get("error")
    code = error.get("code") if isinstance(error, dict) else None
    words = error.get("message") if isinstance(error, dict) else error
    said = shortened(words, _LONGEST_WORDS) if isinstance(words, str) and words else "no reason"
    sentence, details = f"The runtime failed at the job: {said}", {"error": shortened(error)}
    if code in WITHHELD:
        return Rejected(
            f"The runtime withheld what it made: {said}", type="withheld", details=details
        )
    if isinstance(code, int) and 400 <= code < 500 and code not in _PASSING:
        return Rejected(f"The runtime refused the job: {said}", details=details)
    if is_out_of_memory(str(words)):
        return Unavailable(sentence, type="out_of_memory", details=details)
    if is_beyond_repair(str(words)):
        return RuntimeSick(sentence, details=details)
    return Unavailable(sentence, type="execution_error", details=details)


def _record(body: Mapping[str, JsonValue]) -> EngineRecord | None:
    job_id, status = body.get("id"), body.get("status")
    if not (isinstance(job_id, str) and _ID.fullmatch(job_id)):
        return None
    if not (isinstance(status, str) and status in _STATUSES):
        return None
    return EngineRecord(job_id, status, body)


def _refused(answer: Response) -> QueueAgentError:
    error = error_from(answer)
    if (
        answer.status in {404, 405}
        and isinstance(error, Rejected)
        and error.type != "unknown_model"
    ):
        return Rejected(
            f"The runtime does no jobs of this kind ({answer.status}): {words_of(answer)}",
            type="unknown_task_type",
            details=error.details,
        )
    if answer.status == 409:  # vLLM-Omni with several API servers, which share no jobs
        return Unavailable(
            f"The runtime takes no jobs of this kind as it was started: {words_of(answer)}",
            type="runtime_misconfigured",
            details=error.details,
            retry_after=answer.retry_after,
        )
    return error
