"""What tells weights from others: a few numbers of each, which takes no time.

Not where somebody means to deceive: weights may be made that differ elsewhere.
"""

from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import diffusers
import torch
from safetensors import safe_open

_LOOKED_AT: Final = 8
"""Numbers of each weight."""


def model_fingerprint(pipeline: Any) -> str:
    """Of a pipeline's code, weights, precision and kind of device."""
    seen = sha256(f"{diffusers.__version__} {torch.__version__} {pipeline.device.type}".encode())
    seen.update(type(pipeline).__name__.encode())
    for name, part in sorted(pipeline.components.items()):
        seen.update(f"{name} {_configured(part)}".encode())
        if isinstance(part, torch.nn.Module):
            seen.update(module_fingerprint(part).encode())
    return seen.hexdigest()


def module_fingerprint(module: torch.nn.Module) -> str:
    """Of a network's configuration, weights and precision."""
    weights = [*module.named_parameters(), *module.named_buffers()]
    return _fingerprint(_configured(module), weights)


def file_fingerprint(file: Path) -> str:
    """Of a file of safetensors.

    Raises:
        OSError, SafetensorError: it cannot be read.
    """
    with safe_open(file, framework="pt") as opened:
        slices = {name: opened.get_slice(name) for name in sorted(opened.keys())}
        shapes = " ".join(f"{name} {found.get_shape()}" for name, found in slices.items())
        heads = {
            name: found[:1] if found.get_shape() else opened.get_tensor(name)
            for name, found in slices.items()
        }
    return _fingerprint(shapes, heads.items())


def _configured(part: Any) -> str:
    """Its class, and its configuration without what tells where it was read from."""
    config: Any = getattr(part, "config", None)
    if hasattr(config, "to_dict"):
        config = config.to_dict()
    values: Mapping[str, Any] = config if isinstance(config, Mapping) else {}
    own = {name: str(value) for name, value in values.items() if not name.startswith("_")}
    return f"{type(part).__name__} {sorted(own.items())}"


def _fingerprint(told: str, weights: Iterable[tuple[str, torch.Tensor]]) -> str:
    seen, numbers = sha256(told.encode()), []
    for name, weight in weights:
        seen.update(f"{name} {tuple(weight.shape)} {weight.dtype}".encode())
        if weight.numel():
            numbers.append(_some(weight))
    if numbers:
        seen.update(torch.cat(numbers).cpu().numpy().tobytes())
    return seen.hexdigest()


def _some(weight: torch.Tensor) -> torch.Tensor:
    if weight.device.type == "meta":
        return torch.zeros(0)  # kept elsewhere: its name and shape are all we see
    data = weight.detach()
    if type(data.data) is not torch.Tensor:  # quantised: kept as several tensors
        parts = [getattr(data, name) for name in _parts(data)]
        return torch.cat([torch.zeros(0), *(_some(part) for part in parts if part is not None)])
    flat = data.reshape(-1) if data.is_contiguous() else data[:1].flatten()
    return flat[:: max(1, flat.numel() // _LOOKED_AT)][: _LOOKED_AT + 1].float().cpu()


def _parts(wrapper: Any) -> Sequence[str]:
    """Names of a tensor subclass's own tensors, by the protocol that torch.compile uses, too.

    https://docs.pytorch.org/docs/stable/notes/extending.html#subclassing-torch-tensor
    """
    flatten = getattr(wrapper, "__tensor_flatten__", None)
    return flatten()[0] if flatten else ()
