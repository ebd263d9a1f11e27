"""Making a pipeline fast on its device.

What costs nothing in quality is always done on CUDA: half precision (chosen by the loader),
channels-last convolutions, one projection for query, key and value; attention is torch's
`scaled_dot_product_attention` by default. On the CPU a pipeline stays as it is.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import torch
from cachetools import LRUCache

from queue_agent_diffusers.options import Speed

BUCKETS: Final = (1, 2, 4, 6, 8, 12, 16, 20, 24, 28, 32)
"""Numbers of rows that compiled and captured networks are run with."""

CAPTURES: Final = 2 * len(BUCKETS)
"""How many shapes stay captured; each holds memory of its own."""

cuda: Any = torch.cuda
"""Not all of it is annotated."""


def tune(pipeline: Any, *, fuse: bool) -> None:
    """Lay out the weights for the device; without `fuse` LoRAs can be applied later."""
    if pipeline.device.type != "cuda":
        return
    torch.backends.cudnn.benchmark = False  # sizes change too often to search for each
    torch.backends.cuda.matmul.allow_tf32 = True
    pipeline.unet.to(memory_format=torch.channels_last)
    pipeline.vae.to(memory_format=torch.channels_last)
    if fuse:
        pipeline.fuse_qkv_projections()


def network_for(pipeline: Any, speed: Speed) -> tuple[Callable[..., Any], Sequence[int]]:
    """What stands for the UNet in forward passes, and the numbers of rows it is run with."""
    unet = pipeline.unet
    if speed == "compile":
        unet.compile_repeated_blocks(fullgraph=True, dynamic=False)
        return unet, BUCKETS
    if speed == "graphs" and unet.device.type == "cuda":
        return GraphedNetwork(unet), BUCKETS
    return unet, ()


class Pace:
    """Lets the host be at most one step ahead of the device.

    Far enough that the device never waits, and near enough that a job that comes or goes does so
    at the next step but one. Does nothing on the CPU.
    """

    def __init__(self, device: torch.device) -> None:
        self._cuda = device.type == "cuda"
        self._marks: deque[Any] = deque()

    def wait(self) -> None:
        """Wait until the device has begun the newest step that was marked."""
        while len(self._marks) > 1:
            self._marks.popleft().synchronize()

    def mark(self) -> None:
        """Note that a step has been handed to the device."""
        if self._cuda:
            event = cuda.Event()
            event.record()
            self._marks.append(event)


class GraphedNetwork:
    """A network whose forward pass is captured once per shape and replayed as one launch.

    Saves the host's time per kernel, which is what small batches wait for. Predictions are
    copied out, since the next replay overwrites them.
    """

    def __init__(self, network: Callable[..., Any]) -> None:
        self._network = network
        self._captured: LRUCache[object, _Capture] = LRUCache(CAPTURES)

    def __call__(self, *arguments: torch.Tensor, **options: Any) -> tuple[torch.Tensor]:
        leaves = [*arguments, *_leaves(options)]
        key = tuple((leaf.shape, leaf.dtype) for leaf in leaves)
        capture = self._captured.get(key)
        if capture is None:
            capture = self._captured[key] = _Capture(self._network, arguments, options)
        return (capture.replay(leaves),)


class _Capture:
    """One captured shape: a graph with the memory that it reads and writes."""

    def __init__(
        self,
        network: Callable[..., Any],
        arguments: Sequence[torch.Tensor],
        options: Mapping[str, Any],
    ) -> None:
        inputs = [argument.clone() for argument in arguments]
        named = _cloned(options)
        self._inputs = [*inputs, *_leaves(named)]
        side = cuda.Stream()
        side.wait_stream(cuda.current_stream())
        with cuda.stream(side):  # kernels are chosen and workspaces made outside the capture
            for _ in range(3):
                network(*inputs, **named)
        cuda.current_stream().wait_stream(side)
        self._graph = cuda.CUDAGraph()
        # Other threads may use the device meanwhile.
        with cuda.graph(self._graph, capture_error_mode="thread_local"):
            self._output: torch.Tensor = network(*inputs, **named)[0]

    def replay(self, leaves: Sequence[torch.Tensor]) -> torch.Tensor:
        for place, value in zip(self._inputs, leaves, strict=True):
            place.copy_(value, non_blocking=True)
        self._graph.replay()
        return self._output.clone()


def _leaves(value: Any) -> list[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, Mapping):
        return [leaf for name in sorted(value) for leaf in _leaves(value[name])]
    return []


def _cloned(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.clone()
    if isinstance(value, Mapping):
        return {name: _cloned(part) for name, part in value.items()}
    return value
