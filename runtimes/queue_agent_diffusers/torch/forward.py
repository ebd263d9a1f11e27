"""One forward pass of a network for the calls of many pipelines."""

import hashlib
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import torch
from torch.utils.weak import WeakTensorKeyDictionary

from queue_agent_diffusers.torch.suspended import NetworkCall, parameter_names
from queue_agent_diffusers.torch.uploads import on_host, version

Network = Callable[..., Any]
"""Called as the network is, with ``return_dict=False``; see `RowLayout.outputs`."""

_TIMES: Final = frozenset({"timestep", "timesteps", "t"})


@dataclass(frozen=True)
class RowLayout:
    """How a network's arguments lie; of others than these, tensors have one entry for each row."""

    shared: frozenset[str] = frozenset()
    """What holds for all rows, such as positions, in tensors: equal in all calls of a pass."""
    listed: frozenset[str] = frozenset()
    """Lists with an entry for each row, of any shape."""
    stacked: frozenset[str] = frozenset()
    """Lists of tensors, each of which has one entry for each row."""
    second: frozenset[str] = frozenset()
    """Tensors with one entry for each row in their second dimension."""
    padded: Mapping[str, str] = field(default_factory=dict)
    """Sequences that may be of different lengths, each with the argument that masks its end."""
    outputs: int = 1
    """How many of the things that the network gives are used; where several, as a list."""


ROWS: Final = RowLayout()
"""Every tensor has one."""


def kind(call: NetworkCall, layout: RowLayout = ROWS) -> Hashable:
    """Calls of equal kinds fit into one forward pass."""
    masks = set(layout.padded.values())
    return (
        call.network,
        *(
            (name, _argument_kind(name, value, layout))
            for name, value in call.arguments.items()
            if name not in masks
        ),
    )


def predict(
    network: Network,
    calls: Sequence[NetworkCall],
    layout: RowLayout = ROWS,
    *,
    pad_to: int | None = None,
) -> list[Any]:
    """The predictions for calls of one kind, each in its own rows.

    Every row has its own timestep. With `pad_to` the last row is repeated up to that many rows,
    so that compiled networks and captured graphs see few different shapes.
    """
    given, named, counts = _joined(calls, layout, pad_to)
    made = network(*given, **named, return_dict=False)
    if layout.outputs == 1:
        return _split(made[0], counts)
    apart = [_split(one, counts) for one in made[: layout.outputs]]
    return [list(together) for together in zip(*apart, strict=True)]


def answers(network: Any, calls: Sequence[NetworkCall], layout: RowLayout = ROWS) -> list[Any]:
    """All that a module gives for calls of one kind, in tuples and lists, to each its rows."""
    given, named, counts = _joined(calls, layout, None)
    if "return_dict" in parameter_names(type(network).forward):
        named["return_dict"] = False
    answer = network(*given, **named)
    ends = [sum(counts[: place + 1]) for place in range(len(counts))]
    return [_rows(answer, end - count, end) for end, count in zip(ends, counts, strict=True)]


def _joined(
    calls: Sequence[NetworkCall], layout: RowLayout, pad_to: int | None
) -> tuple[list[Any], dict[str, Any], list[int]]:
    """Arguments of one call for all, without and with names, and the rows of each."""
    counts = [call.rows for call in calls]
    missing = max(0, (pad_to or 0) - sum(counts))
    calls = _of_one_length(calls, layout)
    device = _device(next(iter(calls[0].arguments.values())))
    together: dict[str, Any] = {}
    for name in calls[0].arguments:
        values = [call.arguments[name] for call in calls]
        if name in _TIMES:
            times = torch.cat([_row_times(call, name) for call in calls])
            together[name] = _padded(times, missing).to(device, non_blocking=True)
        elif name in layout.shared:
            together[name] = values[0]
        elif name in layout.listed:
            joined = [row for value in values for row in value]
            together[name] = [*joined, *joined[-1:] * missing]
        else:
            together[name] = _together(name, values, missing, layout)
    given = list(together.values())[: calls[0].positional]
    named = dict(list(together.items())[calls[0].positional :])
    return given, named, counts


def holds_lists(call: NetworkCall, layout: RowLayout) -> bool:
    """Whether there are any that are stacked."""
    within = [part for one in call.arguments.values() if isinstance(one, Mapping) for part in one]
    return not layout.stacked.isdisjoint({*call.arguments, *within})


def _argument_kind(name: str, value: Any, layout: RowLayout) -> Hashable:
    if name in layout.shared:
        return _content(value)
    if name in layout.listed:
        return "list"
    if name in _TIMES:
        return tuple(value.shape[1:])
    if name in layout.second:
        return (value.shape[0], tuple(value.shape[2:]), value.dtype)
    if name in layout.padded:
        return (tuple(value.shape[2:]), value.dtype)
    return _shape(name, value, layout)


