"""IP-Adapters that requests may name: those of the operator's that suit the model.

An adapter takes the place of the network's attention processors. They are exchanged between two
passes, so that a pass without an adapter is that of the plain network.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
import transformers
from safetensors import SafetensorError, safe_open

from queue_agent_diffusers.engine.requests import ImagePrompt
from queue_agent_diffusers.errors import InvalidRequest, ModelUnreadable, UnknownInput
from queue_agent_diffusers.torch.conditioning_files import AdapterFiles
from queue_agent_diffusers.torch.fingerprints import file_fingerprint, module_fingerprint
from queue_agent_diffusers.torch.unreadable import (
    UNREADABLE,
    raise_if_of_the_device,
    whole_model,
)

_PIPELINES: Final = ("StableDiffusionPipeline", "StableDiffusionXLPipeline", "FluxPipeline")
_KEYS: Final = ("to_k_ip.weight", "ip_adapter_double_stream_k_proj.weight")
"""How names of weights end that read the images' tokens; Flux's have a bias each, too."""


@dataclass(frozen=True)
class _State:
    """How a network is with some adapters, or without any."""

    processors: Mapping[str, Any]
    projection: Any
    kind: str | None
    """What the network's configuration says of the projection."""


class IPAdapters:
    """Of one model; used in the engine's thread only, but for `check`."""

    def __init__(
        self,
        pipeline: Any = None,
        files: Mapping[str, AdapterFiles] | None = None,
        encoders: Mapping[str, Any] | None = None,
        unsuitable: Sequence[str] = (),
    ) -> None:
        """`encoders` are loaded, by the adapters' names; `unsuitable` are for other models."""
        self._pipeline = pipeline
        self._files = dict(files or {})
        self._encoders = dict(encoders or {})
        self.fingerprints = {
            name: file_fingerprint(found.weights) + module_fingerprint(self._encoders[name])
            for name, found in self._files.items()
        }
        """Of their weights and their encoders', by their names."""
        self._unsuitable = frozenset(unsuitable)
        self._states: dict[tuple[str, ...], _State] = {}
        self._applied: tuple[str, ...] = ()

    @property
    def names(self) -> list[str]:
        """What requests may name."""
        return sorted(self._files)

    @property
    def memory(self) -> int:
        """Bytes of the image encoders; of the adapters themselves, about the files' sizes."""
        modules = {id(module): module for module in self._encoders.values()}.values()
        tensors = [tensor for module in modules for tensor in module.parameters()]
        encoders: int = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
        return encoders + sum(files.weights.stat().st_size for files in self._files.values())

    def check(self, prompts: Sequence[ImagePrompt]) -> None:
        """Raise `InvalidRequest` for what is not there, or not for this model."""
        for prompt in prompts:
            if prompt.name in self._unsuitable:
                raise InvalidRequest(
                    f"The IP-Adapter {prompt.name!r} is for another kind of model.",
                    param="ip_adapters",
                )
            if prompt.name not in self._files:
                raise UnknownInput.of("IP-Adapter", prompt.name, self.names, param="ip_adapters")
        if len({self._files[prompt.name].encoder for prompt in prompts}) > 1:
            raise InvalidRequest(
                "These IP-Adapters look at images by different encoders, so they cannot act "
                "together.",
                param="ip_adapters",
            )

    def apply(self, prompts: Sequence[ImagePrompt]) -> None:
        """Make exactly these act on the network."""
        names = tuple(prompt.name for prompt in prompts)
        if names != self._applied:
            if not self._states:  # no adapter was there before
                self._states[()] = self._state()
            if names not in self._states:
                self._states[names] = self._loaded(names)
            self._set(self._states[names])
            self._applied = names
        if names:
            scales = [prompt.scale for prompt in prompts]
            # A list of one would be the scales of one adapter's layers.
            self._pipeline.set_ip_adapter_scale(scales if len(scales) > 1 else scales[0])

    def parts(self, prompts: Sequence[ImagePrompt]) -> dict[str, Any]:
        """What a call of the pipeline needs to look at the images."""
        if not prompts:
            return {}
        encoder = self._encoders[prompts[0].name]
        side = encoder.config.image_size
        extractor = transformers.CLIPImageProcessor(size=side, crop_size=side)
        return {"image_encoder": encoder, "feature_extractor": extractor}

    @property
    def _network(self) -> Any:
        return self._pipeline.transformer if _is_flux(self._pipeline) else self._pipeline.unet

    def _state(self) -> _State:
        network = self._network
        kind = network.config.get("encoder_hid_dim_type")
        return _State(
            dict(network.attn_processors), getattr(network, "encoder_hid_proj", None), kind
        )

    def _set(self, state: _State) -> None:
        network = self._network
        network.set_attn_processor(dict(state.processors))
        network.encoder_hid_proj = state.projection
        network.config.encoder_hid_dim_type = state.kind

    def _loaded(self, names: Sequence[str]) -> _State:
        self._set(self._states[()])
        self._applied = ()
        files = [self._files[name].weights for name in names]
        twin = copy.copy(self._pipeline)  # what it registers beside the network is the twin's
        encoder: dict[str, Any] = dict.fromkeys(
            ["image_encoder_pretrained_model_name_or_path"]
            if _is_flux(twin)
            else ["image_encoder_folder"]
        )
        try:
            twin.load_ip_adapter(
                [str(file.parent) for file in files],
                subfolder=[""] * len(files),
                weight_name=[file.name for file in files],
                local_files_only=True,
                **encoder,
            )
        except UNREADABLE as error:
            self._set(self._states[()])
            raise_if_of_the_device(error)
            raise InvalidRequest(
                f"{', '.join(map(repr, names))} cannot be used with this model: {error}",
                param="ip_adapters",
                code="ip_adapter_unreadable",
            ) from error
        made = self._network
        for processor in made.attn_processors.values():
            if isinstance(processor, torch.nn.Module):
                processor.to(made.device, made.dtype)
        return _State(dict(made.attn_processors), made.encoder_hid_proj, "ip_image_proj")


