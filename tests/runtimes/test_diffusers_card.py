"""On a CUDA device no step waits for what the device has yet to do, and nothing runs in float32.

No card is needed: see `fake_card`.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from unittest.mock import Mock

import pytest

from diffusers_servers import tiny_model
from queue_agent.wire.samplers import SAMPLERS
from queue_agent_diffusers.engine.requests import Clip, ImageRequest
from queue_agent_diffusers.options import Options, Speed

pytestmark = pytest.mark.filterwarnings("ignore:Accessing the data pointer")
STEPS = 3
NEED_SCIPY = {"LMSDiscreteScheduler"}
LOOKING_UP = (
    "Stable Diffusion 3",
    "PixArt",
    "CogView3+",
    "CogView4",
    "AuraFlow",
    "Wan of two transformers",
    "CogVideoX",
    "CogVideoX 1.5",
)
"""Families whose schedulers, or pipelines, look at the numbers of timesteps."""


def requests(count: int = 2, **fields: Any) -> list[ImageRequest]:
    return [
        ImageRequest(f"cat {seed}", seed=seed, width=64, height=64, steps=STEPS, **fields)
        for seed in range(count)
    ]


def unet_on_card(network: Any = None) -> Any:
    from fake_card import DEVICE  # noqa: PLC0415  loads torch
    from queue_agent_diffusers.torch.loader import load_pipeline  # noqa: PLC0415
    from queue_agent_diffusers.torch.unet import UNetModel  # noqa: PLC0415

    pipeline = load_pipeline(str(tiny_model()), Options(device=DEVICE))
    return UNetModel(pipeline, max_batch=4, network=network)


def transformer_on_card(name: str, speed: Speed = "eager") -> Any:
    import torch  # noqa: PLC0415

    from fake_card import DEVICE  # noqa: PLC0415  loads torch
    from queue_agent_diffusers.torch.architectures import architecture_of  # noqa: PLC0415
    from queue_agent_diffusers.torch.loader import batched_model  # noqa: PLC0415
    from tiny_families import BUILDERS as FAMILIES  # noqa: PLC0415
    from tiny_transformers import BUILDERS, built  # noqa: PLC0415
    from tiny_videos import BUILDERS as VIDEOS  # noqa: PLC0415

    pipeline = built({**BUILDERS, **FAMILIES, **VIDEOS}[name]).to(torch.bfloat16).to(DEVICE)
    if speed != "eager":
        pipeline.default_sample_size = 64 // pipeline.vae_scale_factor
    options = Options(device=DEVICE, max_batch=2, speed=speed)
    return batched_model(pipeline, architecture_of(pipeline), options)[0]


def step_to_the_end(model: Any, wanted: Sequence[ImageRequest]) -> None:
    """The second joins the first on its way."""
    waiting = [sample for request in wanted for sample in model.begin(request, lambda *_: None)]
    running: list[Any] = []
    while waiting or running:
        for sample in waiting[:1]:
            sample.start()
            running.append(waiting.pop(0))
        for move in model.predict(running):
            move()
        running = [sample for sample in running if not sample.done]


def test_no_scheduler_of_the_table_has_the_host_wait_for_the_device() -> None:
    import torch  # noqa: PLC0415

    from fake_card import fake_card  # noqa: PLC0415  loads torch

    def network(latents: Any, *_: Any, **__: Any) -> Any:
        return (torch.empty_like(latents),)

    waited = {}
    with fake_card() as card:
        model = unet_on_card(network)
        for sampler in SAMPLERS:
            if sampler.diffusers is None or sampler.diffusers in NEED_SCIPY:
                continue
            card.forget()
            [wanted] = requests(1, scheduler=sampler.webui or sampler.comfyui)
            step_to_the_end(model, [replace(wanted, steps=5)])
            assert card.operations
            waited[sampler.diffusers] = card.waits
    assert len(waited) > 10
    assert {name for name, waits in waited.items() if waits} == set(), waited


@pytest.mark.parametrize("name", LOOKING_UP)
def test_no_family_has_the_host_wait_for_what_step_it_is_at(name: str) -> None:
    from fake_card import fake_card  # noqa: PLC0415  loads torch

    clip = Clip(frames=9) if name.startswith(("Wan", "CogVideoX")) else None
    with fake_card() as card:
        model = transformer_on_card(name)
        card.forget()
        step_to_the_end(model, requests(clip=clip))
        assert {str(one) for one in card.precisions} == {"torch.bfloat16"}
        assert [wait for wait in card.waits if "schedul" in wait or "pipeline_" in wait] == []


def test_a_unet_steps_in_half_precision_and_waits_for_nothing() -> None:
    import torch  # noqa: PLC0415

    from fake_card import fake_card  # noqa: PLC0415  loads torch

    with fake_card() as card:
        model = unet_on_card()
        card.forget()
        step_to_the_end(model, requests())
        assert card.precisions == {torch.float16}
        assert card.waits == []


def test_a_transformer_steps_in_half_precision_and_waits_for_nothing() -> None:
    import torch  # noqa: PLC0415

    from fake_card import fake_card  # noqa: PLC0415  loads torch

    with fake_card() as card:
        model = transformer_on_card("Flux")
        card.forget()
        step_to_the_end(model, requests())
        assert card.precisions == {torch.bfloat16}
        assert card.waits == []


def test_passes_are_captured_before_jobs_come_all_of_them_in_one_memory() -> None:
    from fake_card import fake_card  # noqa: PLC0415  loads torch

    with fake_card() as card:
        model = transformer_on_card("Flux", "graphs")
        captured = [call for call in card.calls if call.startswith("captured")]
        card.calls.clear()
        card.forget()
        step_to_the_end(model, requests())
        assert len(captured) == len([size for size in model.buckets if size <= 2 * 2])
        assert len(set(captured)) == 1
        assert set(card.calls) >= {"CUDAGraph.replay"}
        assert not any(call.startswith("captured") for call in card.calls)
        assert card.waits == []


def test_what_works_with_the_most_rows_is_tried_first_and_too_little_memory_ends_nothing() -> None:
    import torch  # noqa: PLC0415

    from fake_card import fake_card  # noqa: PLC0415  loads torch

    tried = []

    def network(latents: Any, *_: Any, **__: Any) -> Any:
        tried.append(len(latents))
        if len(latents) > 2:
            raise torch.OutOfMemoryError
        return (torch.empty_like(latents),)

    with fake_card():
        unet_on_card(network).warm_up((1, 2, 4))
    assert tried == [4, 2, 1]


def test_what_was_uploaded_is_looked_at_without_a_wait_until_it_is_changed() -> None:
    import torch  # noqa: PLC0415

    from fake_card import DEVICE, fake_card  # noqa: PLC0415  loads torch
    from queue_agent_diffusers.torch.uploads import on_host, uploading  # noqa: PLC0415

    with fake_card() as card:
        with uploading():
            places = torch.arange(6.0).reshape(2, 3).to(DEVICE)
            video = torch.zeros(2**24, dtype=torch.uint8).to(DEVICE)
        assert on_host(places).tolist() == [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]
        assert card.waits == []
        places[0] /= 24.0
        on_host(places)
        assert len(card.waits) == 1
        on_host(video)
        assert len(card.waits) == 2


def test_what_lies_on_the_device_is_not_brought_to_the_host_to_be_uploaded_again() -> None:
    import torch  # noqa: PLC0415

    from fake_card import DEVICE, fake_card  # noqa: PLC0415  loads torch
    from queue_agent_diffusers.torch.uploads import uploading  # noqa: PLC0415

    with fake_card() as card:
        there = torch.zeros(3, device=DEVICE)
        with uploading():
            torch.as_tensor(there, device=DEVICE)
            torch.asarray(there, device=DEVICE)
            torch.as_tensor(data=there, device=DEVICE)
        assert card.waits == []


def test_weights_that_come_for_a_call_and_what_is_pinned_are_not_pinned_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import torch  # noqa: PLC0415

    from fake_card import DEVICE, fake_card  # noqa: PLC0415  loads torch
    from queue_agent_diffusers.torch.uploads import uploading  # noqa: PLC0415

    with fake_card():
        pinned: list[Any] = []

        def pin(tensor: Any) -> Any:
            pinned.append(tensor)
            return tensor

        monkeypatch.setattr(torch.Tensor, "pin_memory", pin)
        encoder = torch.nn.Linear(2, 2)
        with uploading(), torch.no_grad():
            for weight in encoder.parameters():
                assert weight.to(DEVICE).device.type == "cuda"
            torch.zeros(2).to(DEVICE)
            monkeypatch.setattr(torch.Tensor, "is_pinned", lambda _: True)
            torch.zeros(3).to(DEVICE)
        assert [tuple(tensor.shape) for tensor in pinned] == [(2,)]


def test_positions_that_were_changed_where_they_lie_are_no_longer_those_of_another_call() -> None:
    import torch  # noqa: PLC0415

    from queue_agent_diffusers.torch.forward import RowLayout, kind  # noqa: PLC0415
    from queue_agent_diffusers.torch.suspended import NetworkCall  # noqa: PLC0415

    def asked() -> Any:
        arguments = {"hidden_states": torch.zeros(1, 2), "positions": torch.arange(4.0)}
        return NetworkCall("transformer", arguments, 0)

    layout, call, other = RowLayout(shared=frozenset({"positions"})), asked(), asked()
    assert kind(call, layout) == kind(other, layout)
    call.arguments["positions"][2:] /= 2.0
    assert kind(call, layout) != kind(other, layout)


def test_waiting_for_a_step_keeps_no_core_of_the_host_busy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import torch  # noqa: PLC0415

    from queue_agent_diffusers.torch.speed import Pace  # noqa: PLC0415  loads torch

    events: list[Mock] = []

    def event(**options: Any) -> Mock:
        events.append(Mock(options=options))
        return events[-1]

    monkeypatch.setattr(torch.cuda, "Event", event)
    pace = Pace(torch.device("cuda"))
    pace.mark()
    pace.mark()
    pace.wait()
    assert [one.options for one in events] == [{"blocking": True}] * 2
    assert [one.synchronize.called for one in events] == [True, False]
