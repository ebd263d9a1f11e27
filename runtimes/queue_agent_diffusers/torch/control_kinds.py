"""ControlNets that diffusers has, by the pipelines that they lead."""

import functools
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from queue_agent_diffusers.torch.siblings import library


@dataclass(frozen=True)
class ControlKind:
    """ControlNets of one class, for pipelines of one."""

    network: str
    from_text: str
    """The class of the pipeline that they lead; likewise of those below."""
    from_image: str | None
    inpainting: str | None
    several: str | None
    """The class that holds several for one image; None: one leads it alone."""
    shared: tuple[str, ...]
    """What of its configuration a network has in common with the model's."""
    modes: str | None = None
    """Where its configuration says how many kinds of images a "union" network heeds."""
    alike: tuple[str, ...] = ()
    """What those that lead an image together have in common."""
    without: str = ""
    """What a network must not have: channels for what only pipelines of their own give."""
    repeated: bool = False
    """Whether several are one network with several images."""
    listed: bool = False
    """Whether its pipelines take one image in a list, too."""

    def pipeline(self, *, image: bool, mask: bool) -> str | None:
        """The class that leads what is given; None: there is none."""
        if mask:
            return self.inpainting
        return self.from_image if image else self.from_text

    def number_of_modes(self, config: Mapping[str, Any]) -> int:
        """How many a network of that configuration heeds; 0: it is for one kind of image."""
        return int(config.get(self.modes) or 0) if self.modes else 0

    def suits(self, config: Mapping[str, Any], own: Mapping[str, Any]) -> bool:
        """Whether a network of that configuration is for the model of the other."""
        said = {**_defaults(self.network), **config}
        shared = all(_plain(said.get(name)) == _plain(own.get(name)) for name in self.shared)
        return shared and not said.get(self.without)


@functools.cache
def _defaults(network: str) -> Mapping[str, Any]:
    parameters = inspect.signature(getattr(library, network).__init__).parameters
    return {name: parameter.default for name, parameter in parameters.items()}


def _plain(value: Any) -> Any:
    """Tuples are lists, once they were written."""
    return list(value) if isinstance(value, tuple) else value


_OF_UNETS: Final = (
    "cross_attention_dim",
    "addition_embed_type",
    "in_channels",
    "block_out_channels",
    "layers_per_block",
)
_WIDTH: Final = ("in_channels", "num_attention_heads", "attention_head_dim")


def _of_unets(name: str) -> ControlKind:
    return ControlKind(
        "ControlNetModel",
        f"{name}ControlNetPipeline",
        f"{name}ControlNetImg2ImgPipeline",
        f"{name}ControlNetInpaintPipeline",
        "MultiControlNetModel",
        _OF_UNETS,
    )


_XL: Final = "StableDiffusionXL"
_UNION: Final = ControlKind(
    "ControlNetUnionModel",
    f"{_XL}ControlNetUnionPipeline",
    f"{_XL}ControlNetUnionImg2ImgPipeline",
    f"{_XL}ControlNetUnionInpaintPipeline",
    "MultiControlNetUnionModel",
    _OF_UNETS,
    modes="num_control_type",
    listed=True,
)
_FLUX: Final = ControlKind(
    "FluxControlNetModel",
    "FluxControlNetPipeline",
    "FluxControlNetImg2ImgPipeline",
    "FluxControlNetInpaintPipeline",
    "FluxMultiControlNetModel",
    (*_WIDTH, "joint_attention_dim", "pooled_projection_dim"),
    modes="num_mode",
    alike=("guidance_embeds", "conditioning_embedding_channels"),
)
_SD3: Final = ControlKind(
    "SD3ControlNetModel",
    "StableDiffusion3ControlNetPipeline",
    None,
    None,
    "SD3MultiControlNetModel",
    (*_WIDTH, "patch_size", "pooled_projection_dim"),
    alike=("force_zeros_for_pooled_projection", "joint_attention_dim"),
    without="extra_conditioning_channels",
)
_QWEN_IMAGE: Final = ControlKind(
    "QwenImageControlNetModel",
    "QwenImageControlNetPipeline",
    None,
    None,
    "QwenImageMultiControlNetModel",
    (*_WIDTH, "joint_attention_dim"),
    without="extra_condition_channels",
    repeated=True,
)
_Z_IMAGE: Final = ControlKind(
    "ZImageControlNetModel",
    "ZImageControlNetPipeline",
    None,
    "ZImageControlNetInpaintPipeline",
    None,
    ("dim", "n_heads", "all_patch_size"),
)
_KINDS: Final[Mapping[str, tuple[ControlKind, ...]]] = {
    "StableDiffusionPipeline": (_of_unets("StableDiffusion"),),
    "StableDiffusionXLPipeline": (_UNION, _of_unets(_XL)),
    "FluxPipeline": (_FLUX,),
    "StableDiffusion3Pipeline": (_SD3,),
    "QwenImagePipeline": (_QWEN_IMAGE,),
    "ZImagePipeline": (_Z_IMAGE,),
}


def control_kind(pipeline: Any, config: Mapping[str, Any]) -> ControlKind | None:
    """That of a network of this configuration, if it suits the pipeline."""
    kinds = _KINDS.get(type(pipeline).__name__, ())
    for kind in kinds:
        own = pipeline.unet if hasattr(pipeline, "unet") else pipeline.transformer
        named = config.get("_class_name", kinds[-1].network)
        # Some unions were written as what they were made from.
        union = kind.modes in config and named == kinds[-1].network
        if (named == kind.network or union) and kind.suits(config, own.config):
            return kind
    return None
