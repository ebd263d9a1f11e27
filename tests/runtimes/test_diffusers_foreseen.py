"""What a pass takes is known before it is made, and what cannot fit is not begun."""

from dataclasses import replace
from typing import Any

import pytest
from PIL import Image

from diffusers_servers import tiny_model
from queue_agent_diffusers.engine.requests import ControlInput, ImageRequest
from queue_agent_diffusers.errors import OutOfMemory
from queue_agent_diffusers.options import Options

SMALL = ImageRequest("x", seed=1, steps=2, width=64, height=64, guidance_scale=7.5)


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> list[int | None]:
    """The bytes that are free, to be changed."""
    from queue_agent_diffusers.torch import decoding, foreseen  # noqa: PLC0415  loads torch

    told: list[int | None] = [None]
    for module in (foreseen, decoding):
        monkeypatch.setattr(module, "free_memory", lambda _: told[0])
        monkeypatch.setattr(module, "GENEROUS", 10**12)
    return told


def loaded() -> Any:
    from queue_agent_diffusers.torch.loader import load_model  # noqa: PLC0415  loads torch

    return load_model(str(tiny_model()), Options(device="cpu"))


def controlled(kind: str) -> Any:
    """A model with a ControlNet."""
    from queue_agent_diffusers.torch.architectures import architecture_of  # noqa: PLC0415
    from queue_agent_diffusers.torch.conditioning import Conditioning  # noqa: PLC0415  loads torch
    from queue_agent_diffusers.torch.transformer import TransformerModel  # noqa: PLC0415
    from queue_agent_diffusers.torch.unet import UNetModel  # noqa: PLC0415
    from tiny_conditioning import (  # noqa: PLC0415
        tiny_control_net,
        tiny_control_nets,
        tiny_pipeline_of,
    )

    pipeline = tiny_pipeline_of(kind)
    nets = tiny_control_nets(kind, {"edges": tiny_control_net(kind)})
    options: Any = {"max_batch": 4, "conditioning": Conditioning(control_nets=nets)}
    if kind == "xl":
        return UNetModel(pipeline, **options)
    architecture = architecture_of(pipeline)
    assert architecture is not None
    return TransformerModel(pipeline, architecture, **options)


def started(model: Any, request: ImageRequest) -> Any:
    [sample] = model.begin(request, lambda _, __: None)
    sample.start()
    return sample


def test_what_is_foreseen_is_what_torch_allocates() -> None:
    import torch  # noqa: PLC0415  slow to load
    from torch.profiler import ProfilerActivity, profile  # noqa: PLC0415  likewise

    from queue_agent_diffusers.torch.foreseen import peak_bytes  # noqa: PLC0415  likewise

    unet = loaded().network("unet")
    rows = (torch.randn(2, 4, 16, 16), torch.ones(2), torch.randn(2, 77, 32))

    def ask(network: Any) -> None:
        network(*rows, return_dict=False)

    ask(unet)
    with torch.no_grad(), profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        ask(unet)
    results: Any = seen.profiler
    now = most = 0
    events = results.kineto_results.events()
    for event in sorted(events, key=lambda one: one.start_ns()):
        if event.name() == "[memory]":
            now += event.nbytes()
            most = max(most, now)
    foreseen = peak_bytes(unet, ask)
    assert foreseen is not None
    assert 0.6 * most < foreseen <= most, "convolutions take a little beside their tensors"


def test_a_step_that_cannot_fit_is_not_begun_and_smaller_ones_are(free: list[int | None]) -> None:
    model = loaded()
    passes: list[int] = []
    model.network("unet").register_forward_hook(lambda *_: passes.append(1))
    sample = started(model, SMALL)
    free[0] = 1000
    with pytest.raises(OutOfMemory, match=r"2 row\(s\) takes \d+ MiB .* and 0 MiB are free"):
        model.predict([sample])
    foreseen = len(passes)
    with pytest.raises(OutOfMemory):
        model.predict([sample])
    assert len(passes) == foreseen, "it is remembered"
    [need] = set(model._foreseen._each.values())
    free[0] = need
    large, both = started(model, replace(SMALL, width=128)), [sample, started(model, SMALL)]
    for too_many in ([large], both):
        with pytest.raises(OutOfMemory):
            model.predict(too_many)
    for move in model.predict([sample]):
        move()
    free[0] = 0
    for move in model.predict([sample]):
        move()
    assert sample.done, "what has fitted once is not refused"


