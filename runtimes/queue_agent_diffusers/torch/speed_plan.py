"""What of the means to make a network faster is used, decided by facts alone; needs no torch.

`speed` gathers the facts and acts on the decision.
"""

from dataclasses import dataclass, field
from typing import Final

from queue_agent_diffusers.options import Attention, Offload, Options, Quantize, Speed

Capability = tuple[int, int]
"""Of a CUDA device, major and minor: https://developer.nvidia.com/cuda-gpus"""

TRITON_FROM: Final[Capability] = (7, 0)
"""The oldest cards that torch.compile makes kernels for."""
FP8_FROM: Final[Capability] = (8, 9)
"""The oldest cards that multiply fp8: Ada and Hopper."""
FP8_WEIGHTS_FROM: Final[Capability] = (8, 0)

_BACKENDS: Final[dict[Attention, tuple[str, Capability, str | None]]] = {
    "cudnn": ("_native_cudnn", (8, 0), None),
    "flash": ("flash", (8, 0), "flash_attn"),
    "flash-3": ("_flash_3", (9, 0), "flash_attn_interface"),
    "sage": ("sage", (8, 0), "sageattention"),
}
"""diffusers' name of each, the oldest cards that have it, and the package that it comes from."""


@dataclass(frozen=True)
class DeviceFacts:
    """What the machine has."""

    kind: str = "cpu"
    capability: Capability | None = None
    """None where it is no CUDA device."""
    compiler: bool = True
    """Whether torch.compile has one: Triton on CUDA, a C++ compiler on the CPU."""
    packages: frozenset[str] = frozenset()
    """Of those that a choice asks for, the ones that can be imported."""


@dataclass(frozen=True)
class NetworkFacts:
    """What the pipeline's network is like."""

    transformer: bool = False
    blocks: bool = True
    """Whether diffusers names the blocks that it repeats."""
    fusable: bool = True
    """Whether it can run query, key and value as one projection."""
    takes_attention: bool = True
    """Whether another attention than torch's can be chosen."""
    same_shapes: bool = True
    """Whether all rows of a pass have one shape."""


@dataclass(frozen=True)
class SpeedPlan:
    """What is used; `notes` say of each thing that was asked for, or is usual, why it is not."""

    speed: Speed = "eager"
    channels_last: bool = False
    fuse: bool = False
    quantize: Quantize = "none"
    backend: str | None = None
    """diffusers' name of the attention; None for torch's own, which chooses by itself."""
    offload: Offload = "none"
    notes: dict[str, str] = field(default_factory=dict)

    def told(self) -> dict[str, str]:
        """What is used, by the names of the command's options."""
        found = {
            "speed": self.speed,
            "channels-last": _on(self.channels_last),
            "fuse-projections": _on(self.fuse),
            "quantize": self.quantize,
            "attention": self.backend or "native",
            "offload": self.offload,
        }
        return {
            name: f"{value} ({self.notes[name]})" if name in self.notes else value
            for name, value in found.items()
        }


def speed_plan(options: Options, device: DeviceFacts, network: NetworkFacts) -> SpeedPlan:
    """What to use of what the options ask for; what nobody says is what suits the device."""
    cuda = device.kind == "cuda"
    against = {
        "speed": _against_speed(options, device, network),
        "channels-last": None if options.channels_last is not None or cuda else "only on cuda",
        "fuse-projections": _against_fusing(options, device, network),
        "quantize": _against_quantizing(options, device, network),
        "attention": _against_attention(options, device, network),
    }
    notes = {name: reason for name, reason in against.items() if reason is not None}
    usable = {name: reason is None for name, reason in against.items()}
    if options.speed == "graphs" and usable["speed"]:
        notes |= _beside_graphs(options, network)
    backend = _BACKENDS.get(options.attention)
    return SpeedPlan(
        speed=options.speed if usable["speed"] else "eager",
        channels_last=usable["channels-last"] and options.channels_last is not False,
        fuse=usable["fuse-projections"] and options.fuse_projections is not False,
        quantize=options.quantize if usable["quantize"] else "none",
        backend=backend[0] if backend and usable["attention"] else None,
        offload=options.offload,
        notes=notes,
    )


def _against_speed(options: Options, device: DeviceFacts, network: NetworkFacts) -> str | None:
    found = None
    if options.speed == "graphs":
        found = _first(
            (options.offload == "sequential", "layers come and go with --offload sequential"),
            (device.kind != "cuda", "only on cuda"),
            (options.lora_dir is not None, "LoRAs change the network after it was captured"),
            (not network.same_shapes, "rows of a pass differ in shape"),
        )
    if options.speed == "compile":
        found = _first(
            (options.offload == "sequential", "layers come and go with --offload sequential"),
            (not network.blocks, "diffusers names no repeated blocks of this network"),
            (device.kind not in {"cuda", "cpu"}, f"not on {device.kind}"),
            _too_old(device, TRITON_FROM),
            (not device.compiler, "there is no compiler"),
        )
    return f"{options.speed}: {found}" if found else None


def _beside_graphs(options: Options, network: NetworkFacts) -> dict[str, str]:
    """What graphs do nothing for: which rows go through all blocks is decided in the pass."""
    if options.quality.lowest == "exact":
        return {}
    # A transformer's fast rows take no pass at all, and a UNet's some.
    fast = options.quality.lowest == "fast" and not network.transformer
    return {"speed": f"but for passes with balanced {'or fast ' if fast else ''}rows"}


def _against_fusing(options: Options, device: DeviceFacts, network: NetworkFacts) -> str | None:
    asked = options.fuse_projections
    if asked is False:
        return None
    return _first(
        (not network.fusable, "not with this network"),
        (options.lora_dir is not None, "LoRAs act on the three"),
        (bool(options.ip_adapters), "IP-Adapters act on the three"),
        (asked is None and network.transformer, "it would take a copy of their weights"),
        (asked is None and device.kind != "cuda", "only on cuda"),
    )


def _against_quantizing(options: Options, device: DeviceFacts, network: NetworkFacts) -> str | None:
    if options.quantize == "none":
        return None
    found = _first(
        (not network.blocks, "diffusers names no repeated blocks of this network"),
        (options.lora_dir is not None, "LoRAs act on weights as they are"),
        (options.offload == "sequential", "not with --offload sequential"),
        (device.kind != "cuda", "only on cuda"),
        _too_old(device, FP8_FROM if options.quantize == "fp8" else FP8_WEIGHTS_FROM),
        ("torchao" not in device.packages, "torchao is not installed"),
    )
    return f"{options.quantize}: {found}" if found else None


def _against_attention(options: Options, device: DeviceFacts, network: NetworkFacts) -> str | None:
    if options.attention == "native":
        return None
    _backend, since, package = _BACKENDS[options.attention]
    found = _first(
        (not network.takes_attention, "this network has torch's alone"),
        (device.kind != "cuda", "only on cuda"),
        _too_old(device, since),
        (package not in {None, *device.packages}, f"{package} is not installed"),
    )
    return f"{options.attention}: {found}" if found else None


def _too_old(device: DeviceFacts, since: Capability) -> tuple[bool, str]:
    has, needs = (".".join(map(str, one or ())) for one in (device.capability, since))
    told = f"the card's compute capability is {has}, and it takes {needs}"
    return device.capability is not None and device.capability < since, told


def _first(*reasons: tuple[bool, str]) -> str | None:
    return next((told for holds, told in reasons if holds), None)


def _on(used: bool) -> str:
    return "on" if used else "off"