def _row_times(call: NetworkCall, name: str) -> torch.Tensor:
    """Float32 for all, since schedulers differ; networks make floats of them anyway."""
    times: torch.Tensor = call.arguments[name].to(torch.float32)
    return times if times.dim() > 1 else times.reshape(-1).expand(call.rows)


def _of_one_length(calls: Sequence[NetworkCall], layout: RowLayout) -> Sequence[NetworkCall]:
    """With sequences padded to the longest, where they differ, and masked."""
    for tokens, mask in layout.padded.items():
        lengths = [call.arguments[tokens].shape[1] for call in calls]
        masks = [call.arguments.get(mask) for call in calls]
        if len(set(lengths)) == 1 and all(given is None for given in masks):
            continue
        calls = [_padded_call(call, tokens, mask, max(lengths)) for call in calls]
    return calls


def _padded_call(call: NetworkCall, tokens: str, mask: str, length: int) -> NetworkCall:
    value: torch.Tensor = call.arguments[tokens]
    given = call.arguments.get(mask)
    short = length - value.shape[1]
    seen = value.new_ones(value.shape[:2], dtype=torch.bool) if given is None else given.bool()
    pad = torch.nn.functional.pad
    padded = {tokens: pad(value, (0, 0, 0, short)), mask: pad(seen, (0, short))}
    return replace(call, arguments={**call.arguments, **padded})


def _padded(tensor: torch.Tensor, missing: int) -> torch.Tensor:
    if not missing:
        return tensor
    return torch.cat([tensor, tensor[-1:].expand(missing, *tensor.shape[1:])])


_contents: Any = WeakTensorKeyDictionary()
"""Of shared tensors seen before, and their versions: pipelines make them once, and comparing may
take a wait."""


def _content(value: Any) -> Hashable:
    if isinstance(value, list | tuple):
        return tuple(map(_content, value))
    if not isinstance(value, torch.Tensor):
        return repr(value)
    content: tuple[Any, ...]
    content, then = _contents.get(value, ((), None))
    now = version(value)
    if now is None or now != then:
        seen = hashlib.sha256(on_host(value).float().numpy().tobytes()).digest()
        content = (tuple(value.shape), value.dtype, seen)
        _contents[value] = content, now
    return content


def _shape(name: str, value: object, layout: RowLayout) -> Hashable:
    if isinstance(value, torch.Tensor):
        return (tuple(value.shape[1:]), value.dtype)
    if isinstance(value, Mapping):
        return tuple((part, _shape(str(part), value[part], layout)) for part in sorted(value))
    if isinstance(value, list | tuple) and name in layout.stacked:
        return tuple(_shape("", part, layout) for part in value)
    if isinstance(value, list | tuple):
        # Whether tensors in it are rows nobody says: such a call goes alone.
        return object() if any(map(_holds_tensors, value)) else repr(value)
    return repr(value)


def _holds_tensors(value: object) -> bool:
    if isinstance(value, list | tuple):
        return any(map(_holds_tensors, value))
    return isinstance(value, torch.Tensor)


def _together(name: str, values: Sequence[Any], missing: int, layout: RowLayout) -> Any:
    first = values[0]
    if name in layout.second:
        joined = torch.cat([value.transpose(0, 1) for value in values])
        return _padded(joined, missing).transpose(0, 1)
    if isinstance(first, torch.Tensor):
        return _padded(torch.cat(list(values)), missing)
    if isinstance(first, Mapping):
        parts = {part: [value[part] for value in values] for part in first}
        return {part: _together(part, ones, missing, layout) for part, ones in parts.items()}
    if isinstance(first, list | tuple) and name in layout.stacked:
        return [_padded(torch.cat(ones), missing) for ones in zip(*values, strict=True)]
    return first


def _rows(answer: Any, begin: int, end: int) -> Any:
    if isinstance(answer, torch.Tensor):
        return answer[begin:end]
    if isinstance(answer, Mapping):
        return {name: _rows(part, begin, end) for name, part in answer.items()}
    if isinstance(answer, list | tuple):
        return type(answer)(_rows(part, begin, end) for part in answer)
    return answer


def _split(prediction: Any, counts: Sequence[int]) -> list[Any]:
    if isinstance(prediction, list):
        ends = [sum(counts[: place + 1]) for place in range(len(counts))]
        return [prediction[end - count : end] for end, count in zip(ends, counts, strict=True)]
    return list(torch.split(prediction[: sum(counts)], list(counts)))


def _device(rows: Any) -> torch.device:
    first: torch.Tensor = rows[0]
    return first.device
