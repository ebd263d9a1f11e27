"""LoRAs of transformers, and files that are none: each image is that of the plain pipeline."""

import copy
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from diffusers_servers import tiny_model
from queue_agent_diffusers.engine.requests import ImageRequest, LoraWeight
from queue_agent_diffusers.errors import InvalidRequest, OutOfMemory
from queue_agent_diffusers.options import Options
from step_batches import TOLERANCE, alone, stepped_together

SIMPLE = ImageRequest("a cat", seed=7, width=64, height=64, steps=2)
FAMILIES = ("Flux", "Flux.2", "Stable Diffusion 3", "Qwen-Image", "Z-Image")
NAMES = ("ink", "chalk")
LAYER = "transformer_blocks.0.attn.to_q"


def pipeline(name: str) -> Any:
    """One of its own, since LoRAs are loaded into it."""
    from tiny_transformers import tiny_transformer  # noqa: PLC0415  loads torch

    return copy.deepcopy(tiny_transformer(name))


def model_of(plain: Any, folder: Path) -> Any:
    from queue_agent_diffusers.torch.architectures import architecture_of  # noqa: PLC0415  loads torch
    from queue_agent_diffusers.torch.lora_cache import LoraCache  # noqa: PLC0415
    from queue_agent_diffusers.torch.transformer import TransformerModel  # noqa: PLC0415

    architecture = architecture_of(plain)
    assert architecture is not None
    return TransformerModel(plain, architecture, max_batch=8, loras=LoraCache(folder))


def save_loras(plain: Any, folder: Path) -> None:
    """Of random weights, by the names."""
    import torch  # noqa: PLC0415  slow to load
    from peft import LoraConfig  # noqa: PLC0415  slow to load
    from peft.utils import get_peft_model_state_dict  # noqa: PLC0415  slow to load

    network = copy.deepcopy(plain.transformer)
    config = LoraConfig(r=2, target_modules=["to_q", "to_v"], init_lora_weights=False)
    for seed, name in enumerate(NAMES):
        torch.manual_seed(seed)
        network.add_adapter(config, adapter_name=name)
        weights = get_peft_model_state_dict(network, adapter_name=name)
        save(
            folder / f"{name}.safetensors", {f"transformer.{key}": weights[key] for key in weights}
        )


def save(file: Path, weights: Mapping[str, Any]) -> None:
    from safetensors.torch import save_file  # noqa: PLC0415  loads torch

    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, file)


@pytest.mark.parametrize("name", FAMILIES)
def test_several_loras_of_a_transformer_act_on_their_own_requests_only(
    name: str, tmp_path: Path
) -> None:
    plain = pipeline(name)
    other = copy.deepcopy(plain)
    save_loras(plain, tmp_path)
    model = model_of(plain, tmp_path)
    requests = [
        replace(SIMPLE, loras=loras)
        for loras in [
            (),
            (LoraWeight("ink", -0.7),),
            (LoraWeight("ink", 0.0), LoraWeight("chalk", 10.0)),
            (),
        ]
    ]
    made = [model.tensor(stepped_together(model, [request])[0][0]) for request in requests]
    [expected] = alone(other, SIMPLE)
    for one in NAMES:
        other.load_lora_weights(tmp_path, weight_name=f"{one}.safetensors", adapter_name=one)
    other.set_adapters(["ink"], [-0.7])
    [ink] = alone(other, SIMPLE)
    other.set_adapters([*NAMES], [0.0, 10.0])
    [both] = alone(other, SIMPLE)
    for image, wanted in zip(made, [expected, ink, both, expected], strict=True):
        assert (image - wanted).abs().max() <= TOLERANCE
    assert min((ink - expected).abs().max(), (both - ink).abs().max()) > 2 * TOLERANCE


