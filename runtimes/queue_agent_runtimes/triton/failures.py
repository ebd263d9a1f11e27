"""What Triton's refusals mean; each was seen on 2.51."""

import re
from collections.abc import Collection
from typing import Final

from queue_agent.runtime.failures import is_out_of_memory
from queue_agent.runtime.http import FAULTS_OF_THE_CONTENT, Response, words_of
from queue_agent.runtime.http import error_from as usual_error_from
from queue_agent.wire.errors import QueueAgentError, Rejected, RuntimeSick, Unavailable

_DEAD_STUB: Final = re.compile(r"Stub process .{0,200}is not healthy", re.DOTALL)
"""The process of a Python model ended. Since 24.06 Triton starts no other, and calls the model
ready all the same: https://github.com/triton-inference-server/server/issues/8604."""
_UNKNOWN: Final = re.compile(r"unknown model\b.{0,400}\bis not found", re.IGNORECASE | re.DOTALL)
_NOT_NOW: Final = re.compile(r"no available versions|not at ready state|not ready", re.IGNORECASE)


def error_from(
    answer: Response,
    model: str,
    *,
    chosen: bool,
    faults_of_the_job: Collection[int] = FAULTS_OF_THE_CONTENT,
) -> QueueAgentError:
    """What an answer that is no success means; `chosen`: the job named the model itself."""
    words = words_of(answer)
    if _DEAD_STUB.search(words):
        return RuntimeSick(f"The model's process has ended: {words}", details=_details(answer))
    if answer.status in {400, 404} and _UNKNOWN.search(words):
        return unknown_model(model, (), chosen=chosen)
    if answer.status in {400, 404} and _NOT_NOW.search(words):
        return Unavailable(
            f"The runtime's model {model!r} is not ready: {words}",
            details=_details(answer),
            retry_after=answer.retry_after,
        )
    if answer.status >= 500 and is_out_of_memory(words):
        return Unavailable(
            f"The runtime ran out of memory: {words}",
            type="out_of_memory",
            details=_details(answer),
            retry_after=answer.retry_after,
        )
    return usual_error_from(answer, faults_of_the_job=faults_of_the_job)


def unknown_model(model: str, known: tuple[str, ...], *, chosen: bool) -> QueueAgentError:
    """The server has no such model; the job's fault where the job named it."""
    has = f"; it has: {', '.join(known)}" if known else ""
    words = f"The runtime has no model {model!r}{has}."
    if chosen:
        return Rejected(words, type="unknown_model")
    return Unavailable(words, type="unknown_model")


def _details(answer: Response) -> dict[str, int | str]:
    return {"status": answer.status, "answer": words_of(answer)}
