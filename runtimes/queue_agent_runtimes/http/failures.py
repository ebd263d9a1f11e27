"""What an answer means that is no result, by the rules of a declaration."""

from typing import Final

from pydantic import JsonValue

from queue_agent.runtime.failures import is_beyond_repair
from queue_agent.runtime.http import FAULTS_OF_THE_JOB, Response, error_from, parse_json, words_of
from queue_agent.wire.errors import QueueAgentError, Rejected, RuntimeSick, Unavailable
from queue_agent_runtimes.http.declaration import Answers, ErrorRule, Errors
from queue_agent_runtimes.http.json_paths import found_at, is_equal

__all__ = ["error_in", "error_of", "says"]

_LONGEST: Final = 2000
_NOT_ITS_OWN: Final = frozenset({"runtime_unauthorized"})
"""What says more than the server's words."""


def error_of(answer: Response, errors: Errors, *, may_blame_job: bool) -> QueueAgentError:
    """What an answer means whose status is none of success; whether the job may be at fault by
    its status alone: of a request that the job has shaped."""
    value = _json_of(answer)
    usual = error_from(answer, faults_of_the_job=FAULTS_OF_THE_JOB if may_blame_job else ())
    words = _words(value, errors) or words_of(answer)
    for rule in errors.rules:
        if _applies(rule, answer.status, value, words):
            made = _made(rule, words, {"status": answer.status, "answer": words})
            return _as_late_as(answer, made)
    if (said := _words(value, errors)) and answer.status >= 400 and usual.type not in _NOT_ITS_OWN:
        subject = usual.message.partition(": ")[0]
        made = type(usual)(f"{subject}: {said}", type=usual.type, details=usual.details)
        return _as_late_as(answer, made)
    return usual


def _as_late_as(answer: Response, made: QueueAgentError) -> QueueAgentError:
    """The error, with the time before which the server wants to hear nothing."""
    if isinstance(made, Unavailable):
        made.retry_after = answer.retry_after
    return made


def error_in(
    value: JsonValue, status: int, errors: Errors, *, failed: type[QueueAgentError] | None = None
) -> QueueAgentError | None:
    """What an answer of a status of success means, if it says that the run failed.

    Where it is known to have `failed`, an error of that class, unless a rule knows better.
    """
    words = _words(value, errors)
    for rule in errors.rules:
        if (rule.status or failed) and _applies(rule, status, value, words, known=bool(failed)):
            return _made(rule, words, {"status": status, "answer": words})
    if failed is None:
        return None
    said = words or "it says no more"
    if failed is not Rejected and is_beyond_repair(words):
        failed = RuntimeSick
    verb = "refused the job" if failed is Rejected else "failed"
    return failed(f"The runtime {verb}: {said}", details={"status": status, "answer": words})


def says(condition: Answers, value: JsonValue) -> bool:
    """Whether an answer says what is named."""
    return any(
        is_equal(found, wanted)
        for found in found_at(condition.path, value)
        for wanted in condition.values
    )


def _applies(
    rule: ErrorRule, status: int, value: JsonValue, words: str, *, known: bool = False
) -> bool:
    if not (known and not rule.status) and not _is_of(rule, status):
        return False
    if rule.answer is not None and not says(rule.answer, value):
        return False
    lower = words.lower()
    return not rule.contains or any(word.lower() in lower for word in rule.contains)


def _is_of(rule: ErrorRule, status: int) -> bool:
    if not rule.status:
        return not 200 <= status < 300
    return status in rule.status or f"{status // 100}xx" in rule.status


def _made(rule: ErrorRule, words: str, details: dict[str, JsonValue]) -> QueueAgentError:
    said = words or f"HTTP status {details['status']}"
    if rule.means == "refused":
        return Rejected(f"The runtime refused the job: {said}", type=rule.type, details=details)
    if rule.means == "sick":
        return RuntimeSick(f"The runtime is beyond repair: {said}", type=rule.type, details=details)
    return Unavailable(f"The runtime failed: {said}", type=rule.type, details=details)


def _words(value: JsonValue, errors: Errors) -> str:
    if errors.message is None:
        return ""
    found = [text for text in found_at(errors.message, value) if isinstance(text, str)]
    return "; ".join(found)[:_LONGEST]


def _json_of(answer: Response) -> JsonValue:
    try:
        return parse_json(answer.body)
    except ValueError:
        return None
