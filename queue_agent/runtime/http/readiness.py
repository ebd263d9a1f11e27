"""What an answer to "are you ready?" means that is no yes, for all adapters alike."""

from textwrap import shorten
from typing import Final

from queue_agent.runtime.contract import Readiness
from queue_agent.runtime.http.answers import WEB_PAGE, Response, error_from
from queue_agent.wire.errors import QueueAgentError, RuntimeSick

MISCONFIGURED: Final = frozenset(
    {
        "runtime_unauthorized",
        "runtime_redirects",
        "runtime_untrusted",
        "runtime_api_missing",
        "web_page",
        "invalid_answer",
    }
)
"""Types of errors that neither time nor a restart of the runtime ends."""

NOT_READY: Final = "not_ready"
"""The `code` in the error of a 503 by which a server of the OpenAI dialect says that it still loads
its model, as the bundled one does."""
_LONGEST: Final = 300


def readiness_of(cause: Response | QueueAgentError) -> Readiness:
    """Whether a runtime is ready that gave such an answer, or was asked and failed like that.

    Only a success is ready, and none that is a web page: a proxy's login page is no answer of the
    runtime. `misconfigured` where it refuses what it is asked (401, 403, another status of the
    client's fault), leads elsewhere, has a certificate that is not trusted or answers what it never
    does; `sick` where the
    words are those of a device beyond repair; `starting` where it says that it is `NOT_READY`; else
    it is `away`. The reason has the words.
    """
    if isinstance(cause, Response):
        if cause.ok and not cause.is_page:
            return Readiness()
        if cause.ok:
            return Readiness("misconfigured", WEB_PAGE)
        starting = _is_starting(cause)
        cause = error_from(cause, faults_of_the_job=())
        if starting:
            return Readiness("starting", _short(cause.message))
    if isinstance(cause, RuntimeSick):
        return Readiness("sick", _short(cause.message))
    status = cause.details.get("status")
    refuses = isinstance(status, int) and 400 <= status < 500
    wrong = refuses or cause.type in MISCONFIGURED
    return Readiness("misconfigured" if wrong else "away", _short(cause.message))


def _is_starting(answer: Response) -> bool:
    if answer.status != 503:
        return False
    try:
        error = answer.json_object().get("error")
    except QueueAgentError:
        return False
    return isinstance(error, dict) and error.get("code") == NOT_READY


def _short(words: str) -> str:
    """One line for a log, though a server may answer with a page."""
    return shorten(words, _LONGEST, placeholder=" …")
