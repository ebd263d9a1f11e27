"""What the operator says of the server, read once at its edge."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from queue_agent_diffusers.engine.quality import QualityPolicy

Speed = Literal["eager", "compile", "graphs"]
"""How the network is run: as it is, its repeated blocks compiled, or as captured CUDA graphs."""

Quantize = Literal["none", "fp8", "fp8-weights"]
"""Weights of the repeated blocks in eight bits, with `fp8` what they are multiplied with, too."""

Attention = Literal["native", "cudnn", "flash", "flash-3", "sage"]
"""Who computes attention; torch's own chooses among its kernels by itself."""

Offload = Literal["none", "model", "sequential"]
"""What waits in the host's memory: nothing, all parts but the network, or each layer."""

WeightsBy = Literal["safetensors", "fastsafetensors", "runai"]
"""Who reads weights: the usual library, or a package that brings them to the device."""

READER_PACKAGES: Final[Mapping[str, str]] = {
    "fastsafetensors": "fastsafetensors",
    "runai": "runai_model_streamer",
}
"""What has to be there for `WeightsBy`; each has an extra of its own."""

GIB: Final = 1024**3
MIB: Final = 1024**2


@dataclass(frozen=True)
class Options:
    """How models are loaded and run; None leaves the choice to the device."""

    device: str | None = None
    dtype: str | None = None
    more_models: tuple[str, ...] = ()
    """Served beside the first, loaded when they are asked for."""
    max_batch: int | None = None
    """Guided images of the model's natural size that share a step."""
    memory_limit: float | None = None
    """GiB that the weights of loaded models may take together."""
    idle_unload: float | None = None
    """Seconds after which a model that nobody asked for is let go; None: it stays."""
    lora_dir: Path | None = None
    control_nets: Mapping[str, str] = field(default_factory=dict)
    """Sources of ControlNets, by the names that requests use."""
    control_modes: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Numbers of what those of several modes heed, by the ControlNet's name and the mode's."""
    ip_adapters: Mapping[str, str] = field(default_factory=dict)
    """Sources of IP-Adapters, by the names that requests use."""
    upscalers: Mapping[str, str] = field(default_factory=dict)
    """Sources of models that make images larger, by the names that requests use."""
    allow_pickles: bool = False
    """Whether `.ckpt` files may be read; torch then reads nothing of them but tensors."""
    cache_dir: Path = Path("~/.cache/sd-queue-agent/models")
    """Where models of object storage are kept."""
    region: str = "us-east-1"
    """Of the object storage."""
    speed: Speed = "eager"
    quantize: Quantize = "none"
    attention: Attention = "native"
    channels_last: bool | None = None
    """Of convolutions; None: on cuda."""
    fuse_projections: bool | None = None
    """One projection for query, key and value; None: of UNets on cuda."""
    offload: Offload = "none"
    weights_by: WeightsBy = "safetensors"
    checkpoint_limit: int = 64
    """MiB of an image's predictions that are kept, in the host's memory, for its checkpoint."""
    quality: QualityPolicy = field(default_factory=QualityPolicy)
    """How much jobs may be sped up at the cost of their pictures."""
