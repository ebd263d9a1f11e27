"""What `/prompt` refuses, and in which words: `validate_prompt` of ComfyUI's `execution.py`."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import JsonValue

from fakes.comfyui.files import Files, input_record
from fakes.comfyui.node_class import InputSpec, NodeClass
from fakes.comfyui.nodes import NODE_CLASSES

Json = dict[str, JsonValue]
Graph = Mapping[str, JsonValue]


@dataclass
class Verdict:
    """Either an error for a 400, or the output nodes that will be executed."""

    error: Json | None = None
    outputs: list[str] = field(default_factory=list)
    node_errors: Json = field(default_factory=dict)


def validate(graph: Graph, files: Files, targets: JsonValue = None) -> Verdict:
    """Judge a workflow as the real server does, output node by output node.

    Of the output nodes only the `targets` count, where there are any; a text is taken letter by
    letter.

    Raises:
        TypeError: a node is neither an object nor a list; the real server answers 500.
    """
    for node_id, node in graph.items():
        if not isinstance(node, dict):
            raise TypeError(f"a node is no {type(node).__name__}")
        class_type = node.get("class_type")
        if class_type not in NODE_CLASSES:
            return Verdict(_missing(node_id, node, class_type))
    outputs = [node_id for node_id in graph if _class_of(graph, node_id).output_node]
    if isinstance(targets, list | str):
        outputs = [node_id for node_id in outputs if node_id in [*targets]]
    if not outputs:
        return Verdict(_error("prompt_no_outputs", "Prompt has no outputs", ""))
    return _validate_outputs(graph, outputs, files)


def _missing(node_id: str, node: Json, class_type: JsonValue) -> Json:
    meta = node.get("_meta")
    title = meta.get("title", class_type) if isinstance(meta, dict) else class_type
    message = f"Node '{title}' not found. The custom node may not be installed."
    if class_type is None:
        message = (
            f"Node 'ID #{node_id}' has no class_type. The workflow may be corrupted or a custom "
            "node is missing."
        )
    extra: Json = {"node_id": node_id, "class_type": class_type, "node_title": title}
    return _error("missing_node_type", message, f"Node ID '#{node_id}'", extra)


def _validate_outputs(graph: Graph, outputs: list[str], files: Files) -> Verdict:
    inspector = _Inspector(graph, files)
    verdict = Verdict()
    for output in outputs:
        if inspector.is_valid(output):
            verdict.outputs.append(output)
            continue
        for node_id, errors in inspector.errors.items():
            if errors:
                verdict.node_errors.setdefault(
                    node_id,
                    {
                        "errors": list(errors),
                        "dependent_outputs": [],
                        "class_type": _node(graph, node_id)["class_type"],
                    },
                )
                report = verdict.node_errors[node_id]
                assert isinstance(report, dict)
                assert isinstance(report["dependent_outputs"], list)
                report["dependent_outputs"].append(output)
    if not verdict.outputs:
        lines = [
            f"{error['message']}: {error['details']}"
            for output in outputs
            for error in inspector.errors.get(output, [])
        ]
        verdict.error = _error(
            "prompt_outputs_failed_validation", "Prompt outputs failed validation", "\n".join(lines)
        )
    return verdict


class _Inspector:
    """Validates nodes once each, those upstream first."""

    def __init__(self, graph: Graph, files: Files) -> None:
        self.errors: dict[str, list[Json]] = {}
        self._graph = graph
        self._files = files
        self._valid: dict[str, bool] = {}
        self._path: list[str] = []
        """The nodes whose inputs are being looked at, downstream first."""

    def is_valid(self, node_id: str) -> bool:
        try:
            return self._inspect(node_id)
        except (RecursionError, KeyError, IndexError) as exception:
            self._valid[node_id] = False
            self.errors[node_id] = [
                _error(
                    "exception_during_validation",
                    "Exception when validating node",
                    str(exception),
                    {"exception_type": type(exception).__name__, "traceback": []},
                )
            ]
            return False

    def _inspect(self, node_id: str) -> bool:
        if node_id in self._valid:
            return self._valid[node_id]
        if node_id in self._path:
            self._note_cycle(self._path[self._path.index(node_id) :])
            return False
        self._path.append(node_id)
        try:
            return self._inspect_inputs(node_id)
        finally:
            self._path.pop()

    def _note_cycle(self, nodes: list[str]) -> None:
        named = [f"{node} ({_node(self._graph, node)['class_type']})" for node in nodes]
        details = " -> ".join([*named, named[0]])
        for node in nodes:
            extra: Json = {"node_id": node, "cycle_nodes": [*nodes]}
            message = "Dependency cycle detected"
            self.errors[node] = [_error("dependency_cycle", message, details, extra)]
            self._valid[node] = False

    def _inspect_inputs(self, node_id: str) -> bool:
        node_class = _class_of(self._graph, node_id)
        inputs = _node(self._graph, node_id)["inputs"]
        assert isinstance(inputs, dict)
        errors: list[Json] = []
        upstream_valid = True
        for name in [*node_class.required, *node_class.optional]:
            if name not in inputs:
                if name in node_class.required:
                    extra: Json = {"input_name": name}
                    message = "Required input is missing"
                    errors.append(_error("required_input_missing", message, name, extra))
                continue
            value = inputs[name]
            spec = node_class.spec(name, self._files)
            if isinstance(value, list):
                upstream_valid &= self._inspect_link(name, value, spec, errors)
            else:
                error = self._fault(
                    name,
                    inputs,
                    spec,
                    folder=node_class.file_folder if name == node_class.file_input else None,
                )
                errors.extend([error] if error else [])
        if node_id in self._valid:  # found to be on a cycle
            return False
        self.errors[node_id] = errors
        self._valid[node_id] = upstream_valid and not errors
        return self._valid[node_id]

    def _inspect_link(
        self, name: str, link: list[JsonValue], spec: InputSpec, errors: list[Json]
    ) -> bool:
        extra: Json = {"input_name": name, "input_config": list(spec), "received_value": link}
        if len(link) != 2:
            message = "Bad linked input, must be a length-2 list of [node_id, slot_index]"
            errors.append(_error("bad_linked_input", message, name, extra))
            return True
        source, slot = link
        assert isinstance(slot, int)
        if not isinstance(source, str):
            raise KeyError(source)
        received = _class_of(self._graph, source).outputs[slot]
        if not isinstance(spec[0], list) and not {received, "*"} & {*spec[0].split(",")}:
            details = f"{name}, received_type({received}) mismatch input_type({spec[0]})"
            extra = {**extra, "received_type": received, "linked_node": link}
            message = "Return type mismatch between linked nodes"
            errors.append(_error("return_type_mismatch", message, details, extra))
            return True
        return self._inspect(source)

    def _fault(
        self, name: str, inputs: Json, spec: InputSpec, *, folder: str | None
    ) -> Json | None:
        kind, options = spec
        try:
            value = inputs[name] = _converted(inputs[name], kind)
        except (ValueError, TypeError) as exception:
            return _error(
                "invalid_input_type",
                f"Failed to convert an input value to a {kind} value",
                f"{name}, {inputs[name]}, {exception}",
                _extra(name, spec, inputs[name]),
            )
        extra = _extra(name, spec, value)
        is_file = folder is not None
        found = self._files.read(input_record(str(value)))
        if folder is not None and (found is None or not str(value).startswith(folder)):
            details = f"{name} - Invalid image file: {value}"
            message = "Custom validation failed for node"
            return _error("custom_validation_failed", message, details, extra)
        if not is_file and isinstance(kind, list) and value not in kind:
            details = f"{name}: '{value}' not in {kind}"
            return _error("value_not_in_list", "Value not in list", details, extra)
        return _out_of_range(name, value, options, extra)


def _out_of_range(name: str, value: JsonValue, options: Json, extra: Json) -> Json | None:
    low, high = options.get("min"), options.get("max")
    if not isinstance(value, int | float):
        return None
    if isinstance(low, int | float) and value < low:
        message = f"Value {value} smaller than min of {low}"
        return _error("value_smaller_than_min", message, name, extra)
    if isinstance(high, int | float) and value > high:
        message = f"Value {value} bigger than max of {high}"
        return _error("value_bigger_than_max", message, name, extra)
    return None


def _converted(value: JsonValue, kind: str | list[JsonValue]) -> JsonValue:
    if isinstance(kind, str) and kind in {"INT", "FLOAT"}:
        if not isinstance(value, str | int | float):
            raise TypeError(f"argument must be a string or a number, not {type(value).__name__!r}")
        return int(value) if kind == "INT" else float(value)
    return str(value) if kind == "STRING" else value


def _class_of(graph: Graph, node_id: str) -> NodeClass:
    return NODE_CLASSES[str(_node(graph, node_id)["class_type"])]


def _node(graph: Graph, node_id: str) -> Json:
    node = graph[node_id]
    assert isinstance(node, dict)
    return node


def _extra(name: str, spec: InputSpec, value: JsonValue) -> Json:
    return {"input_name": name, "input_config": list(spec), "received_value": value}


def _error(kind: str, message: str, details: str, extra_info: Json | None = None) -> Json:
    return {"type": kind, "message": message, "details": details, "extra_info": extra_info or {}}
