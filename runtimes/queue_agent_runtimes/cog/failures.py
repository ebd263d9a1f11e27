"""What the answers of a cog server mean that are no success. Pure functions."""

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from pydantic import JsonValue

from queue_agent.runtime.failures import is_beyond_repair, is_of_the_device, is_out_of_memory
from queue_agent.runtime.http import FAULTS_OF_THE_CONTENT, Response, error_from
from queue_agent.wire.errors import (
    QueueAgentError,
    Rejected,
    RunLost,
    RuntimeAway,
    RuntimeSick,
    Unavailable,
)
from queue_agent.wire.shortening import shortened

FAILED: Final = "prediction_failed"
CRASHED: Final = "Worker crashed"
"""The server's whole word of a prediction whose process ended."""
_LONGEST: Final = 1000
_PREFIX: Final = re.compile(r"(?:Prediction failed: )+")
_KIND: Final = re.compile(r"([A-Za-z_][\w.]*)(?=:|$)")
_WITHHELD: Final = re.compile(
    r"(?:[A-Za-z_][\w.]*: )?(?:potential )?"
    r"(?:nsfw content (?:was )?detected|all generated images contained nsfw)",
    re.IGNORECASE,
)
"""How the published models for cog begin to say that their safety checker left no image: those of
Stable Diffusion 1 and 2 and SDXL the one way, those of FLUX the other."""
_OF_A_CONNECTION: Final = frozenset(
    {
        "BrokenPipeError",
        "ChunkedEncodingError",
        "ConnectError",
        "ConnectTimeout",
        "ConnectionError",
        "ConnectionRefusedError",
        "ConnectionResetError",
        "HTTPError",
        "MaxRetryError",
        "OSError",
        "ReadTimeout",
        "SSLError",
        "TimeoutError",
        "URLError",
        "gaierror",
    }
)
"""Python's and its HTTP libraries' exceptions that another time may not be raised."""
_OF_A_DEVICE: Final = frozenset(
    {"AcceleratorError", "Exception", "MemoryError", "OutOfMemoryError", "RuntimeError"}
)
"""Those that may tell of the machine; the words of others may be the publisher's."""


def refused(answer: Response) -> QueueAgentError:
    """The error of a PUT that is neither a prediction's answer nor 'busy'."""
    error = error_from(answer, faults_of_the_job=FAULTS_OF_THE_CONTENT)
    if answer.status == 503 and not isinstance(error, RuntimeSick):
        return RuntimeAway(
            error.message, type=error.type, details=error.details, retry_after=answer.retry_after
        )
    return error


def failure_of(answer: Mapping[str, JsonValue], logs: str = "") -> QueueAgentError:
    """The error of a prediction that did not succeed, by the words that the server has for it.

    They are an exception's, mostly, which would only be raised again; `Unavailable` are those of
    connections, of memory and of the device, `RuntimeSick` where only a restart ends it. What the
    model's safety checker holds back is of the type ``withheld``.
    """
    if answer.get("status") == "canceled":
        return Unavailable("Somebody stopped the prediction.", type="runtime_interrupted")
    if answer.get("status") != "failed":
        return Unavailable(
            "The runtime's answer does not say how the prediction ended.", type="invalid_answer"
        )
    said = answer.get("error")
    words = _PREFIX.sub("", said if isinstance(said, str) else "").strip() or "it gave no reason"
    if words == CRASHED:
        return RunLost("The model's process ended during the prediction.", type="runtime_crashed")
    if _WITHHELD.match(words):
        said_so: dict[str, JsonValue] = {"error": shortened(words, _LONGEST)}
        return Rejected("The runtime withheld all images.", type="withheld", details=said_so)
    sentence = f"The model failed: {shortened(words, _LONGEST)}"
    details: dict[str, JsonValue] = {"error": shortened(words, _LONGEST), "logs": logs}
    found = _KIND.match(words)
    kind = found[1].rpartition(".")[2] if found else ""
    return _by_kind(kind, words)(sentence, details=details)


def _by_kind(kind: str, words: str) -> Callable[..., QueueAgentError]:
    """The class for an exception, by its name and its words."""
    if kind in _OF_A_DEVICE and is_out_of_memory(words):
        return partial(Unavailable, type="out_of_memory")
    if kind in _OF_A_DEVICE and is_beyond_repair(words):
        return RuntimeSick
    if kind in _OF_A_CONNECTION or (kind in _OF_A_DEVICE and is_of_the_device(words)):
        return partial(Unavailable, type=FAILED)
    return partial(Rejected, type=FAILED)