@pytest.mark.parametrize("name", ["Flux", "Flux.2", "Z-Image"])
def test_no_file_that_is_none_for_the_model_fails_in_another_way_than_by_name(
    name: str, tmp_path: Path
) -> None:
    import torch  # noqa: PLC0415  slow to load

    def pair(layer: str, width: int, down: str = "lora_A", up: str = "lora_B") -> dict[str, Any]:
        return {
            f"{layer}.{down}.weight": torch.zeros(2, width),
            f"{layer}.{up}.weight": torch.zeros(width, 2),
        }

    files = {
        "for a UNet": pair("unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q", 16),
        "of nothing there": pair("transformer.nothing.here", 16),
        "too wide": pair(f"transformer.{LAYER}", 99),
        "half": {f"transformer.{LAYER}.lora_A.weight": torch.zeros(2, 32)},
        "by kohya": pair("lora_unet_double_blocks_0_img_attn_qkv", 99, "lora_down", "lora_up"),
        "for text": pair("lora_te_text_model_encoder_layers_9_mlp_fc1", 99, "lora_down", "lora_up"),
        "by others": {"double_blocks.0.img_attn.proj.lora_down.weight": torch.zeros(2, 99)},
        "LoHa": {"lora_unet_a.hada_w1_a": torch.zeros(4, 99)},
        "LoKr": {"diffusion_model.layers.0.lokr_w1": torch.zeros(4, 99)},
        "numbers": {"numbers": torch.zeros(4)},
    }
    for file, weights in files.items():
        save(tmp_path / f"{file}.safetensors", weights)
    (tmp_path / "empty.safetensors").touch()
    plain = pipeline(name)
    save_loras(plain, tmp_path)
    model = model_of(plain, tmp_path)
    good = replace(SIMPLE, loras=(LoraWeight("ink"),))
    [before] = [model.tensor(one) for one in stepped_together(model, [good])[0]]
    [plainly] = [model.tensor(one) for one in stepped_together(model, [SIMPLE])[0]]
    for file in [*files, "empty"]:
        request = replace(SIMPLE, loras=(LoraWeight(file), LoraWeight("chalk")))
        model.check(request)
        with pytest.raises(InvalidRequest, match=f"'{file}' cannot be used with this model"):
            stepped_together(model, [request])
        [after] = stepped_together(model, [SIMPLE])[0]
        assert (model.tensor(after) == plainly).all(), file
    [again] = stepped_together(model, [good])[0]
    assert (model.tensor(again) == before).all()


def test_of_a_lora_that_is_refused_no_part_is_kept(tmp_path: Path) -> None:
    import torch  # noqa: PLC0415  slow to load

    from queue_agent_diffusers.torch.loader import load_pipeline  # noqa: PLC0415  loads torch
    from queue_agent_diffusers.torch.lora_cache import LoraCache  # noqa: PLC0415

    plain: Any = load_pipeline(str(tiny_model()), Options(device="cpu"))
    layer, projection = next(
        (name, module) for name, module in plain.unet.named_modules() if name.endswith("attn1.to_q")
    )
    text = "text_encoder.text_model.encoder.layers.0.self_attn.q_proj"
    weights = {
        f"unet.{layer}.lora_A.weight": torch.zeros(2, projection.in_features),
        f"unet.{layer}.lora_B.weight": torch.zeros(projection.out_features, 2),
        f"{text}.lora_A.weight": torch.zeros(2, 99),
        f"{text}.lora_B.weight": torch.zeros(99, 2),
    }
    save(tmp_path / "half.safetensors", weights)
    with pytest.raises(InvalidRequest, match="'half' cannot be used"):
        LoraCache(tmp_path).apply(plain, (LoraWeight("half"),))
    assert not any(plain.get_list_adapters().values())


@pytest.mark.parametrize(
    ("words", "raised"),
    [
        ("CUDA out of memory", OutOfMemory),
        ("CUDA error: an illegal memory access was encountered", RuntimeError),
    ],
)
def test_a_device_that_fails_while_a_lora_is_read_is_no_fault_of_the_job(
    words: str, raised: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = pipeline("Flux")
    save_loras(plain, tmp_path)
    model = model_of(plain, tmp_path)
    [sample] = model.begin(replace(SIMPLE, loras=(LoraWeight("ink"),)), lambda _, __: None)

    def failing(*_: object, **__: object) -> None:
        raise RuntimeError(words)

    monkeypatch.setattr(type(plain), "load_lora_weights", failing)
    with pytest.raises(raised):
        sample.start()
    monkeypatch.undo()
    assert stepped_together(model, [sample.request])
