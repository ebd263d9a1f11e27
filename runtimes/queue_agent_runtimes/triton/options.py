"""What operators may say to this adapter alone, in ``QUEUE_AGENT_RUNTIME_OPTIONS``."""

import re
from typing import Annotated, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from queue_agent_runtimes.triton.tensor_roles import USUAL_INPUTS

_MODEL_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")


def is_model_name(text: str) -> bool:
    """Whether a model may be called so: names stand in paths."""
    return _MODEL_NAME.fullmatch(text) is not None


def _model_name(text: str) -> str:
    if not is_model_name(text):
        raise ValueError("is no name of a model")
    return text


ModelName = Annotated[str, AfterValidator(_model_name)]
TensorName = Annotated[str, Field(min_length=1, max_length=256)]


class TritonOptions(BaseModel):
    """All have defaults that fit a model with the usual names."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: ModelName | None = Field(
        default=None,
        description="The model of jobs that name none, on whose readiness the agent waits; else "
        "the server's only one.",
    )
    concurrency: int | None = Field(
        default=None,
        ge=1,
        le=1024,
        description="Jobs that the server works on at the same time; else what the model's "
        "configuration says: its instances, times max_batch_size with dynamic batching.",
    )
    inputs: dict[str, TensorName] = Field(
        default_factory=dict,
        description="The model's inputs where they have no usual names: an object of fields of "
        f"jobs ({', '.join(USUAL_INPUTS)}) and names of tensors.",
    )
    output: TensorName | None = Field(
        default=None, description="The output with the images, where it has no usual name."
    )
