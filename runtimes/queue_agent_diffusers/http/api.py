"""The fields of a request, in the OpenAI Images dialect, and what they may hold.

https://docs.vllm.ai/projects/vllm-omni/en/stable/serving/image_generation_api/ and
https://docs.vllm.ai/projects/vllm-omni/en/latest/serving/image_edit_api/ describe the
dialect; `scheduler` and `loras` are extensions of this server. Streaming follows
https://platform.openai.com/docs/api-reference/images-streaming.
"""

import json
import re
from typing import Annotated, Final, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

from queue_agent.wire.quality import Quality, parse_quality
from queue_agent_diffusers.http.images import LANCZOS, MAX_SIDE, MIN_SIDE, SIDE_STEP, OutputFormat

MAX_PROMPT: Final = 10_000
"""Characters; text encoders read the first few hundred at most."""

MAX_LORAS: Final = 8
MAX_CONDITIONS: Final = 4
"""ControlNets of a request, and IP-Adapters."""
_ASKS_FOR_NOTHING: Final = (None, "", "auto", "standard", "false", False)
"""Values at which OpenAI's other fields (`style`, …) may be passed over."""


def blank_is_none(value: object) -> object:
    """A form has no null: an empty field is one that was not given."""
    return None if value in ("", "auto") else value


def _lower(value: object) -> object:
    return {"jpg": "jpeg"}.get(value.lower(), value.lower()) if isinstance(value, str) else value


def _or_text(value: object) -> object:
    return "b64_json" if value in (None, "") else value


def _refuse_links(value: object) -> object:
    if value == "url":
        raise ValueError("no image is kept here that a URL could lead to; ask for b64_json")
    return value


def _number_as_text(value: object) -> object:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _parse_if_text(value: object) -> object:
    """A form has no lists: they come as JSON."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value) if value else []
    except ValueError:
        raise ValueError("must be a list in JSON") from None


Prompt = Annotated[str, Field(max_length=MAX_PROMPT)]


class LoraField(BaseModel):
    """A LoRA of the server's folder, for this request alone."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    name: str = Field(min_length=1, max_length=200)
    scale: float = Field(default=1.0, ge=-10, le=10)


class ControlField(BaseModel):
    """A ControlNet of the server's, and the image that it leads the request by."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    name: str = Field(min_length=1, max_length=200)
    image: str = Field(min_length=1, description="In base64, or as a data URL.")
    scale: float = Field(default=1.0, ge=0, le=10)
    start: float = Field(default=0.0, ge=0, lt=1, description="Share of the steps before it leads.")
    end: float = Field(default=1.0, gt=0, le=1, description="Share of the steps at which it ends.")
    mode: Annotated[
        Annotated[str, Field(min_length=1, max_length=200)] | None,
        BeforeValidator(_number_as_text),
    ] = Field(default=None, description="What the image is, for a ControlNet of several kinds.")

    @model_validator(mode="after")
    def _check_span(self) -> Self:
        if self.start >= self.end:
            raise ValueError("start must be less than end")
        return self


class ImagePromptField(BaseModel):
    """An IP-Adapter of the server's, and the image that stands beside the prompt."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    name: str = Field(min_length=1, max_length=200)
    image: str = Field(min_length=1, description="In base64, or as a data URL.")
    scale: float = Field(default=1.0, ge=0, le=10)


class Fields(BaseModel):
    """Of a request; those that are not known are told."""

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False)

    @property
    def warnings(self) -> list[str]:
        """One sentence for each field that this server does not know."""
        return [
            f"{name}: this server does not know the field; it was ignored."
            for name, value in sorted((self.model_extra or {}).items())
            if value not in _ASKS_FOR_NOTHING and (name, value) != ("background", "opaque")
        ]


class SampledFields(Fields):
    """What a model that takes steps is asked by."""

    negative_prompt: Prompt | None = None
    seed: Annotated[
        Annotated[int, Field(ge=0, lt=2**64)] | None, BeforeValidator(blank_is_none)
    ] = None
    num_inference_steps: Annotated[
        Annotated[int, Field(ge=1, le=500)] | None, BeforeValidator(blank_is_none)
    ] = None
    guidance_scale: Annotated[
        Annotated[float, Field(ge=0, le=100)] | None, BeforeValidator(blank_is_none)
    ] = None


