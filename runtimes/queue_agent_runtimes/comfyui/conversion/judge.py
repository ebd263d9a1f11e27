"""Whether a workflow in the API format can be run by a server, as far as its form goes.

Which files the server has is not looked at: values of combos that list files pass.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from pydantic import JsonValue

from queue_agent_runtimes.comfyui.conversion.classes import ANYTHING, AUTOGROW, Classes, ClassInfo
from queue_agent_runtimes.comfyui.conversion.document import as_dict
from queue_agent_runtimes.comfyui.conversion.links import connects
from queue_agent_runtimes.comfyui.conversion.widgets import every_input, fits

_UNKNOWN: Final = "its class is not known"
_MAY_BE_VALUES: Final = ANYTHING | {"INT", "FLOAT", "STRING", "BOOLEAN"}
"""Types of sockets that a value can stand in as well."""
Nodes = Mapping[str, Mapping[str, JsonValue]]


def faults_of(graph: Nodes, object_info: Mapping[str, JsonValue]) -> list[str]:
    """What is wrong with its form: one sentence for each fault, with the node's id."""
    classes = Classes(object_info)
    outputs = [node_id for node_id, node in graph.items() if _is_output(node, classes)]
    if not outputs:
        return ["no node is an output"]
    needed = _upstream_of(outputs, graph)
    return [
        f"node {node_id} ({node.get('class_type')}): {fault}"
        for node_id, node in graph.items()
        for fault in _faults(node, graph, classes)
        if node_id in needed or fault == _UNKNOWN
    ]


def _is_output(node: Mapping[str, JsonValue], classes: Classes) -> bool:
    class_type = node.get("class_type")
    return isinstance(class_type, str) and class_type in classes and classes[class_type].is_output


def _upstream_of(outputs: list[str], graph: Nodes) -> set[str]:
    """Them and what they are linked to, however far: the server looks at nothing else."""
    waiting, needed = list(outputs), set(outputs)
    while waiting:
        node = graph.get(waiting.pop(), {})
        for value in as_dict(node.get("inputs")).values():
            source = str(value[0]) if isinstance(value, list) and value else None
            if source is not None and source not in needed:
                needed.add(source)
                waiting.append(source)
    return needed


def _faults(node: Mapping[str, JsonValue], graph: Nodes, classes: Classes) -> Iterator[str]:
    class_type = node.get("class_type")
    if not isinstance(class_type, str) or class_type not in classes:
        yield _UNKNOWN
        return
    info, inputs = classes[class_type], as_dict(node.get("inputs"))
    specs = {spec.name: spec for spec in every_input(info, inputs, list(inputs))}
    for name, spec in specs.items():
        if name not in inputs:
            if spec.required and spec.type != AUTOGROW:
                yield f"{name} is missing"
        elif isinstance(value := inputs[name], list):
            yield from _faults_of_link(name, value, spec.type, graph, classes)
        elif not spec.is_widget and not set(spec.type.split(",")) & _MAY_BE_VALUES:
            yield f"{name} is a value, and must be a link"
        elif spec.is_widget and not fits(spec, _unwrapped(value)):
            yield f"{name} cannot be {str(value)[:40]!r}"
    for name in inputs.keys() - specs.keys():
        yield f"{name} is no input of the class"


def _faults_of_link(
    name: str, link: list[JsonValue], wanted: str, graph: Nodes, classes: Classes
) -> Iterator[str]:
    source = graph.get(str(link[0])) if len(link) == 2 else None
    if source is None or not isinstance(link[1], int):
        yield f"{name} is linked to nothing"
        return
    class_type = str(source.get("class_type"))
    if class_type not in classes:
        return
    info: ClassInfo = classes[class_type]
    if not 0 <= link[1] < len(info.outputs):
        yield f"{name} is linked to output {link[1]} of {class_type}, which has no such output"
        return
    given = info.outputs[link[1]]
    if not ANYTHING & {given, wanted} and not connects(given, wanted):
        yield f"{name} is linked to {given}, and must be {wanted}"


def _unwrapped(value: JsonValue) -> JsonValue:
    return value["__value__"] if isinstance(value, dict) and "__value__" in value else value
