"""What a runtime offers beside its task types: workflows by name, and what its server has."""

from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue
from pydantic_core import to_json

from queue_agent.wire.output import ImageFormat

__all__ = [
    "LARGEST",
    "Capabilities",
    "InputKind",
    "NamedWorkflow",
    "Offer",
    "OfferedEmbedding",
    "OfferedLora",
    "OfferedModel",
    "OfferedSampler",
    "OfferedSchedule",
    "OfferedScript",
    "OfferedSizes",
    "OfferedStyle",
    "OfferedUpscaler",
    "WorkflowInput",
]

LARGEST: Final = 2**20
"""Bytes of an offer in the bucket."""

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


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, protected_namespaces=())


class OfferedModel(_Part):
    """A checkpoint, or what the runtime's API calls a model."""

    name: str = Field(description="By which jobs ask for it.")
    title: str | None = Field(default=None, description="As the runtime shows it, if otherwise.")
    hash: str | None = Field(default=None, description="The short one that people quote.")
    sha256: str | None = None
    loaded: bool | None = Field(default=None, description="Whether it was so when last asked.")


class OfferedSampler(_Part):
    """A sampler, by the name that jobs use."""

    name: str
    aliases: tuple[str, ...] = ()
    options: dict[str, str] = Field(default_factory=dict, description="As the Web UI lists them.")


class OfferedSchedule(_Part):
    """A noise schedule, by the name that jobs use."""

    name: str
    label: str | None = None
    aliases: tuple[str, ...] = ()


class OfferedLora(_Part):
    """A LoRA, by the name that prompts use."""

    name: str
    alias: str | None = None


class OfferedUpscaler(_Part):
    """An upscaler, by the name that jobs use."""

    name: str
    model: str | None = Field(default=None, description="The model's name, where it has one.")
    scale: float | None = None


class OfferedStyle(_Part):
    """Words that are put around a prompt."""

    name: str
    prompt: str | None = None
    negative_prompt: str | None = None


class OfferedEmbedding(_Part):
    """A textual inversion, by the word that stands for it."""

    name: str
    shape: int | None = None
    vectors: int | None = None
    usable: bool = Field(default=True, description="With the model that is loaded.")


class OfferedScript(_Part):
    """A script of the Web UI."""

    name: str
    of: Literal["txt2img", "img2img"]
    always_on: bool | None = None
    args: tuple[JsonValue, ...] = Field(default=(), description="As the Web UI describes them.")


class OfferedSizes(_Part):
    """Which widths and heights an image may have, in pixels."""

    smallest: int | None = None
    largest: int | None = None
    multiple_of: int | None = None


class Capabilities(_Part):
    """What a runtime's server has, as it says; None of what is not known."""

    version: str | None = Field(default=None, description="The server's.")
    models: tuple[OfferedModel, ...] | None = None
    samplers: tuple[OfferedSampler, ...] | None = None
    schedules: tuple[OfferedSchedule, ...] | None = None
    loras: tuple[OfferedLora, ...] | None = None
    controls: tuple[str, ...] | None = Field(
        default=None, description="ControlNets that jobs may name beside an image."
    )
    ip_adapters: tuple[str, ...] | None = None
    upscalers: tuple[OfferedUpscaler, ...] | None = None
    latent_upscalers: tuple[str, ...] | None = None
    vaes: tuple[str, ...] | None = None
    styles: tuple[OfferedStyle, ...] | None = None
    embeddings: tuple[OfferedEmbedding, ...] | None = None
    hypernetworks: tuple[str, ...] | None = None
    face_restorers: tuple[str, ...] | None = None
    scripts: tuple[OfferedScript, ...] | None = None
    sizes: OfferedSizes | None = None
    previews: bool | None = Field(
        default=None, description="Whether it shows images while it works on them."
    )


class Offer(Capabilities):
    """What an agent says of its runtime, in the bucket, for those who ask for images.

    What is not known is not there. The whole has a mebibyte at most.
    """

    runtime: str
    adapter: str | None = None
    task_types: tuple[str, ...] = ()
    workflows: tuple[NamedWorkflow, ...] = ()
    output_formats: tuple[ImageFormat, ...] = Field(
        default=(), description="What its agents make of images for jobs that ask for it."
    )
    shortened: tuple[str, ...] = Field(
        default=(), description="Lists of which only the beginning stands here."
    )

    @property
    def capabilities(self) -> Capabilities:
        """The server's alone."""
        return Capabilities(**{name: getattr(self, name) for name in Capabilities.model_fields})

    def to_json(self, limit: int = LARGEST) -> bytes:
        """As it is written: without what is not known, and in no more bytes than `limit`.

        Where it is larger, the longest lists are halved until it is not.
        """
        offer = self
        while len(data := offer.model_dump_json(exclude_none=True).encode()) > limit:
            lists = {name: value for name, value in offer if isinstance(value, tuple) and value}
            lists.pop("shortened", None)
            if not lists:
                break
            name = max(lists, key=lambda one: len(to_json(lists[one])))
            half = lists[name][: len(lists[name]) // 2]
            shortened = sorted({*offer.shortened, name})
            offer = offer.model_copy(update={name: half, "shortened": tuple(shortened)})
        return data
