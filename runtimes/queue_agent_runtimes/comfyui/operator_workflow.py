"""Workflows that the operator gave a name, and the inputs of theirs that jobs may set. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, get_args

from pydantic import JsonValue

from queue_agent.runtime import (
    InputKind,
    MediaKind,
    ModelFile,
    NamedWorkflow,
    Reference,
    WorkflowInput,
)
from queue_agent.runtime.places import is_prompt, refuse_unfetched
from queue_agent.wire.errors import Rejected
from queue_agent.wire.portable import MAX_SEED
from queue_agent_runtimes.comfyui.workflow import (
    INVALID_WORKFLOW,
    TEXT_INPUTS,
    Graph,
    Workflow,
    find_references,
    with_input,
)

SEED: Final = "seed"
"""The input by which a workflow is given its seed: a random one where a job names none."""

SHOWN: Final = 100
"""Characters of a foreign name that messages repeat."""

_MEANT: Final[Mapping[str, str]] = {
    "image": "an image by its URL",
    "video": "a video by its URL",
    "audio": "audio by its URL",
}

Target = tuple[str, str]
"""A node's id and the name of an input of it."""


@dataclass(frozen=True)
class Exposed:
    """An input that jobs may give, and where it goes."""

    name: str
    kind: InputKind
    targets: tuple[Target, ...]
    default: JsonValue = None
    required: bool = False

    @property
    def media(self) -> bool:
        return self.kind in get_args(MediaKind)


@dataclass(frozen=True)
class OperatorWorkflow:
    """A workflow with a name."""

    name: str
    graph: Graph
    inputs: Mapping[str, Exposed]
    answers: tuple[str, ...] = ()
    description: str = ""
    extra_data: dict[str, JsonValue] = field(default_factory=dict)
    models: tuple[ModelFile, ...] = ()
    """Those that it needs, with their URLs; by the operator."""

    def offer(self) -> NamedWorkflow:
        """What jobs may know of it."""
        return NamedWorkflow(
            name=self.name,
            description=self.description,
            inputs=tuple(
                WorkflowInput(
                    name=exposed.name,
                    kind=exposed.kind,
                    required=exposed.required,
                    default=exposed.default,
                )
                for exposed in self.inputs.values()
            ),
            answers=self.answers,
        )

    def filled(self, given: Mapping[str, JsonValue], *, random_seed: int) -> Workflow:
        """The workflow with what a job gives it; null counts as not given.

        Raises:
            Rejected: of type ``invalid_workflow``, naming each input that is unknown, missing or
                of another kind.
        """
        present = {name: value for name, value in given.items() if value is not None}
        faults = [*self._unknown(present), *self._unfit(present)]
        if faults:
            raise invalid("; ".join(faults[:10]) + ".")
        graph, seed = dict(self.graph), None
        for exposed in self.inputs.values():
            value = present.get(exposed.name, exposed.default)
            if exposed.name == SEED and exposed.kind == "number":
                value = seed = _seed(value, random_seed)
            if value is not None:
                for node_id, name in exposed.targets:
                    graph[node_id] = with_input(graph[node_id], name, value)
        seeds = {} if seed is None else dict.fromkeys(graph, seed)
        return Workflow(graph, self.extra_data, seeds)

    def check_places(self, given: Mapping[str, JsonValue]) -> None:
        """Refuse what a job gives that names a place and is not fetched.

        What the operator wrote is the operator's to know.

        Raises:
            Rejected: of type ``reference_forbidden``.
        """
        fetched = {
            reference.path for reference in find_references(self.filled(given, random_seed=0).graph)
        }
        for name, value in given.items():
            exposed = self.inputs[name]
            path = ("inputs", name)
            if exposed.kind == "text" and _holds_words(exposed):
                continue
            ours = all((node_id, "inputs", to) in fetched for node_id, to in exposed.targets)
            references = [Reference(str(value), path)] if ours and exposed.media else []
            refuse_unfetched({"inputs": {name: value}}, fetched=references)

    def _unknown(self, given: Mapping[str, JsonValue]) -> Iterator[str]:
        known = ", ".join(self.inputs) or "none"
        for name in given.keys() - self.inputs.keys():
            yield (
                f"inputs.{name[:SHOWN]}: the workflow {self.name} has no such input; "
                f"it has: {known}"
            )

    def _unfit(self, given: Mapping[str, JsonValue]) -> Iterator[str]:
        for name, exposed in self.inputs.items():
            if name not in given:
                if exposed.required and exposed.default is None:
                    yield f"inputs.{name}: must be given ({exposed.kind})"
            elif (fault := fault_of(exposed, given[name])) is not None:
                yield f"inputs.{name}: {fault}"


def fault_of(exposed: Exposed, value: JsonValue) -> str | None:
    """What is wrong with a value, if anything is."""
    if exposed.kind == "boolean":
        return None if isinstance(value, bool) else "must be true or false"
    if exposed.kind == "number":
        if isinstance(value, bool) or not isinstance(value, int | float):
            return "must be a number"
        if exposed.name == SEED and not (isinstance(value, int) and -1 <= value <= MAX_SEED):
            return "must be a whole number, -1 for a random one"
        return None
    if isinstance(value, str):
        return None
    return "must be a text" if exposed.kind == "text" else f"must name {_MEANT[exposed.kind]}"


def _seed(value: JsonValue, random_seed: int) -> int:
    return value if isinstance(value, int) and value >= 0 else random_seed


def _holds_words(exposed: Exposed) -> bool:
    """Whether its text is a prompt, by what the operator calls it or by where it goes."""
    return is_prompt((exposed.name,)) or all(name in TEXT_INPUTS for _, name in exposed.targets)


def invalid(message: str) -> Rejected:
    return Rejected(message, type=INVALID_WORKFLOW)
