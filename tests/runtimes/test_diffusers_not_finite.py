"""Work that holds NaN or infinity fails in words, alone, and is no black picture."""

import copy
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from diffusers_servers import engine_with, tiny_model
from queue_agent.runtime.http import Response
from queue_agent.testing import sample_png
from queue_agent.wire.errors import Rejected
from queue_agent_diffusers.engine.requests import Clip, ImageRequest, LoraWeight, Pictures
from queue_agent_diffusers.errors import NotFinite
from queue_agent_diffusers.http.images import decode_image
from queue_agent_diffusers.http.video_api import fault_of
from queue_agent_diffusers.options import Options
from queue_agent_runtimes.openai_images.answer import error_from
from queue_agent_runtimes.openai_videos.records import EngineRecord, failure_of
from step_batches import TOLERANCE, alone, stepped_together

SOUND = ImageRequest("a cat", seed=7, width=64, height=64, steps=2, guidance_scale=3.0)
OVERFLOWING = replace(SOUND, seed=8, guidance_scale=1e38)
SHORT = Clip(frames=5)


def pipeline(name: str, dtype: str = "float32") -> Any:
    """One of its own, since its weights are changed."""
    from queue_agent_diffusers.torch.devices import DTYPES  # noqa: PLC0415  loads torch
    from queue_agent_diffusers.torch.loader import load_pipeline  # noqa: PLC0415
    from tiny_families import tiny_family  # noqa: PLC0415
    from tiny_transformers import tiny_transformer  # noqa: PLC0415
    from tiny_videos import tiny_video  # noqa: PLC0415

    if name in {"UNet", "XL"}:
        options = Options(device="cpu", dtype=dtype)
        return load_pipeline(str(tiny_model(xl=name == "XL")), options)
    build = {"Wan": tiny_video, "AuraFlow": tiny_family}.get(name, tiny_transformer)
    return copy.deepcopy(build(name)).to(DTYPES[dtype])


def model_of(made: Any) -> Any:
    from queue_agent_diffusers.torch.architectures import architecture_of  # noqa: PLC0415  loads torch
    from queue_agent_diffusers.torch.loader import batched_model  # noqa: PLC0415

    return batched_model(made, architecture_of(made), Options(device="cpu"))[0]


def overflow(made: Any, layer: str) -> None:
    """Have a layer of the decoder leave what its precision holds."""
    getattr(made.vae.decoder, layer).bias.data.fill_(float("inf"))


def finished(model: Any, requests: Sequence[ImageRequest]) -> list[Any]:
    """What makes the pictures of each, stepped together."""
    samples = stepped_together(model, requests)
    return [model.finish(*pair) for pair in zip(requests, samples, strict=True)]


@pytest.mark.parametrize("name", ["UNet", "Stable Diffusion 3"])
def test_a_row_that_overflows_fails_alone_in_its_batch(name: str) -> None:
    model = model_of(pipeline(name))
    broken, sound = finished(model, [OVERFLOWING, SOUND])
    with pytest.raises(NotFinite, match="The latents hold NaN or infinity, in float32"):
        broken()
    [image] = sound().images
    [alone_too] = finished(model, [SOUND])
    assert image.tobytes() == alone_too().images[0].tobytes()


@pytest.mark.parametrize(
    ("name", "layer"), [("UNet", "conv_out"), ("Flux", "conv_in"), ("Wan", "conv_in")]
)
def test_a_decoder_that_overflows_is_told_with_its_remedy(name: str, layer: str) -> None:
    made = pipeline(name, "float16")
    overflow(made, layer)
    model = model_of(made)
    request = replace(SOUND, steps=1, clip=SHORT if name == "Wan" else None)
    [broken] = finished(model, [request])
    with pytest.raises(NotFinite, match=r"VAE made of finite latents.* --dtype bfloat16"):
        broken()


