"""Making a pipeline fast on its device, as `speed_plan` says, and telling what was done.

Weights in half precision are the loader's choice, and torch's fused attention is what diffusers
calls anyway. All else is an option of the server's command, and what fails is left out: its
absence stands in the log.
"""

import logging
import shutil
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any, Final

import torch

from queue_agent_diffusers.options import Options
from queue_agent_diffusers.torch.compiled import (
    Fallback,
    compile_blocks,
    guard_blocks,
    repeated_blocks,
)
from queue_agent_diffusers.torch.graphs import BUCKETS, GraphedNetwork
from queue_agent_diffusers.torch.quantized import quantize_blocks
from queue_agent_diffusers.torch.speed_plan import DeviceFacts, NetworkFacts, SpeedPlan, speed_plan

_PACKAGES: Final = ("torchao", "flash_attn", "flash_attn_interface", "sageattention")
_FUSABLE: Final = frozenset(
    {
        "UNet2DConditionModel",
        "FluxTransformer2DModel",
        "Flux2Transformer2DModel",
        "PixArtTransformer2DModel",
        "SD3Transformer2DModel",
        "WanTransformer3DModel",
    }
)
"""diffusers' networks whose attention runs fused projections; others would only hold them."""

cuda: Any = torch.cuda
"""Not all of it is annotated."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Accelerated:
    """What stands for a pipeline's networks in forward passes."""

    networks: Mapping[str, Callable[..., Any]]
    buckets: Sequence[int]
    """The numbers of rows that they are run with; none: any."""
    warm: Sequence[int]
    """Numbers of rows to try before jobs come, so that nothing is made ready while they wait."""
    told: Mapping[str, str]
    """What is used, and why something is not, by the names of the command's options."""


def accelerate(
    pipeline: Any,
    options: Options,
    *,
    names: Sequence[str] = ("unet",),
    same_shapes: bool = True,
    backend: Any = "inductor",
) -> Accelerated:
    """Do to the pipeline's networks of those names what the options ask for, and can be done.

    `backend` is torch.compile's.
    """
    found = {name: getattr(pipeline, name, None) for name in names}
    networks: dict[str, Any] = {name: one for name, one in found.items() if one is not None}
    first = next(iter(networks.values()))
    device = pipeline.vae.device  # networks may wait elsewhere
    transformer = "unet" not in networks
    facts = NetworkFacts(
        transformer=transformer,
        blocks=bool(repeated_blocks(first)),
        fusable=type(first).__name__ in _FUSABLE,
        takes_attention=_takes_attention(first),
        same_shapes=same_shapes,
    )
    plan = speed_plan(options, device_facts(device), facts)
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = False  # sizes change too often to search for each
        torch.backends.cuda.matmul.allow_tf32 = True
    stand_ins: dict[str, Callable[..., Any]] = {}
    for name, network in networks.items():
        plan = _prepare(pipeline, network, plan)
        stand_ins[name] = _run_by(network, plan, backend)
    buckets = BUCKETS if plan.speed == "graphs" else ()
    # Compiled code takes any number of rows once it has seen three.
    warm = buckets or ((1, 2, 3) if plan.speed == "compile" else ())
    told = plan.told()
    _log.info("%s: %s", type(first).__name__, ", ".join(f"{key} {told[key]}" for key in told))
    return Accelerated(stand_ins, buckets, warm, told)


def device_facts(device: torch.device) -> DeviceFacts:
    """What this machine has."""
    on_cuda = device.type == "cuda"
    builds = find_spec("triton") if on_cuda else shutil.which("g++") or shutil.which("clang++")
    return DeviceFacts(
        kind=device.type,
        capability=cuda.get_device_capability(device) if on_cuda else None,
        compiler=bool(builds),
        packages=frozenset(name for name in _PACKAGES if find_spec(name)),
    )


def _prepare(pipeline: Any, network: Any, plan: SpeedPlan) -> SpeedPlan:
    """What is done to the weights; the plan without what failed."""
    if plan.channels_last:
        for part in (network, getattr(pipeline, "vae", None)):
            if part is not None and all(weight.dim() != 5 for weight in part.parameters()):
                part.to(memory_format=torch.channels_last)
    if plan.fuse:
        try:
            network.fuse_qkv_projections()
        except (ValueError, NotImplementedError, AttributeError) as error:
            plan = _without(plan, "fuse-projections", error, fuse=False)
    if plan.quantize != "none":
        try:
            quantize_blocks(network, plan.quantize)
        except Exception as error:  # whatever its kernels say of this machine
            plan = _without(plan, "quantize", error, quantize="none")
    if plan.backend is not None:
        try:
            network.set_attention_backend(plan.backend)
        except (ValueError, RuntimeError, ImportError) as error:
            plan = _without(plan, "attention", error, backend=None)
    return plan


def _without(plan: SpeedPlan, name: str, error: Exception, **changes: Any) -> SpeedPlan:
    said = (str(error).splitlines() or [""])[0]
    _log.warning("%s is not used: %s: %s", name, type(error).__name__, said)
    return replace(plan, notes={**plan.notes, name: f"failed: {said}"}, **changes)


def _run_by(network: Any, plan: SpeedPlan, backend: Any) -> Callable[..., Any]:
    """What stands for the network in forward passes."""

    def undo() -> None:
        if plan.backend is not None:
            network.reset_attention_backend()

    if plan.backend is not None:
        guard_blocks(network, Fallback(f"Attention by {plan.backend}", undo))
    if plan.speed == "compile":
        compile_blocks(network, Fallback("Compiling"), backend=backend)
    if plan.speed == "graphs":
        return GraphedNetwork(network, Fallback("Capturing CUDA graphs"))
    run: Callable[..., Any] = network
    return run


def _takes_attention(network: Any) -> bool:
    parts = network.modules()
    return any(hasattr(getattr(part, "processor", None), "_attention_backend") for part in parts)


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
            event = cuda.Event(blocking=True)  # or the wait would keep a core of the host busy
            event.record()
            self._marks.append(event)