def load_ip_adapters(pipeline: Any, files: Mapping[str, AdapterFiles]) -> IPAdapters:
    """Those of the files that suit the pipeline, with their image encoders on its device.

    Raises:
        ModelUnreadable: one of them cannot be read.
    """
    suitable = {name: found for name, found in files.items() if _suits(pipeline, found)}
    folders = {found.encoder for found in suitable.values()}
    encoders = {folder: _encoder(folder, pipeline) for folder in folders}
    by_name = {name: encoders[found.encoder] for name, found in suitable.items()}
    return IPAdapters(pipeline, suitable, by_name, sorted(files.keys() - suitable.keys()))


def _suits(pipeline: Any, files: AdapterFiles) -> bool:
    """By what its layers read, and how."""
    try:
        with safe_open(files.weights, framework="pt") as found:
            names = [name for name in found.keys() if name.endswith(_KEYS)]  # noqa: SIM118  no mapping
            widths = {found.get_slice(name).get_shape()[-1] for name in names}
            biased = any(name.replace(".weight", ".bias") in found.keys() for name in names)  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise ModelUnreadable(f"{files.weights} is no IP-Adapter: {error}") from error
    if type(pipeline).__name__ not in _PIPELINES:
        return False
    flux = _is_flux(pipeline)
    name = "joint_attention_dim" if flux else "cross_attention_dim"
    config = (pipeline.transformer if flux else pipeline.unet).config
    return biased == flux and widths == {config[name]}


def _is_flux(pipeline: Any) -> bool:
    return hasattr(pipeline, "transformer")


def _encoder(folder: Any, pipeline: Any) -> Any:
    kind: Any = transformers.CLIPVisionModelWithProjection
    try:
        made = kind.from_pretrained(
            folder,
            dtype=pipeline.dtype,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
        )
        encoder = whole_model(made, folder)
    except UNREADABLE as error:
        raise_if_of_the_device(error)
        raise ModelUnreadable(f"{folder} cannot be loaded as an image encoder: {error}") from error
    return encoder.to(pipeline.device).eval()
