"""ControlNets that requests may name: those of the operator's that suit the model.

What they add to the network's layers goes with a request's rows into the pass that all share; how
they are asked themselves is in `control_passes`.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError

from queue_agent_diffusers.engine.requests import ControlInput, ImageRequest
from queue_agent_diffusers.errors import InvalidRequest, ModelUnreadable, UnknownInput
from queue_agent_diffusers.torch.fingerprints import module_fingerprint
from queue_agent_diffusers.torch.siblings import library, sibling

_OF_UNETS: Final = (
    "StableDiffusion{}ControlNetPipeline",
    "StableDiffusion{}ControlNetImg2ImgPipeline",
    "StableDiffusion{}ControlNetInpaintPipeline",
)
_PIPELINES: Final = {
    "StableDiffusionPipeline": tuple(name.format("") for name in _OF_UNETS),
    "StableDiffusionXLPipeline": tuple(name.format("XL") for name in _OF_UNETS),
    "FluxPipeline": (
        "FluxControlNetPipeline",
        "FluxControlNetImg2ImgPipeline",
        "FluxControlNetInpaintPipeline",
    ),
}
"""By the pipeline that is loaded: from text, from an image, and with a mask."""


class ControlNets:
    """Of one model; the networks belong to it alone."""

    def __init__(
        self, networks: Mapping[str, Any] | None = None, unsuitable: Sequence[str] = ()
    ) -> None:
        """`unsuitable` are the names of those that are for other models."""
        self._networks = dict(networks or {})
        self.fingerprints = {name: module_fingerprint(net) for name, net in self._networks.items()}
        """Of their weights, by their names."""
        self._unsuitable = frozenset(unsuitable)
        self._pipelines: dict[tuple[str, ...], Any] = {}

    @property
    def names(self) -> list[str]:
        """What requests may name."""
        return sorted(self._networks)

    @property
    def memory(self) -> int:
        """Bytes of the weights."""
        networks = self._networks.values()
        return sum(one.numel() * one.element_size() for net in networks for one in net.parameters())

    def check(self, controls: Sequence[ControlInput]) -> None:
        """Raise `InvalidRequest` for what is not there, or not for this model."""
        for control in controls:
            if control.name in self._unsuitable:
                raise InvalidRequest(
                    f"The ControlNet {control.name!r} is for another kind of model.",
                    param="controls",
                )
            if control.name not in self._networks:
                raise UnknownInput.of("ControlNet", control.name, self.names, param="controls")

    def pipeline(self, main: Any, request: ImageRequest) -> Any:
        """A pipeline of the same parts that the request's ControlNets lead; raises as `check`."""
        self.check(request.controls)
        from_text, from_image, inpainting = _PIPELINES[type(main).__name__]
        kind = from_text if request.image is None else inpainting if request.mask else from_image
        names = tuple(control.name for control in request.controls)
        if (kind, *names) not in self._pipelines:
            networks = [self._networks[name] for name in names]
            together = networks[0] if len(networks) == 1 else _several(networks)
            self._pipelines[kind, *names] = sibling(kind, main, controlnet=together)
        return self._pipelines[kind, *names]


def control_arguments(
    known: Mapping[str, object], controls: Sequence[ControlInput]
) -> dict[str, object]:
    """What a pipeline of `ControlNets.pipeline` is called with for them."""
    if not controls:
        return {}
    one = len(controls) == 1

    def each(read: Callable[[ControlInput], object]) -> object:
        return read(controls[0]) if one else [read(control) for control in controls]

    return {
        "control_image" if "control_image" in known else "image": each(lambda one: one.image),
        "controlnet_conditioning_scale": each(lambda one: float(one.scale)),
        "control_guidance_start": each(lambda one: one.start),
        "control_guidance_end": each(lambda one: one.end),
    }


def load_control_nets(pipeline: Any, folders: Mapping[str, Path]) -> ControlNets:
    """Those of the folders that suit the pipeline, on its device and in its precision.

    Raises:
        ModelUnreadable: one of them cannot be read.
    """
    networks, unsuitable = {}, []
    for name, folder in folders.items():
        kind = _suitable_kind(pipeline, folder)
        if kind is None:
            unsuitable.append(name)
            continue
        try:
            network = kind.from_pretrained(
                folder, torch_dtype=pipeline.dtype, use_safetensors=True, local_files_only=True
            )
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
            raise _unreadable(folder, error) from error
        networks[name] = network.to(pipeline.device)
    return ControlNets(networks, unsuitable)


def _suitable_kind(pipeline: Any, folder: Path) -> Any:
    try:
        config = library.ControlNetModel.load_config(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise _unreadable(folder, error) from error
    if type(pipeline).__name__ not in _PIPELINES:
        return None
    flux = hasattr(pipeline, "transformer")
    kind, shared = (
        ("FluxControlNetModel", ("joint_attention_dim", "pooled_projection_dim"))
        if flux
        else ("ControlNetModel", ("cross_attention_dim", "addition_embed_type"))
    )
    own = (pipeline.transformer if flux else pipeline.unet).config
    if config.get("_class_name", kind) != kind:
        return None
    suits = all(config.get(name) == own.get(name) for name in shared)
    return getattr(library, kind) if suits else None


def _unreadable(folder: Path, error: Exception) -> ModelUnreadable:
    return ModelUnreadable(f"{folder} cannot be loaded as a ControlNet: {error}")


def _several(networks: Sequence[Any]) -> torch.nn.Module:
    flux = isinstance(networks[0], library.FluxControlNetModel)
    kind = library.FluxMultiControlNetModel if flux else library.MultiControlNetModel
    module: torch.nn.Module = kind(list(networks))
    return module
