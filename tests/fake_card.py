"""A CUDA device that is not there: what lies on it has a shape, a precision and no numbers.

Tensors of the host stay real. Operations on the device are followed by torch's own shape functions,
which know of no kernel, and refuse to mix devices as real ones do. What would make the host wait
for the device is noted, and so is what multiplies in which precision. Name the device `DEVICE`,
with its number: without it torch would ask the driver for the current one.
"""

import ctypes
import functools
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

import queue_agent_diffusers.torch.loader  # noqa: F401  before it there are no kinds of streams

DEVICE = "cuda:0"
ZEROS = {torch.bool: False, torch.int64: 0, torch.int32: 0}
aten = torch.ops.aten
NEED_NUMBERS = {
    aten._linalg_check_errors.default,
    aten.equal.default,
    aten.masked_select.default,
    aten.nonzero.default,
}
MULTIPLICATIONS = {
    aten.addmm.default,
    aten.baddbmm.default,
    aten.bmm.default,
    aten.convolution.default,
    aten.mm.default,
}
_GUARDS = "_ZN3c104impl26device_guard_impl_registryE"
_CPU, _CUDA = 0, 1
"""Places in that table, by the numbers of torch's kinds of devices."""


class FakeCard(TorchDispatchMode):  # type: ignore[no-untyped-call]  # not annotated
    """While it is entered, operations on `DEVICE` are followed and no others."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.waits: list[str] = []
        """What the host waited for, and where."""
        self.operations = 0
        self.precisions: set[torch.dtype] = set()
        """Of what was multiplied."""
        self.calls: list[str] = []
        """Of torch.cuda, of those that matter for the order of work."""
        self._shapes = FakeTensorMode(allow_non_fake_inputs=True)

    def forget(self) -> None:
        """Begin to note anew."""
        self.waits, self.precisions, self.operations = [], set(), 0

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        del types
        options: dict[str, Any] = kwargs or {}
        values = tree_flatten((args, options))[0]
        here = [value for value in values if _is_on_card(value)]
        place = torch.device(options.get("device") or "cpu")
        if not here and place.type != "cuda":
            return function(*args, **options)
        if function is aten._local_scalar_dense.default:
            self._note_wait(function)
            return ZEROS.get(here[0].dtype, 0.0)
        if function in NEED_NUMBERS:
            self._note_wait(function)
        copies = function in {aten._to_copy.default, aten.copy_.default}
        to_host = copies and bool(here) and (place.type == "cpu" and "device" in options)
        if copies and not _at_once(args, options) and (to_host or any(map(_is_of_host, values))):
            self._note_wait(function)
        if to_host:
            return torch.zeros(here[0].shape, dtype=options.get("dtype") or here[0].dtype)
        if function is aten.copy_.default and not _is_on_card(args[0]):
            return args[0]
        if function in MULTIPLICATIONS:
            self.precisions |= {value.dtype for value in here}
        self.operations += 1
        args, options = tree_map(self._followed, (args, options))
        with self._shapes:
            return function(*args, **options)

    def _followed(self, value: Any) -> Any:
        return self._shapes.from_tensor(value) if _is_of_host(value) else value

    def _note_wait(self, function: Any) -> None:
        frames = traceback.extract_stack()[:-2]
        ours = [frame for frame in frames if "/torch/" not in _outside(frame.filename)]
        where = " < ".join(f"{Path(one.filename).name}:{one.lineno}" for one in ours[:-4:-1])
        self.waits.append(f"{function} at {where}")


class _Told:
    """An event, a stream or a graph of the device."""

    card: FakeCard

    def __init__(self, *_: Any, **options: Any) -> None:
        self.options = options

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: self.card.calls.append(f"{type(self).__name__}.{name}")


@contextmanager
def fake_card() -> Iterator[FakeCard]:
    """As if torch had found a Hopper card, while the block runs in this thread."""
    card = FakeCard()
    with pytest.MonkeyPatch.context() as patch, _guards(), card:
        kinds = ("Event", "Stream", "CUDAGraph")
        made = {kind: type(kind, (_Told,), {"card": card}) for kind in kinds}
        for kind in kinds:
            patch.setattr(torch.cuda, kind, made[kind])
        facts = {
            "is_available": True,
            "is_initialized": True,
            "current_device": 0,
            "get_device_capability": (9, 0),
            "graph_pool_handle": ("pool", 0),
            "mem_get_info": (80 * 2**30, 80 * 2**30),
            "memory_reserved": 0,
            "synchronize": None,
            "empty_cache": None,
        }
        for name, value in facts.items():
            patch.setattr(torch.cuda, name, _constant(value))
        patch.setattr(torch.cuda, "current_stream", lambda *_: made["Stream"]())
        patch.setattr(torch.cuda, "stream", lambda _: nullcontext())
        patch.setattr(torch.cuda, "graph", functools.partial(_capturing, card))
        patch.setattr(torch.Tensor, "pin_memory", lambda self: self)
        patch.setattr(torch.Tensor, "record_stream", lambda *_: None)
        patch.setattr(torch, "empty", functools.partial(_unpinned, torch.empty))
        patch.setattr(torch.nn.Module, "_apply", _apply)
        fused = functools.partial(_attend, card, functional.scaled_dot_product_attention)
        patch.setattr(functional, "scaled_dot_product_attention", fused)
        yield card


@contextmanager
def _capturing(card: FakeCard, _graph: object, *, pool: object = None, **_: Any) -> Iterator[None]:
    """Nothing may wait while a graph is captured."""
    before = len(card.waits)
    yield
    if card.waits[before:]:
        raise RuntimeError("operation not permitted when stream is capturing")
    card.calls.append(f"captured in {pool}")


@contextmanager
def _guards() -> Iterator[None]:
    """torch without CUDA has nothing that enters a device of that kind; the host's does nothing."""
    if torch.version.cuda is not None:
        yield
        return
    try:
        [found] = (Path(torch.__file__).parent / "lib").glob("libc10.*")
        table = (ctypes.c_void_p * (_CUDA + 1)).in_dll(ctypes.CDLL(str(found)), _GUARDS)
    except (ValueError, OSError) as error:
        pytest.skip(f"this build of torch cannot be given a device: {error}")
    before, table[_CUDA] = table[_CUDA], table[_CPU]
    try:
        yield
    finally:
        table[_CUDA] = before


