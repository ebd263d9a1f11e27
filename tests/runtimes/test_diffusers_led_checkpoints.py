"""What leads a job is in its checkpoint's fingerprint by its weights, not by its name alone."""

import dataclasses
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from diffusers_servers import tiny_model
from queue_agent.testing import sample_png
from queue_agent_diffusers.engine.checkpoint import CheckpointUnusable
from queue_agent_diffusers.engine.requests import ControlInput, ImagePrompt, ImageRequest
from queue_agent_diffusers.http.images import decode_image
from step_batches import stepped_together

PHOTO = decode_image(sample_png(), field="image").convert("RGB").resize((64, 64))
SIMPLE = ImageRequest("a lighthouse", seed=7, width=64, height=64, steps=2)
LED = dataclasses.replace(SIMPLE, controls=(ControlInput("edges", PHOTO),))
PROMPTED = dataclasses.replace(SIMPLE, image_prompts=(ImagePrompt("face", PHOTO),))


def model_led(of: str, **conditioning: Any) -> Any:
    from queue_agent_diffusers.torch.architectures import architecture_of  # noqa: PLC0415
    from queue_agent_diffusers.torch.conditioning import Conditioning  # noqa: PLC0415
    from queue_agent_diffusers.torch.transformer import TransformerModel  # noqa: PLC0415
    from queue_agent_diffusers.torch.unet import UNetModel  # noqa: PLC0415
    from tiny_conditioning import tiny_pipeline_of  # noqa: PLC0415  loads torch

    pipeline, leading = tiny_pipeline_of(of), Conditioning(**conditioning)
    if of == "sd":
        return UNetModel(pipeline, max_batch=8, conditioning=leading)
    architecture = architecture_of(pipeline)
    assert architecture is not None
    return TransformerModel(pipeline, architecture, max_batch=8, conditioning=leading)


def with_control_nets(of: str, seed: int) -> Any:
    """Its ControlNet "edges" has the weights of that seed."""
    from tiny_conditioning import tiny_control_net, tiny_control_nets  # noqa: PLC0415  loads torch

    nets = {"edges": tiny_control_net(of, seed), "other": tiny_control_net(of, 1 - seed)}
    return model_led(of, control_nets=tiny_control_nets(of, nets))


def with_adapter(of: str, folder: Path, weights: int, encoder: int) -> Any:
    """Its IP-Adapter "face" has weights, and an encoder, of these seeds."""
    from queue_agent_diffusers.torch.conditioning_files import adapter_files  # noqa: PLC0415
    from queue_agent_diffusers.torch.ip_adapters import load_ip_adapters  # noqa: PLC0415
    from tiny_conditioning import save_ip_adapter, tiny_pipeline_of  # noqa: PLC0415  loads torch

    file = save_ip_adapter(of, folder / "weights", weights)
    save_ip_adapter(of, folder / "encoder", encoder)
    (folder / "weights" / "image_encoder").rename(folder / "weights" / "unused")
    (folder / "encoder" / "image_encoder").rename(folder / "weights" / "image_encoder")
    files = {"face": adapter_files(str(file))}
    return model_led(of, ip_adapters=load_ip_adapters(tiny_pipeline_of(of), files))


def checkpoint_of(model: Any, request: ImageRequest) -> bytes:
    [samples] = stepped_together(model, [request])
    data: bytes = model.checkpoint(request, samples, sys.maxsize)()
    model.conditioning.apply(SIMPLE)  # the next model is of the same pipeline
    return data


def takes_up(model: Any, request: ImageRequest, checkpoint: bytes) -> bool:
    try:
        model.restore(request, model.begin(request, lambda _, __: None), checkpoint)
    except CheckpointUnusable:
        return False
    return True


@pytest.mark.parametrize("of", ["sd", "Flux"])
def test_a_checkpoint_of_a_control_net_of_other_weights_is_not_used(of: str) -> None:
    checkpoint = checkpoint_of(with_control_nets(of, 0), LED)
    assert takes_up(with_control_nets(of, 0), LED, checkpoint)
    assert not takes_up(with_control_nets(of, 1), LED, checkpoint)


@pytest.mark.parametrize("of", ["sd", "Flux"])
def test_a_checkpoint_of_an_ip_adapter_of_other_weights_is_not_used(
    of: str, tmp_path: Path
) -> None:
    checkpoint = checkpoint_of(with_adapter(of, tmp_path / "1", 0, 0), PROMPTED)
    assert takes_up(with_adapter(of, tmp_path / "2", 0, 0), PROMPTED, checkpoint)
    assert not takes_up(with_adapter(of, tmp_path / "3", 1, 0), PROMPTED, checkpoint)
    assert not takes_up(with_adapter(of, tmp_path / "4", 0, 1), PROMPTED, checkpoint)


def test_a_checkpoint_is_of_use_wherever_the_same_weights_were_read_from(tmp_path: Path) -> None:
    from queue_agent_diffusers.options import Options  # noqa: PLC0415  loads torch
    from queue_agent_diffusers.torch.loader import load_model  # noqa: PLC0415

    for folder in (tmp_path / "here", tmp_path / "there"):
        shutil.copytree(tiny_model(), folder)
    here, there = (
        load_model(str(tmp_path / name), Options(device="cpu")) for name in ("here", "there")
    )
    assert takes_up(there, SIMPLE, checkpoint_of(here, SIMPLE))


def test_what_leads_others_does_not_matter_to_a_checkpoint() -> None:
    checkpoint = checkpoint_of(with_control_nets("sd", 0), SIMPLE)
    assert takes_up(with_control_nets("sd", 1), SIMPLE, checkpoint)
    assert takes_up(model_led("sd"), SIMPLE, checkpoint)


@pytest.mark.parametrize("config", ["Float8WeightOnlyConfig", "Int8WeightOnlyConfig"])
def test_weights_in_eight_bits_are_told_from_others(config: str) -> None:
    ao = pytest.importorskip("torchao.quantization")
    import torch  # noqa: PLC0415

    from queue_agent_diffusers.torch.fingerprints import module_fingerprint  # noqa: PLC0415

    def quantized(change: float) -> str:
        torch.manual_seed(0)
        changed = torch.nn.Linear(64, 64, bias=False)
        network = torch.nn.Sequential(torch.nn.Linear(64, 64), changed)
        with torch.no_grad():  # as training, or a LoRA made one with it, changes one layer
            changed.weight += change
        ao.quantize_(network, getattr(ao, config)())
        return module_fingerprint(network)

    assert quantized(0) == quantized(0) != quantized(0.1)
