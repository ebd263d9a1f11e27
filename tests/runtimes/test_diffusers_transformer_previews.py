"""Looks at the images of transformers on their way: one pixel per cell of their latents."""

import copy
from typing import Any

import pytest

from queue_agent_diffusers.engine.requests import ImageRequest

WIDTH, HEIGHT = 64, 32


def model_of(name: str) -> Any:
    from queue_agent_diffusers.torch.architectures import architecture_of  # noqa: PLC0415
    from queue_agent_diffusers.torch.transformer import TransformerModel  # noqa: PLC0415
    from tiny_transformers import tiny_transformer  # noqa: PLC0415  loads torch

    pipeline = copy.copy(tiny_transformer(name))
    found = architecture_of(pipeline)
    assert found is not None
    return TransformerModel(pipeline, found, max_batch=2)


def stepped_once(model: Any) -> Any:
    request = ImageRequest("a cat", seed=3, width=WIDTH, height=HEIGHT, steps=2)
    [sample] = model.begin(request, lambda _, __: None)
    sample.start()
    assert sample.preview() is None, "before the first step"
    [move] = model.predict([sample])
    move()
    return sample


@pytest.mark.parametrize("name", ["Flux", "Stable Diffusion 3", "Qwen-Image", "PixArt", "Z-Image"])
def test_a_transformers_image_is_drawn_on_its_way(name: str) -> None:
    model = model_of(name)
    sample = stepped_once(model)
    draw = sample.preview()
    assert draw is not None
    picture = draw()
    width, height = picture.size
    assert width == 2 * height
    assert any(low < high for low, high in picture.getextrema()), "it is more than one colour"
    sample.stop()


def test_of_latents_that_nobody_knows_to_scale_there_is_no_preview() -> None:
    sample = stepped_once(model_of("Flux.2"))
    assert sample.preview() is None
    sample.stop()


def test_tokens_are_drawn_where_the_pipeline_would_decode_them() -> None:
    import torch  # noqa: PLC0415

    model = model_of("Flux")
    decoder = model.decoder
    latents = torch.randn(1, 16 * 32, 4, generator=torch.Generator().manual_seed(0))
    wanted = type(model._family.main)._unpack_latents(latents, HEIGHT, WIDTH, 1)
    assert torch.equal(decoder._cells(latents, WIDTH, HEIGHT), wanted)
    assert not decoder.can_draw(latents, WIDTH, WIDTH), "another size"


@pytest.mark.parametrize(("name", "channels"), [("Flux", 1), ("Qwen-Image", 4)])
def test_a_preview_has_the_colours_that_a_linear_autoencoder_gives(
    name: str, channels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch  # noqa: PLC0415

    chance = torch.Generator().manual_seed(5)
    colours = torch.randn(channels, 3, generator=chance) / 4
    decoder = model_of(name).decoder

    def decode(latent: Any, *, return_dict: bool) -> tuple[Any]:
        del return_dict
        return (torch.einsum("nc...,cr->nr...", latent, colours),)

    monkeypatch.setattr(decoder._vae, "decode", decode)
    cells = torch.randn(1, channels, HEIGHT, WIDTH, generator=chance)
    preview = decoder.image_preview(lambda: cells, WIDTH, HEIGHT)
    config = decoder._vae.config
    if name == "Flux":
        cells = cells / config.scaling_factor + config.shift_factor
    [wanted] = ((decode(cells, return_dict=False)[0] / 2 + 0.5).clamp(0, 1) * 255).round()
    drawn = torch.frombuffer(bytearray(preview.tobytes()), dtype=torch.uint8)
    seen = drawn.reshape(HEIGHT, WIDTH, 3).movedim(-1, 0).float()
    assert (seen - wanted).abs().max() <= 1
