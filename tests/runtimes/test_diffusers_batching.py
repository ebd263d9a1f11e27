"""An image made in a mixed batch is the one that the plain pipeline makes alone."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from diffusers_servers import tiny_model
from queue_agent.testing import sample_png
from queue_agent_diffusers.engine.requests import ImageRequest, LoraWeight
from queue_agent_diffusers.errors import InvalidRequest
from queue_agent_diffusers.http.images import decode_image
from step_batches import TOLERANCE, alone, stepped_together

SCHEDULERS = ("Euler", "Euler a", "DDIM", "DPM++ 2M", "UniPC", "LCM", "Heun", None)
PHOTO = decode_image(sample_png(), field="image")
MASK = Image.new("L", (64, 64))
MASK.paste(255, (0, 0, 32, 64))
SIMPLE = ImageRequest("a lighthouse", seed=7, width=64, height=64, steps=4)


@cache
def tiny_pipeline(*, xl: bool = False) -> Any:
    from queue_agent_diffusers.torch.loader import load_pipeline  # noqa: PLC0415  loads torch

    return load_pipeline(str(tiny_model(xl=xl)))


def batched(pipeline: Any, **options: Any) -> Any:
    from queue_agent_diffusers.torch.unet import UNetModel  # noqa: PLC0415  loads torch

    return UNetModel(pipeline, max_batch=8, **options)


@contextmanager
def one_thread() -> Iterator[None]:
    import torch  # noqa: PLC0415  slow to load

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def together(
    model: Any, requests: Sequence[ImageRequest], joining: Sequence[int] = ()
) -> list[list[Any]]:
    """What the model makes of all; request i joins before step `joining[i]`, or at once."""
    return [
        [(model.decoder.tensors(sample.result[0])[0] / 2 + 0.5).clamp(0, 1) for sample in ones]
        for ones in stepped_together(model, requests, joining)
    ]


def assert_equal(pipeline: Any, requests: Sequence[ImageRequest], joining: Sequence[int]) -> None:
    with one_thread():
        mixed = together(batched(pipeline), requests, joining)
        for request, images in zip(requests, mixed, strict=True):
            for image, plain in zip(images, alone(pipeline, request), strict=True):
                assert (image - plain).abs().max() <= TOLERANCE, request


def requests(largest_count: int = 2) -> st.SearchStrategy[ImageRequest]:
    """Requests that may share a batch: one size, everything else at random."""
    given_images = st.sampled_from([(None, None), (PHOTO, None), (PHOTO, MASK)])
    made = st.builds(
        ImageRequest,
        prompt=st.sampled_from(["", "a lighthouse", "light on a river " * 30]),
        negative_prompt=st.sampled_from([None, "forest"]),
        seed=st.integers(0, 2**64 - 1),
        count=st.integers(1, largest_count),
        steps=st.integers(2, 9),
        guidance_scale=st.sampled_from([None, 0.0, 1.0, 3.5]),
        scheduler=st.sampled_from(SCHEDULERS),
        strength=st.sampled_from([0.6, 1.0]),
    )
    sized = made.map(lambda request: replace(request, width=64, height=64))
    return st.tuples(sized, given_images).map(
        lambda pair: replace(pair[0], image=pair[1][0], mask=pair[1][1])
    )


MIXES = st.lists(st.tuples(requests(), st.integers(0, 5)), min_size=2, max_size=3)
FEW = settings(
    max_examples=8, deadline=None, suppress_health_check=tuple(HealthCheck), derandomize=True
)


@FEW
@given(MIXES)
def test_any_mix_equals_the_plain_pipeline(mix: list[tuple[ImageRequest, int]]) -> None:
    assert_equal(tiny_pipeline(), [request for request, _ in mix], [when for _, when in mix])


@settings(FEW, max_examples=3)
@given(MIXES)
def test_any_mix_equals_the_plain_xl_pipeline(mix: list[tuple[ImageRequest, int]]) -> None:
    assert_equal(tiny_pipeline(xl=True), [request for request, _ in mix], [when for _, when in mix])


@pytest.mark.parametrize("xl", [False, True], ids=["sd", "xl"])
def test_every_scheduler_shares_one_batch(xl: bool) -> None:
    names = [*SCHEDULERS, "DPM++ 2M SDE Karras", "PLMS", "Euler Karras"]
    mixed = [
        replace(SIMPLE, scheduler=name, seed=number, steps=4 + number % 3)
        for number, name in enumerate(names)
    ]
    assert_equal(tiny_pipeline(xl=xl), mixed, [number % 4 for number in range(len(mixed))])


def test_samples_of_two_sizes_do_not_get_into_one_pass() -> None:
    larger = replace(SIMPLE, width=96, height=80, seed=9)
    assert_equal(tiny_pipeline(), [SIMPLE, larger, replace(SIMPLE, seed=8)], [])


def variant(kind: str) -> Any:
    """The tiny pipeline as one of the other pipelines that share steps."""
    from queue_agent_diffusers.torch.siblings import library  # noqa: PLC0415  loads torch

    parts = dict(tiny_pipeline().components)
    options = {"in_channels": 9} if "Inpaint" in kind else {"time_cond_proj_dim": 32}
    parts["unet"] = library.UNet2DConditionModel.from_config(parts["unet"].config, **options)
    parts["scheduler"] = library.LCMScheduler.from_config(parts["scheduler"].config)
    pipeline = getattr(library, kind)(**parts, requires_safety_checker=False)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.mark.parametrize(
    ("kind", "extra"),
    [
        ("StableDiffusionInpaintPipeline", {"image": PHOTO, "mask": MASK}),
        ("StableDiffusionPipeline", {}),
        ("StableDiffusionPipeline", {"image": PHOTO, "strength": 0.5}),
        ("LatentConsistencyModelPipeline", {}),
    ],
    ids=["inpainting model", "distilled", "distilled from an image", "consistency model"],
)
def test_models_with_more_inputs_equal_their_plain_pipeline(
    kind: str, extra: dict[str, Any]
) -> None:
    from queue_agent_diffusers.torch.unet import can_batch  # noqa: PLC0415  loads torch

    pipeline = variant(kind)
    assert can_batch(pipeline)
    mixed = [
        replace(SIMPLE, seed=number, guidance_scale=1.5 * number, steps=4 + number, **extra)
        for number in range(1, 4)
    ]
    assert_equal(pipeline, mixed, [0, 2, 1])


def test_an_inpainting_model_refuses_to_paint_without_a_mask() -> None:
    with pytest.raises(InvalidRequest, match="masks"):
        batched(variant("StableDiffusionInpaintPipeline")).check(SIMPLE)


def test_a_request_without_guidance_costs_one_row() -> None:
    model = batched(tiny_pipeline())
    rows: list[int] = []
    hook = tiny_pipeline().unet.register_forward_pre_hook(
        lambda _, inputs: rows.append(len(inputs[0]))
    )
    try:
        together(model, [replace(SIMPLE, guidance_scale=1.0), SIMPLE])
    finally:
        hook.remove()
    assert rows == [3, 3, 3, 3]


def test_a_batch_may_be_padded_to_a_bucket() -> None:
    sizes: list[int] = []
    unet = tiny_pipeline().unet

    def network(*arguments: Any, **options: Any) -> Any:
        sizes.append(len(arguments[0]))
        return unet(*arguments, **options)

    with one_thread():
        model = batched(tiny_pipeline(), network=network, buckets=(4, 16))
        [[image], [_]] = together(model, [SIMPLE, replace(SIMPLE, guidance_scale=1.0)])
        [plain] = alone(tiny_pipeline(), SIMPLE)
    assert set(sizes) == {4}
    assert (image - plain).abs().max() <= TOLERANCE


def test_a_prompt_seen_before_is_not_encoded_again() -> None:
    model = batched(tiny_pipeline())
    encoded: list[object] = []
    hook = tiny_pipeline().text_encoder.register_forward_pre_hook(lambda *_: encoded.append(1))
    try:
        together(model, [SIMPLE, replace(SIMPLE, seed=8, steps=2)])
        once = len(encoded)
        together(model, [replace(SIMPLE, prompt="another")])
    finally:
        hook.remove()
    assert once == 2, "the prompt and the empty negative one"
    assert len(encoded) == 4


def test_a_stopped_sample_leaves_the_others_as_they_are() -> None:
    with one_thread():
        model = batched(tiny_pipeline())
        kept, stopped = (model.begin(SIMPLE, lambda _, __: None)[0] for _ in range(2))
        for sample in (kept, stopped):
            sample.start()
        for move in model.predict([kept, stopped]):
            move()
        stopped.stop()
        while not kept.done:
            for move in model.predict([kept]):
                move()
        image = (model.decoder.tensors(kept.result[0])[0] / 2 + 0.5).clamp(0, 1)
        [plain] = alone(tiny_pipeline(), SIMPLE)
    assert (image - plain).abs().max() <= TOLERANCE


def test_larger_images_share_a_step_with_fewer() -> None:
    model = batched(tiny_pipeline())
    rows = [model.max_rows(replace(SIMPLE, width=side, height=side)) for side in (64, 256, 512)]
    assert rows == [16, 16, 4]


@pytest.fixture
def lora_dir(tmp_path: Path) -> Path:
    """Two LoRAs for the tiny model, and a damaged one."""
    import torch  # noqa: PLC0415  slow to load
    from peft import LoraConfig  # noqa: PLC0415  slow to load
    from peft.utils import get_peft_model_state_dict  # noqa: PLC0415  slow to load

    from queue_agent_diffusers.torch.loader import load_pipeline  # noqa: PLC0415  loads torch

    pipeline: Any = load_pipeline(str(tiny_model()))
    config = LoraConfig(r=2, target_modules=["to_q", "to_v"], init_lora_weights=False)
    text_config = LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    for number, name in enumerate(("ink", "chalk")):
        torch.manual_seed(number)
        pipeline.unet.add_adapter(config, adapter_name=name)
        layers = get_peft_model_state_dict(pipeline.unet, adapter_name=name)
        pipeline.text_encoder.add_adapter(text_config, adapter_name=name)
        text_layers = get_peft_model_state_dict(pipeline.text_encoder, adapter_name=name)
        pipeline.save_lora_weights(
            tmp_path,
            unet_lora_layers=layers,
            text_encoder_lora_layers=text_layers,
            weight_name=f"{name}.safetensors",
        )
    (tmp_path / "damaged.safetensors").write_bytes((tmp_path / "ink.safetensors").read_bytes()[:99])
    return tmp_path


def test_loras_act_on_their_own_requests_only(lora_dir: Path) -> None:
    from queue_agent_diffusers.torch.loader import load_pipeline  # noqa: PLC0415  loads torch
    from queue_agent_diffusers.torch.lora_cache import LoraCache  # noqa: PLC0415  loads torch

    pipeline: Any = load_pipeline(str(tiny_model()))
    model = batched(pipeline, loras=LoraCache(lora_dir))
    styles = [(), (LoraWeight("ink"),), (LoraWeight("ink", 0.5), LoraWeight("chalk")), ()]
    requests = [replace(SIMPLE, loras=loras) for loras in styles]
    assert len({model.batch_key(request) for request in requests}) == 3
    with one_thread():
        before, ink, both, after = (together(model, [request])[0][0] for request in requests)
        [plain] = alone(tiny_pipeline(), SIMPLE)
        pipeline.load_lora_weights(lora_dir, weight_name="ink.safetensors", adapter_name="again")
        pipeline.enable_lora()
        pipeline.set_adapters(["again"], [1.0])
        [plain_ink] = alone(pipeline, SIMPLE)
        pipeline.load_lora_weights(lora_dir, weight_name="chalk.safetensors", adapter_name="more")
        pipeline.set_adapters(["again", "more"], [0.5, 1.0])
        [plain_both] = alone(pipeline, SIMPLE)
    assert (before - plain).abs().max() <= TOLERANCE
    assert (after - plain).abs().max() <= TOLERANCE
    assert (ink - plain_ink).abs().max() <= TOLERANCE
    assert (ink - plain).abs().max() > 0.01
    assert (both - plain_both).abs().max() <= TOLERANCE
    assert (both - ink).abs().max() > 0.01


@pytest.mark.parametrize("name", ["absent", "../ink", "damaged"])
def test_a_lora_that_cannot_be_used_is_refused_by_name(lora_dir: Path, name: str) -> None:
    from queue_agent_diffusers.torch.loader import load_pipeline  # noqa: PLC0415  loads torch
    from queue_agent_diffusers.torch.lora_cache import LoraCache  # noqa: PLC0415  loads torch

    model = batched(load_pipeline(str(tiny_model())), loras=LoraCache(lora_dir))
    request = replace(SIMPLE, loras=(LoraWeight(name),))

    def use() -> None:
        model.check(request)
        together(model, [request])

    with pytest.raises(InvalidRequest, match=name):
        use()
    assert together(model, [SIMPLE]), "the model works on"
