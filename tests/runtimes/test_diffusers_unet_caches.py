"""UNets that reuse earlier steps: as DeepCache does of one image, whatever the company."""

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from diffusers_servers import tiny_model
from queue_agent.wire.quality import Quality
from queue_agent_diffusers.engine.checkpoint import read_head
from queue_agent_diffusers.engine.quality import QualityPolicy
from queue_agent_diffusers.engine.requests import ControlInput, ImageRequest
from step_batches import TOLERANCE, alone, stepped_amid_failures, stepped_together

PHOTO = Image.linear_gradient("L").resize((64, 64)).convert("RGB")
MASK = Image.new("L", (64, 64))
MASK.paste(255, (0, 0, 32, 64))
SIMPLE = ImageRequest("a lighthouse", seed=7, width=64, height=64, steps=7)
WHOLE = {"balanced": 3, "fast": 5}
"""Every so many steps all is computed."""
IS_XL = pytest.mark.parametrize("xl", [False, True])
QUALITIES = pytest.mark.parametrize("quality", WHOLE)


@cache
def pipeline(*, xl: bool = False) -> Any:
    from queue_agent_diffusers.torch.loader import load_pipeline  # noqa: PLC0415  loads torch

    return load_pipeline(str(tiny_model(xl=xl)))


def model_of(plain: Any, **options: Any) -> Any:
    from queue_agent_diffusers.torch.unet import UNetModel  # noqa: PLC0415  loads torch

    return UNetModel(plain, max_batch=8, **options)


def picture(model: Any, sample: Any) -> Any:
    return (model.decoder.tensors(sample.result[0])[0] / 2 + 0.5).clamp(0, 1)


def made(model: Any, requests: Sequence[ImageRequest], joining: Sequence[int] = ()) -> list[Any]:
    done = stepped_together(model, requests, joining)
    return [[picture(model, sample) for sample in samples] for samples in done]


def distance(one: Sequence[Any], other: Sequence[Any]) -> float:
    return max(float((a - b).abs().max()) for a, b in zip(one, other, strict=True))


@contextmanager
def reusing_outputs(unet: Any, every: int) -> Iterator[None]:
    """All but the first convolution and the last layer give, but for some passes, what they gave.

    As the package does that diffusers' documentation names, for one caller.
    """
    passes, last = [-1], unet.up_blocks[-1]
    layers = [*last.resnets[:-1], *getattr(last, "attentions", [])[:-1]]
    parts = [*unet.down_blocks, unet.mid_block, *unet.up_blocks[:-1], *layers]

    def reusing(forward: Callable[..., Any]) -> Callable[..., Any]:
        kept: list[Any] = []

        def run(*arguments: Any, **named: Any) -> Any:
            if passes[0] % every == 0:
                kept[:] = [forward(*arguments, **named)]
            return kept[0]

        return run

    def count(*_: Any) -> None:
        passes[0] += 1

    hook = unet.register_forward_pre_hook(count)
    for part in parts:
        part.forward = reusing(part.forward)
    try:
        yield
    finally:
        hook.remove()
        for part in parts:
            del part.forward


@contextmanager
def rows_counted(unet: Any) -> Iterator[list[int]]:
    """Rows of each pass through what is deep within."""
    counted: list[int] = []
    hook = unet.mid_block.register_forward_hook(lambda *given: counted.append(len(given[1][0])))
    try:
        yield counted
    finally:
        hook.remove()


@IS_XL
@QUALITIES
def test_a_unet_leaves_out_what_is_deep_within(*, xl: bool, quality: Quality) -> None:
    plain = pipeline(xl=xl)
    for request in (
        SIMPLE,
        replace(SIMPLE, guidance_scale=1.0, scheduler="Euler a", count=2),
        replace(SIMPLE, negative_prompt="forest", image=PHOTO, strength=0.9, scheduler="DPM++ 2M"),
        replace(SIMPLE, image=PHOTO, mask=MASK, strength=0.9, width=72, height=88),
    ):
        exact = alone(plain, request)
        theirs = []
        for seed in request.seeds:
            with reusing_outputs(plain.unet, WHOLE[quality]):
                theirs += alone(plain, replace(request, seed=seed, count=1))
        [ours] = made(model_of(plain), [replace(request, quality=quality)])
        assert distance(ours, theirs) <= TOLERANCE
        assert distance(ours, exact) > TOLERANCE


@QUALITIES
def test_what_a_unet_computes_is_told(quality: Quality) -> None:
    model = model_of(pipeline())
    [sample] = model.begin(replace(SIMPLE, quality=quality), lambda *_: None)
    sample.start()
    skipped = []
    with rows_counted(pipeline().unet) as rows:
        while not sample.done:
            for move in model.predict([sample]):
                move()
            skipped.append(sample.skipped_by)
    steps = SIMPLE.steps or 0
    assert skipped == [None if step % WHOLE[quality] == 0 else quality for step in range(steps)]
    assert rows == [2] * math.ceil(steps / WHOLE[quality])
    assert sample.caches is None