class CommonFields(SampledFields):
    """What requests for images and for videos have in common."""

    prompt: Prompt
    model: str | None = Field(default=None, description="The served model, or nothing.")
    n: int = Field(default=1, ge=1, le=16)
    size: Annotated[str | None, BeforeValidator(blank_is_none)] = None
    true_cfg_scale: Annotated[
        Annotated[float, Field(ge=0, le=100)] | None, BeforeValidator(blank_is_none)
    ] = None
    scheduler: Annotated[
        Annotated[str, Field(max_length=100)] | None, BeforeValidator(blank_is_none)
    ] = None
    quality: Annotated[Quality | None, BeforeValidator(parse_quality)] = Field(
        default=None,
        description="How much the steps may be sped up at the cost of the picture; OpenAI's low, "
        "medium and high are fast, balanced and exact.",
    )
    loras: Annotated[
        tuple[LoraField, ...], Field(max_length=MAX_LORAS), BeforeValidator(_parse_if_text)
    ] = ()
    preview_interval: Annotated[
        Annotated[float, Field(ge=0.1)] | None, BeforeValidator(blank_is_none)
    ] = Field(
        default=None,
        description="Seconds, at least, between two looks at the first image for "
        "`/v1/jobs/{id}/preview`; without it there are none.",
    )
    user: str | None = None

    @field_validator("size")
    @classmethod
    def _check_size(cls, value: str | None) -> str | None:
        if value is None:
            return None
        match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", value)
        if not match:
            raise ValueError("must be WIDTHxHEIGHT in pixels, such as 512x512")
        for side in map(int, match.groups()):
            if not MIN_SIDE <= side <= MAX_SIDE or side % SIDE_STEP:
                raise ValueError(
                    f"sides must be from {MIN_SIDE} to {MAX_SIDE} and divisible by {SIDE_STEP}"
                )
        return value

    @property
    def dimensions(self) -> tuple[int, int] | None:
        """Width and height in pixels, where asked for."""
        if self.size is None:
            return None
        width, _, height = self.size.partition("x")
        return int(width), int(height)


class OutputFields(Fields):
    """How images are answered."""

    response_format: Annotated[
        Literal["b64_json"], BeforeValidator(_refuse_links), BeforeValidator(_or_text)
    ] = "b64_json"
    output_format: Annotated[OutputFormat, BeforeValidator(_lower)] = "png"
    output_compression: Annotated[
        Annotated[int, Field(ge=0, le=100)] | None, BeforeValidator(blank_is_none)
    ] = Field(default=None, description="The quality of JPEG and WebP.")


class GenerationRequest(CommonFields, OutputFields):
    """The body of ``POST /v1/images/generations``."""

    controls: Annotated[
        tuple[ControlField, ...],
        Field(max_length=MAX_CONDITIONS),
        BeforeValidator(_parse_if_text),
    ] = ()
    ip_adapters: Annotated[
        tuple[ImagePromptField, ...],
        Field(max_length=MAX_CONDITIONS),
        BeforeValidator(_parse_if_text),
    ] = ()
    stream: bool = Field(default=False, description="Answer with server-sent events.")
    partial_images: int = Field(
        default=0, ge=0, le=3, description="Previews of each image in a stream, small and rough."
    )


class EditRequest(GenerationRequest):
    """The fields of ``POST /v1/images/edits`` beside the files `image` and `mask`."""

    strength: Annotated[
        Annotated[float, Field(gt=0, le=1)] | None, BeforeValidator(blank_is_none)
    ] = Field(default=None, description="How far the result may go from the image.")


class UpscaleRequest(SampledFields, OutputFields):
    """The fields of ``POST /v1/images/upscales`` beside the file `image`."""

    upscaler: str = Field(
        default=LANCZOS, max_length=200, description="`lanczos`, or one of the server's."
    )
    scale: float = Field(default=2.0, gt=0, le=8, description="Factor of each side.")
    prompt: Prompt = Field(default="", description="For upscalers that are models.")


class JobStatus(BaseModel):
    """The answer of ``GET /v1/jobs/{id}``."""

    id: str
    status: Literal["queued", "running", "completed", "cancelled", "failed"]
    step: int
    steps: int | None = Field(description="None until it is known.")
    progress: float
    previews: int = Field(description="How many looks at the first image there were so far.")
    resumed_steps: int = Field(
        description="Steps of all its images together that a checkpoint has saved."
    )


class ModelName(BaseModel):
    """The body of ``POST /v1/models/load``, ``/v1/models/preload`` and ``/v1/models/unload``."""

    model: str


class LoadState(BaseModel):
    """How far the load of a model is."""

    stage: Literal["fetching", "reading"] | None = Field(description="None before it begins.")
    done_bytes: int | None = Field(description="None where nobody sees it.")
    total_bytes: int | None = Field(description="Of the weights, where that is known.")


class ServedModel(BaseModel):
    """An entry of ``GET /v1/models``."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "local"
    state: Literal["unloaded", "loading", "loaded", "failed"]
    max_batch: int | None = Field(description="Images that share a step; None while not loaded.")
    revision: str | None = Field(description="The hub's commit that was loaded last.")
    running: dict[str, str] = Field(
        description="How it is run, by the names of the command's options, and why not otherwise."
    )
    loading: LoadState | None = Field(description="None while it is not loading.")


class ServedModels(BaseModel):
    """The answer of ``GET /v1/models``."""

    object: Literal["list"] = "list"
    data: list[ServedModel] = Field(description="Those that generate, which clients choose from.")
    upscalers: list[ServedModel] = Field(
        description="Models that make images larger, by the names that requests for that use."
    )


class ActiveJobs(BaseModel):
    """The answer of ``GET /v1/jobs``."""

    data: list[JobStatus]


class Health(BaseModel):
    """The answer of ``GET /health``."""

    status: Literal["ok"] = "ok"
    max_batch: int = Field(description="How many usual jobs are worked on at the same time.")
