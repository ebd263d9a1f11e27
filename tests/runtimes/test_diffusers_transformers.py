"""An image of a transformer made in a mixed batch is the one that its plain pipeline makes."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from families import FAMILIES
from queue_agent.testing import sample_png
from queue_agent_diffusers.engine.requests import ImageRequest
from queue_agent_diffusers.errors import InvalidRequest
from queue_agent_diffusers.http.images import decode_image
from queue_agent_diffusers.options import Options
from step_batches import TOLERANCE, alone, stepped_together

ARCHITECTURES = ("Flux", "Flux.2", "Stable Diffusion 3", "Qwen-Image", "PixArt", "Z-Image")
SIMPLE = ImageRequest("a cat", seed=7, width=64, height=64, steps=3)
PHOTO = decode_image(sample_png(), field="image")
MASK = Image.new("L", (64, 64))
MASK.paste(255, (0, 0, 32, 64))


def pipeline(name: str) -> Any:
    from tiny_transformers import tiny_transformer  # noqa: PLC0415  loads torch

    return tiny_transformer(name)


def transformer_model(name: Any) -> Any:
    from queue_agent_diffusers.torch.architectures import architecture_of  # noqa: PLC0415
    from queue_agent_diffusers.torch.transformer import TransformerModel  # noqa: PLC0415

    plain = pipeline(name) if isinstance(name, str) else name
    found = architecture_of(plain)
    assert found is not None
    return TransformerModel(plain, found, max_batch=8)


def assert_as_by_itself(name: str, mix: Sequence[tuple[ImageRequest, int]]) -> None:
    requests = [request for request, _ in mix]
    model = transformer_model(name)
    made = stepped_together(model, requests, [when for _, when in mix])
    for request, samples in zip(requests, made, strict=True):
        assert all(sample.step == sample.steps for sample in samples)
        for sample, plain in zip(samples, alone(pipeline(name), request), strict=True):
            image = model.tensor(sample)
            assert image.shape == plain.shape
            assert (image - plain).abs().max() <= TOLERANCE, request


def mixes() -> st.SearchStrategy[list[tuple[ImageRequest, int]]]:
    made = st.builds(
        ImageRequest,
        prompt=st.sampled_from(["", "a cat", "light on a river " * 12]),
        negative_prompt=st.sampled_from([None, "forest"]),
        seed=st.integers(0, 2**64 - 1),
        count=st.integers(1, 2),
        steps=st.integers(1, 4),
        guidance_scale=st.sampled_from([None, 0.0, 1.0, 3.5]),
        true_cfg_scale=st.sampled_from([None, 1.0, 3.0]),
        width=st.just(64),
        height=st.just(64),
    )
    return st.lists(st.tuples(made, st.integers(0, 3)), min_size=2, max_size=3)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_any_mix_equals_the_plain_transformer(name: str) -> None:
    @settings(
        max_examples=4, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
    )
    @given(mixes())
    def check(mix: list[tuple[ImageRequest, int]]) -> None:
        assert_as_by_itself(name, mix)

    check()


@pytest.mark.parametrize("name", ["Flux", "Flux.2", "Stable Diffusion 3", "Qwen-Image", "Z-Image"])
def test_images_and_masks_to_start_from_share_steps_too(name: str) -> None:
    from_image = replace(SIMPLE, image=PHOTO, strength=0.7, steps=4)
    mix = [(SIMPLE, 1), (from_image, 0), (replace(from_image, mask=MASK, seed=9), 1)]
    assert_as_by_itself(name, mix)


def test_images_to_edit_share_steps_with_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    from diffusers.pipelines.flux import (  # noqa: PLC0415  loads torch
        pipeline_flux_kontext,
        pipeline_flux_kontext_inpaint,
    )

    # Without this, images to edit have a megapixel, which takes minutes here.
    for module in (pipeline_flux_kontext, pipeline_flux_kontext_inpaint):
        monkeypatch.setattr(module, "PREFERRED_KONTEXT_RESOLUTIONS", [(64, 64), (96, 48)])
    edited = replace(SIMPLE, image=PHOTO, steps=4)
    mix = [
        (SIMPLE, 1),
        (edited, 0),
        (replace(edited, seed=8, prompt="light"), 2),
        (replace(edited, mask=MASK, seed=9, strength=0.7), 1),
    ]
    assert_as_by_itself("Flux Kontext", mix)


def test_models_that_paint_in_masks_share_steps_and_refuse_what_has_none() -> None:
    painted = replace(SIMPLE, image=PHOTO, mask=MASK)
    mix = [(painted, 1), (replace(painted, seed=8, prompt="light", strength=0.7, steps=4), 0)]
    assert_as_by_itself("Flux Fill", mix)
    for other in (SIMPLE, replace(SIMPLE, image=PHOTO)):
        with pytest.raises(InvalidRequest, match="works on a given mask only") as refused:
            transformer_model("Flux Fill").check(other)
        assert refused.value.body["error"]["param"] == "mask"


@pytest.mark.parametrize("sampler", ["DPM++ 2M", "Heun", "Euler a", "UniPC", "DDIM", "LCM"])
def test_samplers_that_know_no_flows_are_refused_where_a_model_makes_them(sampler: str) -> None:
    for name in ("Flux", "Stable Diffusion 3", "Z-Image"):
        model = transformer_model(name)
        assert not model.takes_samplers
        with pytest.raises(InvalidRequest, match="cannot stand in") as refused:
            model.check(replace(SIMPLE, scheduler=sampler))
        assert refused.value.body["error"]["param"] == "scheduler"


def test_what_flows_are_stepped_by_may_be_named_and_have_another_schedule() -> None:
    names = ["Euler", "FlowMatchEulerDiscreteScheduler", "Euler Karras", None]
    mix = [(replace(SIMPLE, scheduler=name, seed=place), 0) for place, name in enumerate(names)]
    assert_as_by_itself("Flux", mix)


def test_what_a_pipeline_refuses_is_the_requests_fault_and_nobody_elses() -> None:
    from tiny_families import tiny_family  # noqa: PLC0415  loads torch

    [early] = transformer_model(tiny_family("AuraFlow")).begin(replace(SIMPLE, width=70), print)
    with pytest.raises(InvalidRequest, match="divisible"):
        early.start()
    model = transformer_model("Stable Diffusion 3")
    [late] = model.begin(replace(SIMPLE, width=128), print)  # too wide for its positions
    late.start()
    with pytest.raises(InvalidRequest, match="pos_embed_max_size"):
        model.predict([late])
    late.stop()
    assert_as_by_itself("Stable Diffusion 3", [(SIMPLE, 0), (replace(SIMPLE, seed=8), 1)])


def test_a_seed_makes_one_image_where_steps_draw_noise_that_the_pipeline_forgets() -> None:
    import torch  # noqa: PLC0415  slow to load

    from queue_agent_diffusers.torch.siblings import library, sibling  # noqa: PLC0415

    drawing = sibling(
        "StableDiffusion3Pipeline",
        pipeline("Stable Diffusion 3"),
        scheduler=library.FlowMatchLCMScheduler(),
    )
    model = transformer_model(drawing)
    mix = [SIMPLE, replace(SIMPLE, seed=8), SIMPLE]
    one, other, again = (model.tensor(ones[0]) for ones in stepped_together(model, mix, [0, 0, 2]))
    assert torch.allclose(one, again, atol=TOLERANCE)
    assert (one - other).abs().max() > TOLERANCE


@pytest.mark.parametrize(("mask", "word"), [(None, "image"), (MASK, "mask")])
def test_pipelines_that_start_from_no_image_say_so(mask: Image.Image | None, word: str) -> None:
    with pytest.raises(InvalidRequest, match=f"cannot work with a given {word}") as refused:
        transformer_model("PixArt").check(replace(SIMPLE, image=PHOTO, mask=mask))
    assert refused.value.body["error"]["param"] == word


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_requests_of_a_transformer_share_its_passes(name: str) -> None:
    passes: list[int] = []

    def counting(network: Any) -> Any:
        def counted(*arguments: Any, **options: Any) -> Any:
            passes.append(1)
            return network(*arguments, **options)

        return counted

    from queue_agent_diffusers.torch.architectures import architecture_of  # noqa: PLC0415
    from queue_agent_diffusers.torch.transformer import TransformerModel  # noqa: PLC0415

    plain = pipeline(name)
    found = architecture_of(plain)
    assert found is not None
    network = {"transformer": counting(plain.transformer)}
    model = TransformerModel(plain, found, max_batch=8, networks=network)
    others = [replace(SIMPLE, seed=seed, prompt="light " * seed) for seed in (1, 2, 3)]
    stepped_together(model, [SIMPLE, *others])
    asked = 2 if name == "Flux.2" else 1  # what is wanted, and what is not
    assert len(passes) == asked * 3, "for each of three steps"


def test_other_sizes_do_not_get_into_one_pass() -> None:
    wide = replace(SIMPLE, width=128, height=32)  # as many tokens, at other positions
    assert_as_by_itself("Flux", [(SIMPLE, 0), (wide, 0)])


def test_pixart_cuts_its_picture_to_the_size_that_was_asked() -> None:
    odd = replace(SIMPLE, width=80, height=56)
    assert_as_by_itself("PixArt", [(odd, 0), (replace(odd, seed=8), 1)])


def test_each_architecture_is_tried() -> None:
    from queue_agent_diffusers.torch.architectures import ARCHITECTURES as KNOWN  # noqa: PLC0415
    from queue_agent_diffusers.torch.architectures.video import VideoArchitecture  # noqa: PLC0415
    from tiny_families import tiny_family  # noqa: PLC0415

    built = [pipeline(name) for name in ARCHITECTURES] + [tiny_family(name) for name in FAMILIES]
    tried = {type(one).__name__ for one in built}
    of_images = [known for known in KNOWN if not isinstance(known, VideoArchitecture)]
    assert all(tried & set(known.pipelines) for known in of_images)


def test_a_transformer_in_a_folder_is_served_by_steps(tmp_path: Path) -> None:
    from queue_agent_diffusers.torch.loader import load_model  # noqa: PLC0415
    from queue_agent_diffusers.torch.transformer import TransformerModel  # noqa: PLC0415

    pipeline("Flux").save_pretrained(tmp_path)
    model = load_model(str(tmp_path), Options(device="cpu"))
    assert isinstance(model, TransformerModel)
    job = ImageRequest("a cat", seed=1, width=64, height=48, steps=2, count=2)
    [samples] = stepped_together(model, [job])
    pictures = model.finish(job, samples)()
    assert [image.size for image in pictures.images] == [(64, 48)] * 2


def test_positions_in_pairs_are_compared_to_their_last_number() -> None:
    import torch  # noqa: PLC0415  slow to load

    from queue_agent_diffusers.torch.forward import RowLayout, kind  # noqa: PLC0415  loads torch
    from queue_agent_diffusers.torch.suspended import NetworkCall  # noqa: PLC0415

    def asked(place: int) -> NetworkCall:
        turns = (torch.zeros(2000), torch.zeros(2000).index_fill(0, torch.tensor(place), 1.0))
        return NetworkCall("transformer", {"latents": torch.zeros(1, 2), "turns": turns}, 0)

    layout = RowLayout(shared=frozenset({"turns"}))
    assert kind(asked(1000), layout) == kind(asked(1000), layout) != kind(asked(1001), layout)
