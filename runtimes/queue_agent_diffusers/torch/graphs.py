"""Forward passes captured as CUDA graphs, one for each shape.

https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import torch
from cachetools import LRUCache

from queue_agent_diffusers.torch.compiled import Fallback
from queue_agent_diffusers.torch.memory import is_out_of_memory

BUCKETS: Final = (1, 2, 4, 6, 8, 12, 16, 20, 24, 28, 32)
"""Numbers of rows that compiled and captured networks are run with."""

CAPTURES: Final = 2 * len(BUCKETS)
"""How many shapes stay captured; each holds memory of its own."""

cuda: Any = torch.cuda
"""Not all of it is annotated."""


class GraphedNetwork:
    """A network whose forward pass is captured once per shape and replayed as one launch.

    Saves the host's time per kernel, which is what small batches wait for. What is predicted is
    copied out, since the next replay overwrites it; so all captures work in the same memory, as
    much as the largest needs. Where a capture fails, passes go to the network itself from then on.
    """

    def __init__(
        self,
        network: Callable[..., Any],
        fallback: Fallback,
        capture: "Callable[..., Any] | None" = None,
    ) -> None:
        """`capture` makes, of network, arguments and options, what has `replay`."""
        self._network = network
        self._fallback = fallback
        self._capture = capture or _Captures()
        self._captured: LRUCache[object, Any] = LRUCache(CAPTURES)

    def __call__(self, *arguments: Any, **options: Any) -> tuple[Any, ...]:
        if self._fallback.failure is None:
            try:
                return self._replay(arguments, options)
            except Exception as error:
                self._captured.clear()
                if is_out_of_memory(error):
                    raise
                self._fallback.give_up(error)
        prediction: tuple[Any, ...] = self._network(*arguments, **options)
        return prediction

    def _replay(self, arguments: Sequence[Any], options: Mapping[str, Any]) -> tuple[Any, ...]:
        key = _shape((arguments, options))
        capture = self._captured.get(key)
        if capture is None:
            capture = self._captured[key] = self._capture(self._network, arguments, options)
        made: tuple[Any, ...] = capture.replay(leaves((arguments, options)))
        return made


class _Captures:
    """Makes captures that share memory: none leaves anything there that another one reads."""

    def __init__(self) -> None:
        self._pool: Any = None

    def __call__(
        self, network: Callable[..., Any], arguments: Sequence[Any], options: Mapping[str, Any]
    ) -> "Capture":
        if self._pool is None:
            self._pool = cuda.graph_pool_handle()
        return Capture(network, arguments, options, self._pool)


class Capture:
    """One captured shape: a graph with the memory that it reads and writes."""

    def __init__(
        self,
        network: Callable[..., Any],
        arguments: Sequence[Any],
        options: Mapping[str, Any],
        pool: object,
    ) -> None:
        """`pool` names the memory that it works in, beside its inputs."""
        own, named = _cloned(arguments), _cloned(options)
        self._inputs = leaves((own, named))
        side = cuda.Stream()
        side.wait_stream(cuda.current_stream())
        with cuda.stream(side):  # kernels are chosen and workspaces made outside the capture
            for _ in range(3):
                network(*own, **named)
        cuda.current_stream().wait_stream(side)
        self._graph = cuda.CUDAGraph()
        # Other threads may use the device meanwhile.
        with cuda.graph(self._graph, pool=pool, capture_error_mode="thread_local"):
            self._output: Any = network(*own, **named)

    def replay(self, values: Sequence[torch.Tensor]) -> Any:
        """What the network gives for other values of the same shapes."""
        for place, value in zip(self._inputs, values, strict=True):
            place.copy_(value, non_blocking=True)
        self._graph.replay()
        return _cloned(self._output)


def leaves(value: Any) -> list[torch.Tensor]:
    """The tensors in it, in an order that depends on names and places alone."""
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, Mapping):
        return [leaf for name in sorted(value) for leaf in leaves(value[name])]
    if isinstance(value, list | tuple):
        return [leaf for part in value for leaf in leaves(part)]
    return []


def _shape(value: Any) -> object:
    """Equal where one capture serves: same shapes, and equal in all that is no tensor."""
    if isinstance(value, torch.Tensor):
        return (value.shape, value.dtype)
    if isinstance(value, Mapping):
        return tuple((name, _shape(value[name])) for name in sorted(value))
    if isinstance(value, list | tuple):
        return tuple(_shape(part) for part in value)
    return repr(value)


def _cloned(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.clone()
    if isinstance(value, Mapping):
        return {name: _cloned(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_cloned(part) for part in value)
    return value