@IS_XL
def test_no_quality_changes_another_in_a_unets_batch(*, xl: bool) -> None:
    plain = pipeline(xl=xl)
    model = model_of(plain)
    requests = st.builds(
        ImageRequest,
        prompt=st.sampled_from(["", "a cat"]),
        seed=st.integers(0, 2**64 - 1),
        steps=st.integers(2, 7),
        count=st.integers(1, 2),
        guidance_scale=st.sampled_from([None, 1.0]),
        scheduler=st.sampled_from(["Euler a", "DDIM", "Heun", None]),
        image=st.sampled_from([None, PHOTO]),
        strength=st.just(0.8),  # XL's own leaves no step of two or three
        quality=st.sampled_from(["exact", "balanced", "fast", None]),
        width=st.just(64),
        height=st.just(64),
    )

    @settings(
        max_examples=4, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
    )
    @given(st.lists(st.tuples(requests, st.integers(0, 4)), min_size=2, max_size=4))
    def check(mix: list[tuple[ImageRequest, int]]) -> None:
        asked = [request for request, _ in mix]
        together = made(model, asked, [when for _, when in mix])
        for request, images in zip(asked, together, strict=True):
            if request.quality in {None, "exact"}:
                assert distance(images, alone(plain, request)) <= TOLERANCE
            assert distance(images, made(model, [request])[0]) <= TOLERANCE

    check()


@QUALITIES
def test_a_unets_job_goes_on_from_any_step_by_one_pass_more(quality: Quality) -> None:
    model, wanted = model_of(pipeline()), replace(SIMPLE, quality=quality)
    [whole] = made(model, [wanted])
    for step in range(1, SIMPLE.steps or 0):
        [began] = model.begin(wanted, lambda *_: None)
        began.start()
        for _ in range(step):
            for move in model.predict([began]):
                move()
        checkpoint = model.checkpoint(wanted, [began], sys.maxsize)()
        assert read_head(checkpoint).predictions == step
        [goes_on] = model.begin(wanted, lambda *_: None)
        model.restore(wanted, [goes_on], checkpoint)
        goes_on.start()
        passes = 0
        while not goes_on.done:
            for move in model.predict([goes_on]):
                move()
            passes += 1
        assert passes == (SIMPLE.steps or 0) - step + 1
        assert (picture(model, goes_on) == whole[0]).all()


def test_a_failed_pass_of_a_unet_changes_no_cache() -> None:
    plain, request = pipeline(), replace(SIMPLE, quality="balanced")
    model = model_of(plain)
    sample = stepped_amid_failures(model, request, plain.unet.conv_out)
    assert distance([picture(model, sample)], made(model, [request])[0]) <= TOLERANCE


def test_a_unets_compiled_blocks_are_left_out_as_others_are() -> None:
    from queue_agent_diffusers.torch.compiled import Fallback, compile_blocks  # noqa: PLC0415

    mix = [replace(SIMPLE, quality="balanced"), replace(SIMPLE, quality="fast", seed=8)]
    expected = made(model_of(pipeline()), mix, [0, 1])
    plain, compiled = deepcopy(pipeline()), Fallback("compiling")
    compile_blocks(plain.unet, compiled, backend="eager")
    together = made(model_of(plain), mix, [0, 1])
    assert compiled.failure is None
    for one, other in zip(together, expected, strict=True):
        assert distance(one, other) <= TOLERANCE


def test_what_stands_for_a_unet_makes_the_passes_that_are_all_exact() -> None:
    plain, passes = pipeline(), []

    def counted(*arguments: Any, **named: Any) -> Any:
        passes.append(1)
        return plain.unet(*arguments, **named)

    model = model_of(plain, network=counted)
    made(model, [SIMPLE])
    assert len(passes) == SIMPLE.steps
    made(model, [replace(SIMPLE, quality="fast")])
    assert len(passes) == SIMPLE.steps


def test_a_unet_that_ends_otherwise_says_that_it_makes_all_exactly() -> None:
    plain = deepcopy(pipeline())
    last = plain.unet.up_blocks[-1]
    last.resnets = last.resnets[:1]
    model = model_of(plain)
    request = replace(SIMPLE, quality="balanced")
    [sample] = model.begin(request, lambda *_: None)
    assert sample.caches is None
    assert model.caching.warnings(request) == [
        "quality: this model knows no balanced one; it was made exactly."
    ]


CONTROLLED = replace(SIMPLE, controls=(ControlInput("canny", PHOTO),))


@pytest.mark.parametrize(
    ("request_", "policy", "warnings"),
    [
        (SIMPLE, QualityPolicy(), []),
        (replace(SIMPLE, quality="fast"), QualityPolicy(), []),
        (
            replace(SIMPLE, quality="fast"),
            QualityPolicy(lowest="balanced"),
            ["quality: fast is not allowed here; balanced was made."],
        ),
        (
            replace(CONTROLLED, quality="fast"),
            QualityPolicy(lowest="exact"),
            ["quality: fast is not allowed here; exact was made."],
        ),
        (
            replace(CONTROLLED, quality="fast"),
            QualityPolicy(),
            ["quality: what images lead is made exactly."],
        ),
        (CONTROLLED, QualityPolicy(default="balanced"), []),
    ],
)
def test_who_gets_another_quality_than_asked_for_is_told(
    request_: ImageRequest, policy: QualityPolicy, warnings: list[str]
) -> None:
    assert model_of(pipeline(), quality=policy).caching.warnings(request_) == warnings
