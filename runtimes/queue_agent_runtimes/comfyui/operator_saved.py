"""Workflows of the operator's whose file is in the editor's format. Pure.

Which inputs their nodes have is known when the server has told its classes: until then only the
nodes are.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from pydantic import JsonValue

from queue_agent.runtime import InputKind, NamedWorkflow, WorkflowInput
from queue_agent.wire.errors import Rejected
from queue_agent_runtimes.comfyui.conversion import Document, convert
from queue_agent_runtimes.comfyui.conversion.instances import take_apart
from queue_agent_runtimes.comfyui.editor import SavedWorkflow
from queue_agent_runtimes.comfyui.file_inputs import MEDIA_INPUTS
from queue_agent_runtimes.comfyui.models import canonical, models_of_saved
from queue_agent_runtimes.comfyui.operator_form import WorkflowFile, built, unanswerable
from queue_agent_runtimes.comfyui.operator_portable import KINDS
from queue_agent_runtimes.comfyui.operator_workflow import OperatorWorkflow
from queue_agent_runtimes.comfyui.workflow import read_workflow


@dataclass(frozen=True)
class SavedOperatorWorkflow:
    """One that waits for the server's classes."""

    name: str
    file: WorkflowFile

    @classmethod
    def of(cls, name: str, file: WorkflowFile) -> "SavedOperatorWorkflow":
        """That of a file, whose nodes are looked at.

        Raises:
            ValueError: it cannot be used; with a line per fault.
        """
        try:
            instances = take_apart(Document.read(file.workflow))
        except Rejected as error:
            raise ValueError(error.message) from error
        known = {scope.id_of(node) for scope, node in instances.nodes()}
        if faults := [*_without_node(file, known), *unanswerable(file)]:
            raise ValueError("\n".join(faults))
        return cls(name, file)

    @property
    def answers(self) -> tuple[str, ...]:
        return tuple(self.file.answers)

    def offer(self) -> NamedWorkflow:
        """What jobs may know of it, where kinds of inputs are told by their names."""
        return NamedWorkflow(
            name=self.name,
            description=self.file.description,
            inputs=tuple(
                WorkflowInput(
                    name=name,
                    kind=_kind_by_name(name, told.to[0].rpartition(".")[2]),
                    required=told.required,
                    default=told.default,
                )
                for name, told in self.file.inputs.items()
            ),
            answers=self.answers,
        )

    def converted(self, object_info: Mapping[str, JsonValue]) -> OperatorWorkflow:
        """The workflow as it is for a server of these classes.

        Raises:
            ValueError: it cannot be converted, or what it exposes is not there.
        """
        try:
            made = convert(dict(self.file.workflow), object_info)
            graph = read_workflow({"workflow": {**made.graph}}).graph
        except Rejected as error:
            raise ValueError(error.message) from error
        made_of_it = built(self.name, self.file, graph)
        told = canonical(models_of_saved(SavedWorkflow(self.file.workflow, {})))
        own = [replace(model, by_operator=True) for model in told if model.url]
        return replace(made_of_it, models=(*made_of_it.models, *own))


def _without_node(file: WorkflowFile, known: set[str]) -> Iterator[str]:
    for name, told in file.inputs.items():
        for to in told.to:
            node_id = to.partition(".")[0]
            if node_id not in known:
                yield (
                    f"inputs.{name}: {to}: the workflow has no node {node_id!r} that runs; a node "
                    "within a subgraph has the ids of both, such as 57:8"
                )


def _kind_by_name(name: str, input_name: str) -> InputKind:
    return MEDIA_INPUTS.get(input_name, KINDS.get(name, "text"))
