"""Images that reuse earlier steps: as diffusers' own caches make them, whatever the company."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from diffusers_servers import engine_of
from queue_agent.testing import eventually
from queue_agent.wire.quality import Quality
from queue_agent_diffusers.engine.quality import QualityPolicy
from queue_agent_diffusers.engine.requests import ImageRequest
from queue_agent_diffusers.http.metrics import EngineMetrics
from step_batches import TOLERANCE, alone, stepped_amid_failures, stepped_together

SIMPLE = ImageRequest("a cat", seed=7, width=32, height=32, steps=9)
THRESHOLDS = {
    "Flux": 0.3,
    "Flux.2": 1.1,
    "Stable Diffusion 3": 0.4,
    "Qwen-Image": 0.4,
    "PixArt": 0.2,
    "Z-Image": 0.8,
}
"""At which tiny transformers of random weights leave out some steps and take some."""


def pipeline(name: str) -> Any:
    from tiny_transformers import tiny_transformer  # noqa: PLC0415  loads torch

    return tiny_transformer(name)


def caching_model(
    name: str, policy: QualityPolicy | None = None, *, of: Any = None, **options: Any
) -> Any:
    from queue_agent_diffusers.torch.architectures import architecture_of  # noqa: PLC0415
    from queue_agent_diffusers.torch.transformer import TransformerModel  # noqa: PLC0415

    found = architecture_of(pipeline(name))
    assert found is not None
    found = replace(found, blocks=replace(found.blocks, threshold=THRESHOLDS[name]))
    served = of or pipeline(name)
    return TransformerModel(served, found, max_batch=8, quality=policy, **options)


@contextmanager
def rows_counted(name: str, block: int) -> Iterator[list[int]]:
    """Rows of each pass through a transformer's first or last block."""
    from queue_agent_diffusers.torch.architectures import architecture_of  # noqa: PLC0415

    found = architecture_of(pipeline(name))
    assert found is not None
    lists = [getattr(pipeline(name).transformer, one) for one in found.blocks.lists]
    counted: list[int] = []

    def count(_: Any, arguments: Sequence[Any], named: Any, __: Any) -> None:
        first = next(iter((*arguments, *named.values())))
        tokens = named.get("hidden_states", first)
        counted.append(len(tokens))

    hook = lists[block][block].register_forward_hook(count, with_kwargs=True)
    try:
        yield counted
    finally:
        hook.remove()


def tensors(model: Any, requests: Sequence[ImageRequest], joining: Sequence[int] = ()) -> list[Any]:
    made = stepped_together(model, requests, joining)
    return [[model.tensor(sample) for sample in samples] for samples in made]


def assert_equal(one: Sequence[Any], other: Sequence[Any]) -> None:
    assert len(one) == len(other)
    assert all((a - b).abs().max() <= TOLERANCE for a, b in zip(one, other, strict=True))


def differ(one: Sequence[Any], other: Sequence[Any]) -> bool:
    return any((a - b).abs().max() > TOLERANCE for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("name", THRESHOLDS)
@pytest.mark.parametrize("quality", ["balanced", "fast"])
def test_a_quality_below_exact_computes_fewer_steps(name: str, quality: Quality) -> None:
    model = caching_model(name)
    with rows_counted(name, -1) as of_exact:
        exact = tensors(model, [SIMPLE])
    with rows_counted(name, -1) as counted:
        quick = tensors(model, [replace(SIMPLE, quality=quality)])
    assert 0 < len(counted) < len(of_exact)
    assert differ(quick[0], exact[0])


@contextmanager
def cached_by_diffusers(transformer: Any, config: Any) -> Iterator[None]:
    transformer.enable_cache(config)
    try:
        yield
    finally:
        transformer.disable_cache()


def configs(name: str) -> dict[Quality, Callable[[], Any]]:
    import diffusers.hooks  # noqa: PLC0415  loads torch
    import torch  # noqa: PLC0415

    hooks: Any = diffusers.hooks
    return {
        "balanced": lambda: hooks.FirstBlockCacheConfig(threshold=THRESHOLDS[name]),
        "fast": lambda: hooks.TaylorSeerCacheConfig(
            use_lite_mode=True, taylor_factors_dtype=torch.float32
        ),
    }


@pytest.mark.parametrize("name", ["Flux", "Qwen-Image"])
@pytest.mark.parametrize("quality", ["balanced", "fast"])
def test_an_image_is_the_one_that_diffusers_own_cache_makes(name: str, quality: Quality) -> None:
    guided = replace(SIMPLE, negative_prompt="forest", true_cfg_scale=3.0)
    for request in (SIMPLE, guided):
        plain = deepcopy(pipeline(name))  # not all that such a cache leaves is taken back
        with cached_by_diffusers(plain.transformer, configs(name)[quality]()):
            theirs = alone(plain, request)
        [ours] = tensors(caching_model(name), [replace(request, quality=quality)])
        assert_equal(ours, theirs)
        assert differ(ours, alone(pipeline(name), request))


def qualities() -> st.SearchStrategy[list[tuple[ImageRequest, int]]]:
    made = st.builds(
        ImageRequest,
        prompt=st.sampled_from(["", "a cat", "light on a river " * 12]),
        negative_prompt=st.sampled_from([None, "forest"]),
        seed=st.integers(0, 2**64 - 1),
        count=st.just(1),
        steps=st.integers(4, 9),
        guidance_scale=st.sampled_from([None, 1.0, 3.5]),
        true_cfg_scale=st.sampled_from([None, 3.0]),
        quality=st.sampled_from(["exact", "balanced", "balanced", "fast"]),
        width=st.just(32),
        height=st.just(32),
    )
    return st.lists(st.tuples(made, st.integers(0, 4)), min_size=2, max_size=4)


@pytest.mark.parametrize("name", THRESHOLDS)
def test_no_quality_in_company_changes_another(name: str) -> None:
    model = caching_model(name)

    @settings(
        max_examples=3, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
    )
    @given(qualities())
    def check(mix: list[tuple[ImageRequest, int]]) -> None:
        requests = [request for request, _ in mix]
        made = tensors(model, requests, [when for _, when in mix])
        for request, together in zip(requests, made, strict=True):
            if request.quality == "exact":
                assert_equal(together, alone(pipeline(name), request))
            assert_equal(together, tensors(model, [request])[0])

    check()


@pytest.mark.parametrize("name", THRESHOLDS)
def test_rows_of_one_pass_decide_by_themselves(name: str) -> None:
    """Three that began at other steps: the last blocks see all, some, or none of their rows."""
    quick = replace(SIMPLE, quality="balanced")
    mix = [quick, replace(quick, seed=8), replace(quick, seed=9)]
    with rows_counted(name, 0) as of_first, rows_counted(name, -1) as of_last:
        tensors(caching_model(name), mix, [0, 2, 5])
    assert max(of_last) <= max(of_first)
    assert sum(of_last) < sum(of_first)
    assert len(set(of_last)) > 1


@pytest.mark.parametrize("quality", ["balanced", "fast"])
async def test_rows_that_a_cache_answers_are_told_to_prometheus_by_quality(
    quality: Quality,
) -> None:
    metrics = EngineMetrics()
    engine = engine_of(caching_model("Flux"), observer=metrics)
    with rows_counted("Flux", -1) as of_last:
        engine.start()
        try:
            await eventually(lambda: engine.ready)
            jobs = [
                engine.submit(asked, replace(SIMPLE, quality=asked, count=2))
                for asked in ("exact", quality)
            ]
            for job in jobs:
                await asyncio.wrap_future(job.result)
        finally:
            engine.close()
    told = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(metrics.page().decode())
        for sample in family.samples
    }
    rows = told["diffusers_rows_total",]
    skipped = {name: value for name, value in told.items() if "rows_skipped_total" in name[0]}
    assert rows == 2 * 2 * (SIMPLE.steps or 0)
    assert skipped == {("diffusers_rows_skipped_total", quality): rows - sum(of_last)}
    assert rows > sum(of_last)


