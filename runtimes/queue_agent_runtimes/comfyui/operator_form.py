"""One file of the operator's folder: its form, and what is wrong with it. Pure functions."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Annotated, Final

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    StringConstraints,
    ValidationError,
)

from queue_agent.runtime import InputKind, ModelFile, read_model_files
from queue_agent.wire.errors import Rejected
from queue_agent.wire.job import describe_errors
from queue_agent_runtimes.comfyui.file_inputs import MEDIA_INPUTS
from queue_agent_runtimes.comfyui.operator_portable import KINDS
from queue_agent_runtimes.comfyui.operator_workflow import (
    Exposed,
    OperatorWorkflow,
    Target,
    fault_of,
)
from queue_agent_runtimes.comfyui.workflow import Graph, inputs_of

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_NEEDED_BY: Final = {
    "text-to-image": "prompt",
    "image-to-image": "image",
    "extra-single-image": "image",
    "text-to-video": "prompt",
    "image-to-video": "first_frame",
    "image-to-3d": "image",
}
"""The task types that a workflow can be the answer to, and what it must expose for them."""


def read_file(name: str, text: bytes) -> "WorkflowFile":
    """A file of that name, as far as it can be understood without its workflow.

    Raises:
        ValueError: it cannot be used; with a line per fault.
    """
    if not _NAME.fullmatch(name):
        raise ValueError("a workflow's name has letters, digits, '.', '_' and '-' only")
    try:
        return WorkflowFile.model_validate(json.loads(text))
    except ValidationError as error:
        raise ValueError(describe_errors(error).replace("; ", "\n")) from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"is not usable JSON: {error}") from error


def built(name: str, read: "WorkflowFile", graph: Graph) -> OperatorWorkflow:
    """The workflow of that name and file, whose graph is this one.

    Raises:
        ValueError: what it exposes is not there; with a line per fault.
    """
    inputs: dict[str, Exposed] = {}
    faults: list[str] = []
    for input_name, told in read.inputs.items():
        try:
            inputs[input_name] = _exposed(input_name, told, graph)
        except ValueError as error:
            faults += [f"inputs.{input_name}: {line}" for line in str(error).splitlines()]
    models: list[ModelFile] = []
    try:
        models = read_model_files(read.models, "models")
    except Rejected as error:
        faults.append(error.message)
    faults += [*unanswerable(read), *_unfit_to_answer(read, inputs)]
    if faults:
        raise ValueError("\n".join(faults))
    return OperatorWorkflow(
        name,
        graph,
        inputs,
        tuple(read.answers),
        read.description,
        read.extra_data,
        tuple(replace(model, by_operator=True) for model in models),
    )


def _plain_target(value: object) -> object:
    return {"to": value} if isinstance(value, str | list) else value


def _several(value: object) -> object:
    return [value] if isinstance(value, str) else value


_WORDS: Final[Mapping[InputKind, str]] = {
    "text": "a text",
    "number": "a number",
    "image": "an image",
}


class _Told(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    to: Annotated[list[str], BeforeValidator(_several), Field(min_length=1)]
    default: JsonValue = None
    required: bool = False


_InputName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}$")]


class WorkflowFile(BaseModel):
    """What a file holds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    workflow: dict[str, JsonValue]
    inputs: dict[_InputName, Annotated[_Told, BeforeValidator(_plain_target)]] = Field(
        default_factory=dict
    )
    answers: list[str] = Field(default_factory=list)
    description: str = ""
    extra_data: dict[str, JsonValue] = Field(default_factory=dict)
    models: list[JsonValue] = Field(default_factory=list)


def _exposed(name: str, told: _Told, graph: Graph) -> Exposed:
    found = [_target(to, graph) for to in told.to]
    kinds = {kind for _, kind in found}
    if len(kinds) > 1:
        raise ValueError(f"leads to inputs of several kinds: {', '.join(sorted(kinds))}")
    exposed = Exposed(
        name, kinds.pop(), tuple(target for target, _ in found), told.default, told.required
    )
    if told.default is not None and (fault := fault_of(exposed, told.default)) is not None:
        raise ValueError(f"default: {fault}")
    return exposed


def _target(to: str, graph: Graph) -> tuple[Target, InputKind]:
    node_id, _, name = to.partition(".")
    if node_id not in graph:
        raise ValueError(f"{to}: the workflow has no node {node_id!r}")
    present = inputs_of(graph[node_id])
    if name not in present:
        raise ValueError(
            f"{to}: node {node_id} has no input {name!r}; it has: {', '.join(present) or 'none'}"
        )
    value = present[name]
    if isinstance(value, bool):
        return (node_id, name), "boolean"
    if isinstance(value, int | float):
        return (node_id, name), "number"
    if isinstance(value, str):
        return (node_id, name), MEDIA_INPUTS.get(name, "text")
    why = "is linked to another node" if isinstance(value, list) else "holds no single value"
    raise ValueError(f"{to}: {why}; lead to an input with a text, a number or a boolean")


def unanswerable(read: WorkflowFile) -> Iterator[str]:
    """Why it cannot be the answer to task types that it claims, by its inputs' names."""
    for task_type in read.answers:
        needed = _NEEDED_BY.get(task_type)
        if needed is None:
            yield f"answers: {task_type!r} is none of: {', '.join(_NEEDED_BY)}"
        elif needed not in read.inputs:
            yield f"answers: for {task_type} an input {needed!r} must be exposed"


def _unfit_to_answer(read: WorkflowFile, exposed: Mapping[str, Exposed]) -> Iterator[str]:
    for name in KINDS.keys() & exposed.keys() if read.answers else ():
        if exposed[name].kind != KINDS[name]:
            yield f"inputs.{name}: to answer portable jobs, it must lead to {_WORDS[KINDS[name]]}"
