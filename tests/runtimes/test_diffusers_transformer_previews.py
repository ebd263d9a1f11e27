"""Looks at what transformers make on its way: one pixel per cell of the latents."""

import copy
from dataclasses import replace
from typing import Any

import pytest

from families import FAMILIES, simple
from queue_agent.testing import sample_png
from queue_agent_diffusers.engine.requests import Clip, ImageRequest
from queue_agent_diffusers.http.images import decode_image

WIDTH, HEIGHT = 64, 32
REQUEST = ImageRequest("a cat", seed=3, width=WIDTH, height=HEIGHT, steps=2)
FRAMES = 9
PHOTO = decode_image(sample_png(), field="image")
IMAGES = (
    "Flux",
    "Flux Fill",
    "Flux Kontext",
    "Flux.2",
    "Stable Diffusion 3",
    "Qwen-Image",
    "PixArt",
    "Z-Image",
    *FAMILIES,
)
FROM_TEXT = (
    "LTX 2",
    "HunyuanVideo",
    "HunyuanVideo 1.5",
    "CogVideoX",
    "CogVideoX 1.5",
    "Mochi",
)
VIDEOS = (
    "Wan",
    "Wan of two transformers",
    "Wan from an image",
    "Wan with eyes",
    "Wan with eyes for two",
    "Wan of tokens",
    "LTX",
    "LTX from an image",
    "LTX with conditions",
    *FROM_TEXT,
    "CogVideoX 1.5 from an image",
)


def pipeline_of(name: str) -> Any:
    from tiny_families import tiny_family  # noqa: PLC0415  loads torch
    from tiny_transformers import BUILDERS, tiny_transformer  # noqa: PLC0415
    from tiny_videos import tiny_video  # noqa: PLC0415

    if name in FAMILIES:
        return tiny_family(name)
    if name in BUILDERS:
        return tiny_transformer(name)
    return tiny_video("LTX" if name == "LTX from an image" else name)


def model_of(name: str) -> Any:
    from queue_agent_diffusers.torch.architectures import architecture_of  # noqa: PLC0415
    from queue_agent_diffusers.torch.architectures.video import VideoArchitecture  # noqa: PLC0415
    from queue_agent_diffusers.torch.transformer import TransformerModel  # noqa: PLC0415
    from queue_agent_diffusers.torch.video import VideoModel  # noqa: PLC0415

    pipeline = pipeline_of(name)
    found = architecture_of(pipeline)
    assert found is not None
    if isinstance(found, VideoArchitecture):
        return VideoModel(pipeline, found, max_batch=2)
    return TransformerModel(copy.copy(pipeline), found, max_batch=2)


def request_of(name: str) -> ImageRequest:
    """What the model of that name can make."""
    if name == "Flux Fill":
        return replace(REQUEST, image=PHOTO, mask=PHOTO)
    if name in FAMILIES:
        return simple(name, width=WIDTH, height=HEIGHT, steps=2)
    if name not in VIDEOS:
        return REQUEST
    last = PHOTO if name == "Wan with eyes for two" else None
    first = None if name in {"Wan", "Wan of two transformers", "LTX", *FROM_TEXT} else PHOTO
    large = 4 if name.startswith("LTX") else 1  # whose cells are
    return replace(
        REQUEST,
        width=large * WIDTH,
        height=large * HEIGHT,
        image=first,
        clip=Clip(frames=FRAMES, last_frame=last),
    )


def stepped(model: Any, sample: Any) -> None:
    for move in model.predict([sample]):
        move()


@pytest.mark.usefixtures("small_edits")
@pytest.mark.parametrize("name", [*IMAGES, *VIDEOS])
def test_what_a_transformer_makes_is_drawn_on_its_way_as_it_would_be_decoded(name: str) -> None:
    import torch  # noqa: PLC0415

    from queue_agent_diffusers.torch.previews import unscaled  # noqa: PLC0415

    model = model_of(name)
    [sample] = model.begin(request_of(name), lambda _, __: None)
    sample.start()
    assert sample.preview() is None, "before the first step"
    stepped(model, sample)
    while not sample.step:  # what is not wanted is asked for by itself
        stepped(model, sample)
    draw = sample.preview()
    assert draw is not None
    picture = draw()
    assert any(low < high for low, high in picture.getextrema()), "it is more than one colour"
    while not sample.done:
        stepped(model, sample)
    cells = unscaled(pipeline_of(name).vae, model.cells(sample))
    wanted = sample.result.latents
    if wanted.dim() == cells.dim() + 1:  # a video of one frame
        wanted = wanted[:, :, 0]
    if sample.request.clip and sample.request.image:  # which is the first frame in the end
        later = wanted.shape[2] - 1
        cells, wanted = cells[:, :, -later:], wanted[:, :, -later:]
    assert picture.size == (wanted.shape[-1], wanted.shape[-2])
    assert torch.allclose(cells, wanted, atol=1e-5)


def test_each_architecture_in_the_table_is_looked_at() -> None:
    from queue_agent_diffusers.torch.architectures import (  # noqa: PLC0415
        ARCHITECTURES,
        architecture_of,
    )

    seen = [architecture_of(pipeline_of(name)) for name in (*IMAGES, *VIDEOS)]
    assert all(architecture in seen for architecture in ARCHITECTURES)


@pytest.mark.parametrize(("name", "channels"), [("Flux", 1), ("Qwen-Image", 4), ("Flux.2", 1)])
def test_a_preview_has_the_colours_that_a_linear_autoencoder_gives(
    name: str, channels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch  # noqa: PLC0415

    from queue_agent_diffusers.torch.previews import unscaled  # noqa: PLC0415

    chance = torch.Generator().manual_seed(5)
    colours = torch.randn(channels, 3, generator=chance) / 4
    decoder = model_of(name).decoder

    def decode(latent: Any, *, return_dict: bool) -> tuple[Any]:
        del return_dict
        return (torch.einsum("nc...,cr->nr...", latent, colours),)

    monkeypatch.setattr(decoder._vae, "decode", decode)
    cells = torch.randn(1, channels, HEIGHT, WIDTH, generator=chance)
    preview = decoder.preview(lambda: cells)
    scaled = unscaled(decoder._vae, cells)
    [wanted] = ((decode(scaled, return_dict=False)[0] / 2 + 0.5).clamp(0, 1) * 255).round()
    drawn = torch.frombuffer(bytearray(preview.tobytes()), dtype=torch.uint8)
    seen = drawn.reshape(HEIGHT, WIDTH, 3).movedim(-1, 0).float()
    assert (seen - wanted).abs().max() <= 1