def test_a_sample_that_leaves_takes_what_it_kept_with_it() -> None:
    model = caching_model("Flux")
    [stays, leaves] = [
        model.begin(replace(SIMPLE, quality="balanced", seed=seed), lambda *_: None)[0]
        for seed in (1, 2)
    ]
    running = [stays, leaves]
    for sample in running:
        sample.start()
    for step in range(SIMPLE.steps or 0):
        if step == 4:
            leaves.stop()
            assert leaves.caches is None
            running = [stays]
        for move in model.predict(running):
            move()
    assert stays.done
    assert stays.caches is None
    [[by_itself]] = tensors(model, [stays.request])
    assert_equal([model.tensor(stays)], [by_itself])


def test_a_pass_that_fails_has_changed_no_cache() -> None:
    request = replace(SIMPLE, quality="balanced")
    model, part = caching_model("Flux"), pipeline("Flux").transformer.proj_out
    sample = stepped_amid_failures(model, request, part)
    [[undisturbed]] = tensors(caching_model("Flux"), [request])
    assert_equal([model.tensor(sample)], [undisturbed])


def test_what_stands_for_the_network_is_used_where_all_is_exact() -> None:
    plain, passes = pipeline("Flux").transformer, []

    def counted(*arguments: Any, **named: Any) -> Any:
        passes.append(1)
        return plain(*arguments, **named)

    model = caching_model("Flux", networks={"transformer": counted})
    tensors(model, [SIMPLE, replace(SIMPLE, quality="fast", seed=8)])
    assert len(passes) == SIMPLE.steps
    tensors(model, [replace(SIMPLE, quality="balanced")])
    assert len(passes) == SIMPLE.steps


def test_compiled_blocks_are_left_out_as_others_are() -> None:
    from queue_agent_diffusers.torch.compiled import Fallback, compile_blocks  # noqa: PLC0415

    request = replace(SIMPLE, quality="balanced")
    mix = [request, SIMPLE, replace(request, seed=8)]
    expected = tensors(caching_model("Flux"), mix, [0, 1, 2])
    plain, compiled = deepcopy(pipeline("Flux")), Fallback("compiling")
    compile_blocks(plain.transformer, compiled, backend="eager")
    made = tensors(caching_model("Flux", of=plain), mix, [0, 1, 2])
    assert compiled.failure is None
    for one, other in zip(made, expected, strict=True):
        assert_equal(one, other)


@pytest.mark.parametrize(
    ("asked", "made", "warnings"),
    [
        (None, "balanced", []),
        ("exact", "exact", []),
        ("balanced", "balanced", []),
        ("fast", "balanced", ["quality: fast is not allowed here; balanced was made."]),
    ],
)
def test_the_operator_bounds_the_quality(
    asked: Quality | None, made: Quality, warnings: list[str]
) -> None:
    policy = QualityPolicy(default="balanced", lowest="balanced")
    model, request = caching_model("Flux", policy), replace(SIMPLE, quality=asked)
    [samples] = stepped_together(model, [request])
    assert list(model.finish(request, samples)().warnings) == warnings
    expected = tensors(caching_model("Flux"), [replace(SIMPLE, quality=made)])
    assert_equal([model.tensor(sample) for sample in samples], expected[0])


def test_a_default_below_what_is_allowed_is_refused() -> None:
    with pytest.raises(ValueError, match="fast is a lower quality than balanced"):
        QualityPolicy(default="fast", lowest="balanced")