def _apply(module: Any, change: Any, recurse: bool = True) -> Any:
    """Parts are replaced, since what is on no device cannot be changed to be on one."""
    for part in module.modules() if recurse else [module]:
        for name, value in part._parameters.items():
            if value is not None:
                made = change(value.data)
                part._parameters[name] = torch.nn.Parameter(made, requires_grad=False)
        for name, value in part._buffers.items():
            part._buffers[name] = None if value is None else change(value)
    return module


def _unpinned(empty: Any, *args: Any, pin_memory: bool = False, **options: Any) -> Any:
    del pin_memory  # which takes a driver
    return empty(*args, **options)


def _attend(
    card: FakeCard, attend: Any, query: Any, key: Any, value: Any, *rest: Any, **options: Any
) -> Any:
    """As one kernel; torch without CUDA would take it apart, and multiply in float32."""
    if not _is_on_card(query):
        return attend(query, key, value, *rest, **options)
    card.precisions |= {query.dtype, key.dtype, value.dtype}
    rows, heads, tokens, _ = query.shape
    return query.new_empty(rows, tokens, heads, value.shape[-1]).transpose(1, 2)


def _constant(value: Any) -> Any:
    return lambda *_, **__: value


def _is_on_card(value: Any) -> bool:
    return isinstance(value, FakeTensor) and value.fake_device.type == "cuda"


def _is_of_host(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and not isinstance(value, FakeTensor)


def _at_once(args: Any, options: dict[str, Any]) -> bool:
    """Whether a copy is one that nobody waits for."""
    return bool(options.get("non_blocking") or (len(args) > 2 and args[2]))


def _outside(file: str) -> str:
    return file.replace("queue_agent_diffusers/torch", "")