def test_weights_of_a_lora_that_are_no_numbers_fail_its_jobs_and_no_others(tmp_path: Path) -> None:
    import torch  # noqa: PLC0415  slow to load
    from safetensors.torch import save_file  # noqa: PLC0415  loads torch

    from queue_agent_diffusers.torch.lora_cache import LoraCache  # noqa: PLC0415
    from queue_agent_diffusers.torch.unet import UNetModel  # noqa: PLC0415

    made = pipeline("UNet")
    layer, projection = next(
        (name, module) for name, module in made.unet.named_modules() if name.endswith("attn1.to_q")
    )
    weights = {
        f"unet.{layer}.lora_A.weight": torch.randn(2, projection.in_features),
        f"unet.{layer}.lora_B.weight": torch.full((projection.out_features, 2), torch.nan),
    }
    save_file(weights, tmp_path / "burnt.safetensors")
    model = UNetModel(made, max_batch=4, loras=LoraCache(tmp_path))
    burnt = replace(SOUND, loras=(LoraWeight("burnt"),))
    with engine_with(model) as engine:
        jobs = [
            engine.submit(str(number), request)
            for number, request in enumerate([burnt, SOUND, burnt, SOUND])
        ]
        errors = [job.result.exception(timeout=60) for job in jobs]
    assert [type(error) for error in errors] == [NotFinite, type(None)] * 2
    [expected] = finished(model_of(pipeline("UNet")), [SOUND])
    wanted = expected().images[0].tobytes()
    assert {job.result.result().images[0].tobytes() for job in jobs[1::2]} == {wanted}


@pytest.mark.parametrize("name", ["UNet", "Wan", "upscaler"])
def test_a_pipeline_that_is_called_as_a_whole_fails_too(name: str) -> None:
    from queue_agent_diffusers.torch.pipeline_model import PipelineModel  # noqa: PLC0415  loads torch
    from queue_agent_diffusers.torch.upscaling import UpscalerModel  # noqa: PLC0415
    from queue_agent_diffusers.torch.video_pipeline_model import VideoPipelineModel  # noqa: PLC0415
    from tiny_upscalers import tiny_upscaler  # noqa: PLC0415

    made = copy.deepcopy(tiny_upscaler(2)) if name == "upscaler" else pipeline(name)
    kind: Any = {"Wan": VideoPipelineModel, "upscaler": UpscalerModel}.get(name, PipelineModel)
    model, request = kind(made), replace(SOUND, steps=1)
    if name == "Wan":
        request = replace(request, clip=SHORT)
    if name == "upscaler":
        photo = decode_image(sample_png(32, 32), field="image").convert("RGB")
        request = replace(request, image=photo, enlarge=True)
    made_well: Pictures = model.generate(request, lambda *_: None)
    assert made_well.images or made_well.videos
    made.vae.decoder.conv_in.weight.data.fill_(float("nan"))
    with pytest.raises(NotFinite, match="NaN"):
        model.generate(request, lambda *_: None)


def test_the_agent_fails_such_a_job_for_good_in_these_words() -> None:
    error = NotFinite("The latents hold NaN or infinity, in float16.")
    answered = error_from(Response(error.status, json.dumps(error.body).encode()))
    fault = fault_of(error)
    assert fault is not None
    recorded = failure_of(EngineRecord("a", "failed", {"error": fault.model_dump()}))
    for told in (answered, recorded):
        assert isinstance(told, Rejected)
        assert "The latents hold NaN or infinity, in float16." in told.message


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_xls_decoder_is_not_in_the_hands_of_calls_that_encode(dtype: str) -> None:
    import torch  # noqa: PLC0415  slow to load

    made = pipeline("XL", dtype)
    made.vae.register_to_config(force_upcast=True)
    model = model_of(made)
    [before] = finished(model, [SOUND])
    made.vae.float()  # as a call with an image does, before it turns it back
    [meanwhile] = finished(model, [SOUND])
    assert meanwhile().images[0].tobytes() == before().images[0].tobytes()
    wanted = torch.float32 if dtype == "float16" else torch.bfloat16
    assert model.decoder._vae.dtype == wanted


def test_aura_flows_decoder_is_in_float32_before_its_first_call_ends() -> None:
    import torch  # noqa: PLC0415  slow to load

    made = pipeline("AuraFlow", "float16")
    made.vae.register_to_config(force_upcast=True)
    model = model_of(made)
    assert made.vae.dtype == torch.float32
    [finish] = finished(model, [replace(SOUND, steps=1)])
    assert finish().images
    [expected] = alone(made, replace(SOUND, steps=1))
    [[sample]] = stepped_together(model, [replace(SOUND, steps=1)])
    assert (model.tensor(sample) - expected).abs().max() <= TOLERANCE
