"""The operator's workflows by name, and what a job asks of one. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

from pydantic import JsonValue

from queue_agent.runtime import NamedWorkflow
from queue_agent.wire.errors import Unavailable
from queue_agent_runtimes.comfyui.operator_workflow import SHOWN, OperatorWorkflow, invalid
from queue_agent_runtimes.comfyui.workflow import Workflow, unwrapped

_BESIDE: Final = frozenset({"workflow", "inputs", "extra_data"})


@dataclass(frozen=True)
class Asked:
    """One of the operator's workflows, and what a job gives to it."""

    workflow: OperatorWorkflow
    inputs: dict[str, JsonValue]
    extra_data: dict[str, JsonValue] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def filled(self, *, random_seed: int) -> Workflow:
        """Raises as `OperatorWorkflow.filled`."""
        filled = self.workflow.filled(self.inputs, random_seed=random_seed)
        extra_data = {**filled.extra_data, **self.extra_data}
        return replace(filled, extra_data=extra_data, warnings=self.warnings)

    def check_places(self) -> None:
        """Raises as `OperatorWorkflow.check_places`."""
        self.workflow.check_places(self.inputs)


class Convertible(Protocol):
    """A workflow that waits for the server's classes."""

    @property
    def answers(self) -> tuple[str, ...]: ...

    def offer(self) -> NamedWorkflow: ...

    def converted(self, object_info: Mapping[str, JsonValue]) -> OperatorWorkflow: ...


@dataclass(frozen=True)
class Library:
    """The operator's workflows, by name."""

    workflows: Mapping[str, OperatorWorkflow] = field(default_factory=dict)
    waiting: Mapping[str, Convertible] = field(default_factory=dict)
    """Those in the editor's format that are not yet converted, or cannot be."""
    unusable: Mapping[str, str] = field(default_factory=dict)
    """Why some of these cannot be, on the server as it is."""

    def on(self, object_info: Mapping[str, JsonValue]) -> "Library":
        """The library on a server of these classes."""
        workflows, unusable = dict(self.workflows), {}
        for name, saved in self.waiting.items():
            try:
                workflows[name] = saved.converted(object_info)
            except ValueError as error:
                unusable[name] = "; ".join(str(error).splitlines())
        waiting = {name: self.waiting[name] for name in unusable}
        return Library(workflows, waiting, unusable)

    def asked(self, content: Mapping[str, JsonValue]) -> Asked | None:
        """What a pipeline job asks for by name; None: it brings its own workflow.

        Raises:
            Rejected: of type ``invalid_workflow``; there is none of that name, or the server
                cannot run it.
            Unavailable: the server has not told its classes yet.
        """
        content = unwrapped(content)
        name = content.get("workflow")
        if not isinstance(name, str):
            return None
        if name not in self.workflows:
            self._raise_if_waiting(name)
            known = ", ".join(self._names()) or "none by name"
            raise invalid(f"workflow: there is no {name[:SHOWN]!r} here; known: {known}.")
        inputs, extra_data = content.get("inputs") or {}, content.get("extra_data") or {}
        if not isinstance(inputs, dict) or not isinstance(extra_data, dict):
            raise invalid('inputs and extra_data must be objects, such as {"prompt": "a cat"}.')
        given: dict[str, JsonValue] = {k: v for k, v in inputs.items() if v is not None}
        beside = sorted(content.keys() - _BESIDE)
        return Asked(
            self.workflows[name],
            given,
            extra_data,
            tuple(f"{key[:SHOWN]}: has no effect beside a workflow's name" for key in beside),
        )

    def answering(self, task_type: str) -> OperatorWorkflow | None:
        """The one that is the answer to portable jobs of a task type, if any is.

        Raises:
            Rejected, Unavailable: as `asked`.
        """
        for name, saved in self.waiting.items():
            if task_type in saved.answers:
                self._raise_if_waiting(name)
        return next((own for own in self.workflows.values() if task_type in own.answers), None)

    @property
    def answered(self) -> frozenset[str]:
        """The task types of portable jobs that one of them is the answer to."""
        answers = [own.answers for own in self.workflows.values()]
        answers += [own.answers for own in self.waiting.values()]
        return frozenset(task_type for one in answers for task_type in one)

    def offers(self) -> list[NamedWorkflow]:
        offers = {name: own.offer() for name, own in self.waiting.items()}
        offers |= {name: own.offer() for name, own in self.workflows.items()}
        return [offers[name] for name in self._names()]

    def _names(self) -> list[str]:
        return sorted({*self.workflows, *self.waiting})

    def _raise_if_waiting(self, name: str) -> None:
        if name in self.unusable:
            reason = self.unusable[name]
            raise invalid(f"The workflow {name!r} cannot be used on this server: {reason}")
        if name in self.waiting:
            raise Unavailable(f"ComfyUI has not told the classes yet that {name!r} needs.")
