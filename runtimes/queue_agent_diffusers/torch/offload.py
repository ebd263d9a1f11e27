"""What of a pipeline waits in the host's memory until it is used.

diffusers' own `enable_model_cpu_offload` lets each part push out the one before it, whichever
thread that works in; here prompts are encoded, steps taken and pictures decoded at the same time.
So the network stays or has its layers come and go by themselves, the autoencoder, which is small,
stays, and each other part comes for its call and leaves after it.
"""

from collections.abc import Sequence
from typing import Any, Final

import torch
from accelerate.hooks import ModelHook, add_hook_to_module
from accelerate.utils import send_to_device
from diffusers.hooks import apply_group_offloading

from queue_agent_diffusers.errors import DeviceUnavailable
from queue_agent_diffusers.options import Offload, Options

HOST: Final = torch.device("cpu")

group_offloading: Any = apply_group_offloading
"""Not annotated."""


def check_offload(options: Options, device: torch.device) -> None:
    """Raise `DeviceUnavailable` where parts cannot come and go."""
    if options.offload == "none":
        return
    if device.type != "cuda":
        raise DeviceUnavailable(
            f"--offload {options.offload} is for cuda: "
            f"on {device.type} all lies in the host's memory anyway."
        )
    others = {
        "--lora-dir": options.lora_dir,
        "--controlnet": options.control_nets,
        "--ip-adapter": options.ip_adapters,
    }
    for name in (name for name, given in others.items() if given):
        raise DeviceUnavailable(
            f"--offload {options.offload} does not go with {name}, whose weights come later."
        )


def offload(pipeline: Any, how: Offload, device: torch.device, networks: Sequence[str]) -> None:
    """Put each part where it belongs; `networks` are the names of those that step."""
    for name, part in pipeline.components.items():
        if not isinstance(part, torch.nn.Module):
            continue
        if name not in networks:
            stays = name == "vae"
            add_hook_to_module(part, _Stays(device) if stays else Visits(device))
        elif how == "sequential":
            on_cuda = device.type == "cuda"
            group_offloading(
                part,
                onload_device=device,
                offload_device=HOST,
                offload_type="leaf_level",
                use_stream=on_cuda,
            )
        else:
            part.to(device)


class _Stays(ModelHook):  # type: ignore[misc]  # it is not annotated
    """Tells the pipeline where it works, as any hook with this name does."""

    def __init__(self, device: torch.device) -> None:
        self.execution_device = device

    def init_hook(self, module: torch.nn.Module) -> torch.nn.Module:
        """Bring it there."""
        return module.to(self.execution_device)


class Visits(ModelHook):  # type: ignore[misc]  # as above
    """Brings a part to the device for each of its calls."""

    def __init__(self, device: torch.device) -> None:
        self.execution_device = device

    def init_hook(self, module: torch.nn.Module) -> torch.nn.Module:
        """It waits on the host."""
        return module.to(HOST)

    def pre_forward(self, module: torch.nn.Module, *arguments: Any, **options: Any) -> Any:
        """Its call begins."""
        module.to(self.execution_device)
        device: Any = self.execution_device
        return send_to_device(arguments, device), send_to_device(options, device)

    def post_forward(self, module: torch.nn.Module, output: Any) -> Any:
        """Its call has ended."""
        module.to(HOST)
        return output
