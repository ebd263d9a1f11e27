"""Copies to a CUDA device that the host does not wait for.

A copy from ordinary memory waits until the device has done all that it was given before, which
between two steps is the step that runs. From pinned memory it waits for nothing:
https://docs.pytorch.org/docs/stable/notes/cuda.html#use-pinned-memory-buffers
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final

import torch
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary

_Place = torch.device | str | int | None

_MOVES: Final = frozenset({torch.Tensor.to, torch.Tensor.cuda})
_MAKERS: Final = frozenset({torch.tensor, torch.as_tensor, torch.asarray})

_REMEMBERED: Final = 2**23
"""Bytes of what is kept to be looked at here, at most: positions are small, videos are not."""

_sources: Any = WeakTensorKeyDictionary()
"""Of tensors that were copied to the device, what they were copied from, and their version then."""


def uploading() -> AbstractContextManager[object]:
    """Within it tensors of the host go to a CUDA device by pinned memory; the same values.

    And equations are solved there without a look at whether they can be.
    """
    return _Uploading() if torch.cuda.is_available() else nullcontext()


def on_host(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor in the host's memory; waits for the device unless it came from here as it is."""
    source: torch.Tensor | None
    source, then = _sources.get(tensor, (None, None))
    return tensor.cpu() if source is None or then != version(tensor) else source


def version(tensor: torch.Tensor) -> int | None:
    """Grows with each change of the tensor, by whatever view of it; None where nobody counts."""
    return None if tensor.is_inference() else tensor._version  # noqa: SLF001  it has no other name


class _Uploading(TorchFunctionMode):
    def __torch_function__(
        self,
        function: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        del types
        options = kwargs or {}
        if function in _MOVES and args[0].device.type == "cpu":
            device, dtype = _asked(function, *args[1:], **options)
            plain = "memory_format" not in options
            if _is_cuda(device) and plain and _is_to_be_pinned(args[0]):
                return _upload(args[0] if dtype is None else args[0].to(dtype), device)
        if function is torch.linalg.solve and args and args[0].is_cuda:  # its check is a wait
            return torch.linalg.solve_ex(*args, **options)[0]
        if (
            function in _MAKERS
            and _is_cuda(options.get("device"))
            and not any(map(_is_of_card, [*args, *options.values()]))
        ):
            return _upload(function(*args, **{**options, "device": "cpu"}), options["device"])
        return function(*args, **options)


def _is_to_be_pinned(tensor: torch.Tensor) -> bool:
    """Not weights, which come for a call: torch would keep as much pinned memory for good.

    Nor what is pinned: its owner, who did not ask for a copy at his back, may change it.
    """
    return not isinstance(tensor, torch.nn.Parameter) and not tensor.is_pinned()


def _is_of_card(value: object) -> bool:
    return isinstance(value, torch.Tensor) and value.is_cuda


def _asked(
    function: Any,
    first: object = None,
    *more: object,
    device: _Place = None,
    dtype: torch.dtype | None = None,
    other: torch.Tensor | None = None,
    **_: object,
) -> tuple[_Place, torch.dtype | None]:
    """Where `Tensor.to` or `Tensor.cuda` brings a tensor, and what it makes of its numbers."""
    like = first if isinstance(first, torch.Tensor) else other
    if like is not None:
        return like.device, like.dtype
    if device is None and isinstance(first, str | int | torch.device):
        device = first
    if device is None and function is torch.Tensor.cuda:
        device = "cuda"
    named = [one for one in (first, *more) if isinstance(one, torch.dtype)]
    return device, next(iter(named), dtype)


def _is_cuda(device: _Place) -> bool:
    return device is not None and torch.device(device).type == "cuda"


def _upload(tensor: torch.Tensor, device: _Place) -> torch.Tensor:
    pinned = tensor.pin_memory()
    uploaded = pinned.to(device, non_blocking=True)
    if pinned.nbytes <= _REMEMBERED and (now := version(uploaded)) is not None:
        _sources[uploaded] = pinned, now
    return uploaded
