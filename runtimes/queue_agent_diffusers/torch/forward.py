"""One forward pass of a network for the calls of many pipelines."""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any

import torch

from queue_agent_diffusers.torch.suspended import NetworkCall

Network = Callable[..., Any]
"""``network(sample, timestep, **options, return_dict=False)`` gives a tuple of predictions."""


def kind(call: NetworkCall) -> Hashable:
    """Calls of equal kinds fit into one forward pass."""
    return (_shape(call.sample), _shape(call.options))


def rows(call: NetworkCall) -> int:
    """How many rows a call has."""
    return len(call.sample)


def predict(
    network: Network, calls: Sequence[NetworkCall], *, pad_to: int | None = None
) -> list[torch.Tensor]:
    """The predictions for calls of one kind, each in its own rows.

    Every row has its own timestep. With `pad_to` the last row is repeated up to that many rows,
    so that compiled networks and captured graphs see few different shapes.
    """
    counts = [rows(call) for call in calls]
    missing = max(0, (pad_to or 0) - sum(counts))
    sample = _padded(torch.cat([call.sample for call in calls]), missing)
    steps = torch.cat([_row_steps(call) for call in calls])
    timestep = _padded(steps, missing).to(sample.device, non_blocking=True)
    options = _together([call.options for call in calls], missing)
    prediction = network(sample, timestep, **options)[0]
    return list(torch.split(prediction[: sum(counts)], counts))


def _row_steps(call: NetworkCall) -> torch.Tensor:
    """Float32 for all, since schedulers differ; the network makes floats of them anyway."""
    return call.timestep.to(torch.float32).reshape(-1).expand(rows(call))


def _padded(tensor: torch.Tensor, missing: int) -> torch.Tensor:
    if not missing:
        return tensor
    return torch.cat([tensor, tensor[-1:].expand(missing, *tensor.shape[1:])])


def _shape(value: object) -> Hashable:
    if isinstance(value, torch.Tensor):
        return (tuple(value.shape[1:]), value.dtype)
    if isinstance(value, Mapping):
        return tuple((name, _shape(value[name])) for name in sorted(value))
    return repr(value)


def _together(values: Sequence[Any], missing: int) -> Any:
    first = values[0]
    if isinstance(first, torch.Tensor):
        return _padded(torch.cat(list(values)), missing)
    if isinstance(first, Mapping):
        return {name: _together(_column(values, name), missing) for name in first}
    return first


def _column(values: Iterable[Mapping[str, Any]], name: str) -> list[Any]:
    return [value[name] for value in values]
