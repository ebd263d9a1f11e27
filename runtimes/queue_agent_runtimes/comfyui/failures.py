"""What ComfyUI's refusals and failures mean for the job. Pure functions."""

from collections.abc import Iterator, Mapping
from typing import Final

from pydantic import JsonValue

from queue_agent.runtime.failures import is_beyond_repair, is_of_the_device, is_out_of_memory
from queue_agent.runtime.http import FAULTS_OF_THE_CONTENT, Response, error_from, words_of
from queue_agent.wire.errors import QueueAgentError, Rejected, RuntimeSick, Unavailable
from queue_agent.wire.shortening import shortened
from queue_agent_runtimes.comfyui.events import BLOCKED
from queue_agent_runtimes.comfyui.workflow import INVALID_WORKFLOW

Json = dict[str, JsonValue]

OUT_OF_MEMORY: Final = "out_of_memory"
_MAX_WORDS: Final = 20
_LONGEST_WORDS: Final = 1000
"""Letters of what an exception says."""


def refused(answer: Response) -> QueueAgentError:
    """The error for an answer of `/prompt` that is no success."""
    error = error_from(answer, faults_of_the_job=FAULTS_OF_THE_CONTENT)
    try:
        body = answer.json_object()
    except Unavailable:
        return error
    if not isinstance(error, Rejected):
        return error
    reason, node_errors = body.get("error"), body.get("node_errors")
    words = list(describe_node_errors(node_errors if isinstance(node_errors, dict) else {}))
    if not words and isinstance(reason, dict):
        said = (_text(reason, "message"), _text(reason, "details"))
        words = [": ".join(map(shortened, filter(None, said)))]
    if not any(words):
        words = [shortened(words_of(answer))]
    return Rejected(
        "ComfyUI refused the workflow: " + "; ".join(words[:_MAX_WORDS]),
        type=INVALID_WORKFLOW,
        details={
            "status": answer.status,
            "error": shortened(reason),
            "node_errors": shortened(_compact(node_errors)),
        },
    )


def describe_node_errors(node_errors: Mapping[str, JsonValue]) -> Iterator[str]:
    """One sentence per error: node, class, input and the server's words."""
    for node_id, report in node_errors.items():
        if not isinstance(report, dict):
            continue
        errors = report.get("errors")
        for error in errors if isinstance(errors, list) else []:
            if not isinstance(error, dict):
                continue
            extra = error.get("extra_info")
            name = extra.get("input_name") if isinstance(extra, dict) else None
            place = f"node {shortened(node_id)} ({shortened(str(report.get('class_type')))})"
            place += f", input {shortened(str(name))}" if name else ""
            details = _text(error, "details")
            tail = f" ({shortened(details)})" if details and details != name else ""
            yield f"{place}: {shortened(_text(error, 'message'))}{tail}"


def failure_of(entry: Mapping[str, JsonValue]) -> QueueAgentError | None:
    """The error that a finished prompt's history tells of; None if it succeeded.

    An out-of-memory error is `Unavailable` of type ``out_of_memory``: with more memory free
    it may succeed. A failure of the GPU beneath is no job's, and where only a restart ends it,
    `RuntimeSick`. Another exception would only be raised again.
    """
    status = entry.get("status")
    if not isinstance(status, dict) or status.get("status_str") != "error":
        return None
    for name, data in _messages(status):
        if name == "execution_interrupted":
            return Unavailable(
                f"Somebody interrupted the prompt. {_place(data)} was under way.",
                type="interrupted",
            )
        if name == "execution_error" and data.get("exception_type") != BLOCKED:
            return _execution_error(data)
    return Unavailable("The prompt failed without a reason.", type="execution_error")


def words_of_a_block(data: Mapping[str, JsonValue]) -> str:
    """For the publisher, why a node did not run."""
    said = shortened(_text(data, "exception_message"), _LONGEST_WORDS)
    return f"{_place(data)} did not run: {said}"


def _execution_error(data: Json) -> QueueAgentError:
    kind, message = _text(data, "exception_type"), _text(data, "exception_message").strip()
    sentence = f"{_place(data)} raised {kind}: {shortened(message, _LONGEST_WORDS)}"
    keys = ("node_id", "node_type", "exception_type", "exception_message", "traceback")
    details = {key: shortened(data.get(key), _LONGEST_WORDS) for key in keys}
    if is_out_of_memory(kind) or is_out_of_memory(message):
        return Unavailable(sentence, type=OUT_OF_MEMORY, details=details)
    if _may_be_of_the_device(kind) and is_beyond_repair(message):
        return RuntimeSick(sentence, details=details)
    if _may_be_of_the_device(kind) and is_of_the_device(message):
        return Unavailable(sentence, type="execution_error", details=details)
    if not (kind or message):
        return Unavailable(f"{_place(data)} failed without a reason.", type="execution_error")
    return Rejected(sentence, type="execution_error", details=details)


def _place(data: Mapping[str, JsonValue]) -> str:
    node, kind = (shortened(str(data.get(key)), 100) for key in ("node_id", "node_type"))
    return f"Node {node} ({kind})"


def _may_be_of_the_device(kind: str) -> bool:
    """Whether an exception may be the GPU's; others repeat what the workflow says."""
    last = kind.rpartition(".")[2]
    return last in {"RuntimeError", "AcceleratorError", "Exception"} or "." in kind


def _messages(status: Json) -> Iterator[tuple[str, Json]]:
    messages = status.get("messages")
    for message in messages if isinstance(messages, list) else []:
        if isinstance(message, list) and len(message) == 2:
            name, data = message
            if isinstance(name, str) and isinstance(data, dict):
                yield name, data


def _compact(node_errors: JsonValue) -> JsonValue:
    """Without the lists of all files that the server repeats for each wrong name."""
    if isinstance(node_errors, dict):
        kept = {name: value for name, value in node_errors.items() if name != "input_config"}
        return {name: _compact(value) for name, value in kept.items()}
    if isinstance(node_errors, list):
        return [_compact(value) for value in node_errors]
    return node_errors


def _text(value: Mapping[str, JsonValue], key: str) -> str:
    text = value.get(key)
    return text if isinstance(text, str) else ""
