"""What of ComfyUI's answers and events somebody who talks to it relies on.

The rest differs from run to run (numbers, times, ids, counters in names) or from server to server
(words within tracebacks), and the order in which independent nodes run is the server's own.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from math import isnan
from typing import Any, Final

Json = dict[str, Any]

_LONG: Final = 1000
_LETTERS: Final = 27
_RANDOM: Final = re.compile(r"(?<=temp_)[a-z]+_|(?<=_)\d+_?(?=\.)")
_UNHEARD: Final = frozenset({"status", "progress_state"})
"""Events that tell nothing that others do not."""
_BEGINNINGS: Final = frozenset(
    {"executing", "execution_success", "execution_error", "execution_interrupted"}
)


def facts_of(path: str, answer: Any) -> Any:
    """Of the JSON that a route answers."""
    path = path.removeprefix("/api")
    if path.startswith("/object_info/"):
        return {name: class_facts(info) for name, info in answer.items()}
    if path.startswith("/history/"):
        return {prompt_id: _entry(entry) for prompt_id, entry in answer.items()}
    read = _READ.get(path)
    return answer if read is None else read(answer)


def _prompt(answer: Json) -> Any:
    if "exec_info" in answer:
        return type(answer["exec_info"]["queue_remaining"])
    return sorted(answer), errors_of(answer)


def _queue(answer: Json) -> Any:
    return {name: [_queued(prompt) for prompt in answer[name]] for name in sorted(answer)}


def _system_stats(answer: Json) -> Any:
    devices = [type(device["name"]) for device in answer["devices"]]
    return type(answer["system"]["comfyui_version"]), devices


_READ: Final[dict[str, Callable[[Json], Any]]] = {
    "/prompt": _prompt,
    "/queue": _queue,
    "/system_stats": _system_stats,
}


def errors_of(answer: Any) -> Any:
    """Of a refusal: types and places, and the words about them."""
    error = answer.get("error") or {}
    nodes = {
        node_id: [
            [one["type"], one["message"], str((one.get("extra_info") or {}).get("input_name"))]
            for one in report["errors"]
        ]
        for node_id, report in (answer.get("node_errors") or {}).items()
    }
    # the real server looks at inputs in no order
    return error.get("type"), error.get("message"), {node: sorted(nodes[node]) for node in nodes}


def class_facts(info: Json) -> Any:
    """Of a node class: by which inputs it takes what, and what it puts out."""
    inputs = {
        name: _input(spec)
        for group in ("required", "optional")
        for name, spec in info["input"].get(group, {}).items()
    }
    return inputs, list(info["output"]), info["output_node"]


def _input(spec: Sequence[Any]) -> Any:
    kind, options = spec[0], spec[1] if len(spec) > 1 else {}
    chosen = isinstance(kind, list) or kind == "COMBO"
    uploads = {key: value for key, value in options.items() if key.endswith("_upload")}
    return "COMBO" if chosen else kind, uploads


def _queued(prompt: Sequence[Any]) -> Any:
    number, prompt_id, graph, extra_data, outputs = prompt
    return type(number) in {int, float}, prompt_id, sorted(graph), sorted(extra_data), outputs


def _entry(entry: Json) -> Json:
    _number, prompt_id, graph, extra_data, outputs = entry["prompt"]
    status = entry["status"]
    return {
        "prompt": [prompt_id, sorted(graph), sorted(extra_data), sorted(outputs)],
        "outputs": {node: _ui(ui) for node, ui in entry["outputs"].items()},
        "status": [status["status_str"], status["completed"]],
        "messages": [_event(name, data) for name, data in status["messages"]],
        "meta": entry["meta"],
        "keys": sorted(entry),
    }


def _ui(value: Any) -> Any:
    """What a node shows, without what is counted or random in the names of its files."""
    if isinstance(value, dict):
        return {key: _ui(item) for key, item in value.items() if key != "fullpath"}
    if isinstance(value, list):
        return [_ui(item) for item in value]
    if isinstance(value, str):
        return _RANDOM.sub("#", value)
    return "(NaN literal)" if isinstance(value, float) and isnan(value) else value


def _event(name: str, data: Json) -> Any:
    told = {key: data[key] for key in sorted(data)}
    for key in ("timestamp", "prompt_id", "traceback", "current_inputs", "current_outputs"):
        if key in told:
            told[key] = "…"
    for key in ("executed", "nodes"):
        if key in told:
            told[key] = sorted(told[key])
    if "exception_message" in told:
        told["exception_message"] = _words(told["exception_message"])
    if "output" in told:
        told["output"] = _ui(told["output"])
    return name, told


def _words(text: str) -> str:
    """Recordings cut long texts, and tell their length."""
    return (f"(text of {len(text)} characters" if len(text) > _LONG else text)[:_LETTERS]


def heard(frames: Sequence[Json]) -> list[Any]:
    """The frames that tell something."""
    return [_frame(frame) for frame in frames if _is_heard(frame)]


def _is_heard(frame: Json) -> bool:
    return "binary" in frame or frame["text"]["type"] not in _UNHEARD


def _frame(frame: Json) -> Any:
    if "binary" in frame:
        return "binary", frame["binary"]["event"], frame["binary"]["format"]
    return _event(frame["text"]["type"], frame["text"]["data"])


def by_node(told: Sequence[Any]) -> list[list[Any]]:
    """What was told while one node was under way, node by node; begin and end apart."""
    return sorted(_groups(told), key=repr)


def _groups(told: Sequence[Any]) -> Iterator[list[Any]]:
    group: list[Any] = []
    for one in told:
        if one[0] in _BEGINNINGS and group:
            yield group
            group = []
        group.append(one)
    if group:
        yield group


def without_steps(told: Sequence[Any]) -> list[Any]:
    """Without all progress but the first of each node, and without previews."""
    kept, seen = [], set()
    for one in told:
        if one[0] == "progress":
            if one[1]["node"] in seen:
                continue
            seen.add(one[1]["node"])
        if one[0] != "binary":
            kept.append(one)
    return kept