def test_what_fits_in_company_is_not_refused_once_it_is_alone(free: list[int | None]) -> None:
    model = loaded()
    stays, leaves = (started(model, replace(SMALL, steps=4)) for _ in range(2))
    free[0] = 10**12
    model.predict([stays, leaves])
    free[0] = 0
    model.predict([stays])
    with pytest.raises(OutOfMemory):
        model.predict([stays, leaves, started(model, SMALL)])


@pytest.mark.parametrize("kind", ["xl", "Flux"])
def test_a_control_nets_pass_is_foreseen_like_the_networks(
    kind: str, free: list[int | None]
) -> None:
    from queue_agent_diffusers.torch.control_passes import ControlCall  # noqa: PLC0415  loads torch

    model = controlled(kind)
    request = replace(SMALL, controls=(ControlInput("edges", Image.new("RGB", (64, 64)), 1.0),))
    sample = started(model, request)
    free[0] = 10**12
    model.predict([sample])
    assert len(model._foreseen._each) == 2
    assert all(model._foreseen._each.values())
    free[0] = 1000
    other = started(model, replace(request, width=128))
    with pytest.raises(OutOfMemory):
        model.predict([other])
    assert isinstance(other.asked, ControlCall), "not even the ControlNet was run"


def test_nothing_is_foreseen_where_there_is_plenty(free: list[int | None]) -> None:
    model = loaded()
    passes: list[int] = []
    model.network("unet").register_forward_hook(lambda *_: passes.append(1))
    for free[0] in (None, 10**18):
        model.predict([started(model, SMALL)])
    assert len(passes) == 2


def test_a_picture_that_does_not_fit_whole_is_decoded_in_tiles_at_once(
    free: list[int | None],
) -> None:
    model = loaded()
    sample = started(model, SMALL)
    while not sample.done:
        for move in model.predict([sample]):
            move()
    vae = model.decoder._vae
    tiled: list[bool] = []
    vae.decoder.register_forward_hook(lambda *_: tiled.append(vae.use_tiling))
    for free[0] in (10**18, 1000, 1000, 10**18):
        [picture] = model.finish(SMALL, [sample])().images
        assert picture.size == (64, 64)
    # The third is that of a decoder with shapes only, which is not asked twice.
    assert tiled == [False, False, True, True, False]


def test_work_that_cannot_be_foreseen_is_not() -> None:
    import torch  # noqa: PLC0415  slow to load

    from queue_agent_diffusers.torch.foreseen import peak_bytes  # noqa: PLC0415  likewise

    given, module = torch.randn(8, 8), torch.nn.Identity()
    assert peak_bytes(module, lambda _: (given + 1) @ (given + 2)) == 3 * given.nbytes
    assert peak_bytes(module, lambda _: given.sum().item()) is None, "it looks at the content"
    for put_before in (torch.nn.Module.compile, lambda one: setattr(one, "forward", one.forward)):
        other = torch.nn.Identity()
        put_before(other)
        assert peak_bytes(other, lambda _: given + 1) is None


@pytest.mark.parametrize("name", ["Flux", "Qwen-Image"])
def test_foreseeing_changes_nothing_of_what_is_made(name: str, free: list[int | None]) -> None:
    import torch  # noqa: PLC0415  slow to load

    from queue_agent_diffusers.torch.architectures import architecture_of  # noqa: PLC0415
    from queue_agent_diffusers.torch.transformer import TransformerModel  # noqa: PLC0415
    from tiny_transformers import tiny_transformer  # noqa: PLC0415  loads torch

    pipeline = tiny_transformer(name)
    with pipeline.transformer.cache_context("a call"):  # which leaves a mark of diffusers'
        pass
    architecture = architecture_of(pipeline)
    assert architecture is not None
    made = []
    for told in (10**18, 10**12):
        model = TransformerModel(pipeline, architecture, max_batch=4)
        sample, free[0] = started(model, SMALL), told
        while not sample.done:
            for move in model.predict([sample]):
                move()
        made.append(model.tensor(sample))
        foreseen = model._foreseen._each.values()
        assert bool(foreseen) is (told == 10**12)
        assert all(foreseen)
    assert torch.equal(*made)
