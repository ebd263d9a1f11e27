"""ControlNets and IP-Adapters of random weights for the tiny pipelines.

`python tests/tiny_conditioning.py FOLDER` writes some for the tiny model.
"""

import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

import torch
import transformers
from safetensors.torch import save_file

from queue_agent_diffusers.torch.siblings import library
from tiny_transformers import HEADS, tiny_transformer

MODES: Final = 3
"""Kinds of images that a tiny union heeds."""


@cache
def tiny_control_net(of: str, seed: int = 0) -> Any:
    """For the pipeline of that name, "sd", "xl" or a tiny transformer; or a union of many modes.

    Those are "xl union" and "Flux union".
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = _built(of)
        for parameter in net.parameters():  # untrained, its last layers are zeros
            if not parameter.any():
                torch.nn.init.normal_(parameter, std=0.3)
    return net.eval()


def tiny_control_nets(of: str, nets: Mapping[str, Any], **options: Any) -> Any:
    """What requests to the pipeline of that name may name of these."""
    from queue_agent_diffusers.torch.control_kinds import control_kind  # noqa: PLC0415  loads torch
    from queue_agent_diffusers.torch.control_nets import ControlNet, ControlNets  # noqa: PLC0415

    found = {}
    for name, net in nets.items():
        config = {**net.config, "_class_name": type(net).__name__}
        kind = control_kind(tiny_pipeline_of(of), config)
        assert kind is not None
        modes = {str(mode): mode for mode in range(kind.number_of_modes(config))}
        found[name] = ControlNet(net, kind, modes)
    return ControlNets(found, **options)


@cache
def tiny_stable_diffusion(of: str) -> Any:
    """The tiny pipeline that comes with the package, or that of XL's parts."""
    from diffusers_servers import tiny_model  # noqa: PLC0415  looks whether torch is loaded
    from queue_agent_diffusers.torch.loader import load_pipeline  # noqa: PLC0415  as above

    return load_pipeline(str(tiny_model(xl=of == "xl")))


def tiny_pipeline_of(of: str) -> Any:
    """The plain pipeline for "sd", "xl" or a tiny transformer."""
    return tiny_stable_diffusion(of) if of in ("sd", "xl") else tiny_transformer(of)


def save_control_net(of: str, folder: Path) -> Path:
    """A folder as diffusers keeps it."""
    tiny_control_net(of).save_pretrained(folder)
    return folder


def _built(of: str) -> Any:
    match of.split():
        case [family, "union"]:
            return _union(family)
        case ["Flux"]:
            return _flux_net()
        case ["Stable", *_]:
            config = dict(tiny_transformer(of).transformer.config)
            return library.SD3ControlNetModel.from_config({**config, "num_layers": 1})
        case ["Qwen-Image"]:
            config = dict(tiny_transformer(of).transformer.config)
            return library.QwenImageControlNetModel.from_config({**config, "num_layers": 1})
        case ["Z-Image"]:
            return _z_image_net()
    return _net_of(tiny_stable_diffusion(of).unet)


def _net_of(unet: Any) -> Any:
    return library.ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(4, 4, 8, 8))


def _union(of: str) -> Any:
    if of == "Flux":
        return _flux_net(num_mode=MODES)
    config = _net_of(tiny_stable_diffusion(of).unet).config
    width = config["block_out_channels"][0]
    own = {"num_trans_channel": width, "num_proj_channel": width, "num_trans_head": 2}
    return library.ControlNetUnionModel.from_config({**config, **own, "num_control_type": MODES})


def _flux_net(**more: Any) -> Any:
    config = tiny_transformer("Flux").transformer.config
    own = ("patch_size", "in_channels", "num_single_layers", "joint_attention_dim")
    others = ("pooled_projection_dim", "axes_dims_rope", "guidance_embeds")
    return library.FluxControlNetModel(
        **{name: config[name] for name in (*own, *others)} | HEADS | more
    )


def _z_image_net() -> Any:
    """Of the version that paints in masks, too."""
    config = tiny_transformer("Z-Image").transformer.config
    return library.ZImageControlNetModel(
        control_layers_places=[0],
        control_refiner_layers_places=[0],
        control_in_dim=2 * config["in_channels"] + 1,
        add_control_noise_refiner="control_noise_refiner",
        **{name: config[name] for name in ("dim", "n_refiner_layers", "n_heads", "n_kv_heads")},
    )


def save_ip_adapter(of: str, folder: Path, seed: int = 0) -> Path:
    """A file of weights, with its image encoder beside it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        transformers.CLIPVisionModelWithProjection(
            transformers.CLIPVisionConfig(
                hidden_size=16,
                intermediate_size=16,
                projection_dim=16,
                num_hidden_layers=1,
                num_attention_heads=2,
                image_size=32,
                patch_size=8,
            )
        ).save_pretrained(folder / "image_encoder")
        weights = _flux_adapter() if of == "Flux" else _adapter_of(tiny_stable_diffusion(of).unet)
    file = folder / f"adapter-{seed}.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, file)
    return file


def _adapter_of(unet: Any) -> dict[str, torch.Tensor]:
    width = unet.config.cross_attention_dim
    weights = _projection(width)
    layers = [name for name in unet.attn_processors if name.endswith("attn2.processor")]
    for number, name in enumerate(layers):
        layer = unet.get_submodule(name.removesuffix(".processor"))
        for part in ("k", "v"):
            shape = (layer.inner_dim, width)
            weights[f"ip_adapter.{2 * number + 1}.to_{part}_ip.weight"] = torch.randn(shape)
    return weights


def _flux_adapter() -> dict[str, torch.Tensor]:
    network = tiny_transformer("Flux").transformer
    width = network.config.joint_attention_dim
    weights = _projection(width)
    for number in range(network.config.num_layers):
        for part in ("k", "v"):
            name = f"ip_adapter.{number}.to_{part}_ip"
            weights[f"{name}.weight"] = torch.randn(network.inner_dim, width)
            weights[f"{name}.bias"] = torch.randn(network.inner_dim)
    return weights


def _projection(width: int) -> dict[str, torch.Tensor]:
    return {
        "image_proj.proj.weight": torch.randn(4 * width, 16),
        "image_proj.proj.bias": torch.randn(4 * width),
        "image_proj.norm.weight": torch.randn(width),
        "image_proj.norm.bias": torch.randn(width),
    }


def main() -> None:
    folder = Path(sys.argv[1])
    save_control_net("sd", folder / "edges")
    save_ip_adapter("sd", folder)


if __name__ == "__main__":
    main()
