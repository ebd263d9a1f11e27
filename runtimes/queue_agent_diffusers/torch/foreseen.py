"""What a pass will take of the memory, before it is made.

The network is run with tensors that have shapes and no content, and it is added up what lives at
the same time: https://docs.pytorch.org/docs/stable/torch.compiler_fake_tensor.html. That takes as
long as a pass on a fast device, and less than one on a CPU. It is done where memory may turn out to
be short, once for each shape. Tensors are a lower bound: what kernels take beside them, in which
threads differ, is not in it, so what is said not to fit does not.
"""

import copy
import logging
import weakref
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Any, Final

import torch
from cachetools import LRUCache
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from queue_agent_diffusers.errors import OutOfMemory
from queue_agent_diffusers.torch.memory import free_memory, release_memory, trim_memory
from queue_agent_diffusers.torch.suspended import NetworkCall

_log = logging.getLogger(__name__)
_tree_leaves: Final[Callable[[Any], list[Any]]] = tree_leaves
_mode: Any = TorchDispatchMode
"""Not annotated."""
GENEROUS: Final = 192 * 2**10
"""Bytes for each element of the latents that no network and no autoencoder takes."""
NARROW: Final = 2
"""Times what is foreseen: where no more is free, what the C library keeps is given back first."""
_PUT_BEFORE: Final = ("forward", "_hf_hook", "_compiled_call_impl")
"""By `compiled`, accelerate and torch."""
_UNFORESEEN: Final = (
    RuntimeError,
    TypeError,
    ValueError,
    AttributeError,
    LookupError,
    ArithmeticError,
    AssertionError,
)
"""What networks raise that look at the content of their tensors, or know shapes alone in part."""
_SHAPES: Final = 256
"""How many are remembered."""
_MIB: Final = 2**20


class Foreseen:
    """What passes of one model's networks take, as far as it was asked for.

    Only where they are made in the host's memory: other devices tell by an error that something
    does not fit, the host by the end of the process.
    """

    def __init__(self, device: torch.device) -> None:
        self._on_host = device.type == "cpu"
        self._device = device
        self._each: LRUCache[Hashable, int | None] = LRUCache(_SHAPES)
        """Bytes of one call of a shape."""
        self._fit: LRUCache[Hashable, int] = LRUCache(_SHAPES)
        """The most rows of a shape that there was room for."""

    def check(self, network: Any, calls: Sequence[NetworkCall]) -> None:
        """Raise `OutOfMemory` where the memory is short for one pass for all of these.

        What has fitted once is let through: a job is not ended halfway because something else
        holds the memory for a while.
        """
        free = free_memory(self._device) if self._on_host else None
        if free is None:
            return
        first, rows = calls[0], sum(call.rows for call in calls)
        shape = (id(network), *map(_shape, _tree_leaves(first.arguments)))
        need = self._need(network, first, shape, rows, free)
        if need * NARROW > free:
            trim_memory()
            if rows > self._fit.get(shape, 0):
                self._refuse(need, rows)
        self._fit[shape] = max(rows, self._fit.get(shape, 0))

    def _need(self, network: Any, call: NetworkCall, shape: Hashable, rows: int, free: int) -> int:
        """The bytes that so many rows take; 0 where that is not known, or plenty is free."""
        latents = _elements(next(iter(call.arguments.values()))) * rows // call.rows
        if latents * GENEROUS <= free:
            return 0
        if shape not in self._each:
            self._each[shape] = peak_bytes(network, lambda network: _ask(network, call))
        return (self._each[shape] or 0) * rows // call.rows

    def _refuse(self, need: int, rows: int) -> None:
        """Raise `OutOfMemory` where it is beyond doubt."""
        free = free_memory(self._device) or 0
        if need > free:
            release_memory()
            free = free_memory(self._device) or 0
        if need > free:
            raise OutOfMemory(
                f"A step of {rows} row(s) takes {need // _MIB} MiB of memory, beside the weights, "
                f"and {free // _MIB} MiB are free."
            )


def _ask(network: Any, call: NetworkCall) -> object:
    given = list(call.arguments.values())[: call.positional]
    named = dict(list(call.arguments.items())[call.positional :])
    return network(*given, **named, return_dict=False)


def _shape(leaf: object) -> Hashable:
    return (*leaf.shape, leaf.dtype) if isinstance(leaf, torch.Tensor) else None


def _elements(latents: object) -> int:
    return sum(one.numel() for one in _tree_leaves(latents) if isinstance(one, torch.Tensor))


def peak_bytes(module: torch.nn.Module, ask: Callable[[Any], object]) -> int | None:
    """The most bytes of tensors that asking the module has at a time, beside those it is given.

    None where it cannot do without their content, or has parts that come and go or are compiled.
    """
    if not all(map(_is_plain, module.modules())):
        return None
    seen = _Lives()
    try:
        mode: Any = FakeTensorMode(allow_non_fake_inputs=True)
        # What it remembers from call to call is then remembered by one that is thrown away.
        known = {id(one): mode.from_tensor(one) for one in _kept(module)}
        with torch.no_grad(), mode:
            shape = copy.deepcopy(module, known)
            with seen:
                ask(shape)
    except _UNFORESEEN as error:
        _log.info("what a pass takes is not foreseen: %s: %s", type(error).__name__, error)
        return None
    return seen.most


def _kept(module: torch.nn.Module) -> Iterator[torch.Tensor]:
    """Tensors beside the weights, which are copied by other means."""
    for part in module.modules():
        yield from part.buffers(recurse=False)
        yield from (one for one in vars(part).values() if isinstance(one, torch.Tensor))


def _is_plain(module: torch.nn.Module) -> bool:
    """Whether it is what its class says: what was put before it may keep what it saw.

    Any call of one of diffusers' pipelines leaves an empty list of its hooks.
    """
    of_diffusers = getattr(module, "_diffusers_hook", None)
    put_before = [vars(module).get(name) for name in _PUT_BEFORE]
    return not any(put_before) and not (of_diffusers and of_diffusers.hooks)


class _Lives(_mode):  # type: ignore[misc]
    """Adds up the storages that are made, until they are freed."""

    def __init__(self) -> None:
        super().__init__()
        self.most = 0
        self._now = 0
        self._known: set[int] = set()

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Do it, and note what it made."""
        del types
        given = {id(one) for one in _storages((args, kwargs))}
        made = func(*args, **(kwargs or {}))
        for storage in _storages(made):
            if id(storage) not in given and id(storage) not in self._known:
                self._note(storage)
        return made

    def _note(self, storage: torch.UntypedStorage) -> None:
        size, number = storage.nbytes(), id(storage)
        self._known.add(number)
        self._now += size
        self.most = max(self.most, self._now)
        weakref.finalize(storage, self._forget, number, size)

    def _forget(self, number: int, size: int) -> None:
        self._known.discard(number)
        self._now -= size


def _storages(tensors: object) -> list[torch.UntypedStorage]:
    return [one.untyped_storage() for one in _tree_leaves(tensors) if torch.is_tensor(one)]
