"""What a server says of its models: their inputs and outputs, and how many jobs they take."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from pydantic import BaseModel, Field, JsonValue, ValidationError

from queue_agent.wire.errors import Unavailable
from queue_agent_runtimes.triton.datatypes import Shape

MOST_PLACES: Final = 256
"""Jobs; whoever says that it works on more at a time is not believed."""


class TensorSpec(BaseModel):
    """An input or an output, as the metadata of a model describes it."""

    name: str
    datatype: str
    shape: Shape
    """With the dimension of batches, where there is one; -1: of any length."""


class _Metadata(BaseModel):
    inputs: list[TensorSpec] = Field(min_length=1)
    outputs: list[TensorSpec] = Field(min_length=1)


@dataclass(frozen=True)
class InferenceModel:
    """A model's tensors by name, and which inputs may be left out."""

    name: str
    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]
    optional: frozenset[str] = frozenset()
    required: frozenset[str] = frozenset()
    """None where the server does not tell which may be left out."""
    places: int = 1
    """Jobs that it works on at the same time, by its configuration."""


def read_metadata(name: str, answer: JsonValue) -> InferenceModel:
    """A model by ``GET /v2/models/NAME``.

    Raises:
        Unavailable: it is of another form (type ``invalid_answer``).
    """
    try:
        found = _Metadata.model_validate(answer)
    except ValidationError as error:
        raise Unavailable(
            f"What the runtime says of its model {name!r} makes no sense.", type="invalid_answer"
        ) from error
    return InferenceModel(
        name,
        {tensor.name: tensor for tensor in found.inputs},
        {tensor.name: tensor for tensor in found.outputs},
    )


def with_config(model: InferenceModel, config: Mapping[str, JsonValue]) -> InferenceModel:
    """The same, with what Triton's own description adds: ``GET /v2/models/NAME/config``."""
    inputs = config.get("input")
    told = {
        str(entry.get("name")): entry.get("optional")
        for entry in (inputs if isinstance(inputs, list) else [])
        if isinstance(entry, dict)
    }
    return replace(
        model,
        optional=frozenset(name for name, optional in told.items() if optional is True),
        required=frozenset(name for name in model.inputs if told.get(name, "?") in (None, False)),
        places=_places(config),
    )


def _places(config: Mapping[str, JsonValue]) -> int:
    """Instances, each with a batch of its own where requests are put together."""
    groups = config.get("instance_group")
    instances = 0
    for group in groups if isinstance(groups, list) else []:
        if isinstance(group, dict):
            count, gpus = group.get("count"), group.get("gpus")
            devices = len(gpus) if isinstance(gpus, list) and gpus else 1
            instances += devices * (count if isinstance(count, int) and count > 0 else 1)
    batch = config.get("max_batch_size")
    batches = "dynamic_batching" in config and isinstance(batch, int) and batch > 0
    places = max(1, instances) * (batch if batches and isinstance(batch, int) else 1)
    return min(places, MOST_PLACES)


@dataclass(frozen=True)
class RepositoryEntry:
    """A model in ``POST /v2/repository/index``."""

    name: str
    state: str
    reason: str

    @property
    def is_ready(self) -> bool:
        return self.state == "READY"


def read_index(answer: JsonValue) -> list[RepositoryEntry]:
    """The models of the repository; one that has several versions is as its best one is."""
    found: dict[str, RepositoryEntry] = {}
    for entry in answer if isinstance(answer, list) else []:
        if isinstance(entry, dict) and isinstance(name := entry.get("name"), str):
            state, reason = str(entry.get("state") or ""), str(entry.get("reason") or "")
            if name not in found or state == "READY":
                found[name] = RepositoryEntry(name, state, reason)
    return [*found.values()]
