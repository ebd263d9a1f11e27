"""What a runtime offers beside its task types: workflows by name, with inputs by name."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

__all__ = ["InputKind", "NamedWorkflow", "Offer", "WorkflowInput"]

InputKind = Literal["text", "number", "boolean", "image", "video", "audio", "file"]


class WorkflowInput(BaseModel):
    """One input that jobs may give to a workflow."""

    model_config = ConfigDict(frozen=True)

    name: str
    kind: InputKind = Field(description="The last three are references or data URLs.")
    required: bool = False
    default: JsonValue = Field(default=None, description="What it is where a job gives none.")


class NamedWorkflow(BaseModel):
    """A workflow that jobs ask for by its name."""

    model_config = ConfigDict(frozen=True)

    name: str
    description: str = ""
    inputs: tuple[WorkflowInput, ...] = ()
    answers: tuple[str, ...] = Field(
        default=(), description="Task types whose portable jobs it is the answer to."
    )

    def __str__(self) -> str:
        """In a line, for people: ``flux (text-to-image): prompt (text, required)``."""
        answers = f" ({', '.join(self.answers)})" if self.answers else ""
        inputs = ", ".join(
            f"{given.name} ({given.kind}{', required' if given.required else ''})"
            for given in self.inputs
        )
        return f"{self.name}{answers}: {inputs or 'no inputs'}"


class Offer(BaseModel):
    """What an agent says of its runtime, in the bucket, for those who ask for images."""

    model_config = ConfigDict(frozen=True)

    runtime: str
    task_types: tuple[str, ...] = ()
    workflows: tuple[NamedWorkflow, ...] = ()
