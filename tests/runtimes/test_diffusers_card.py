"""On a CUDA device no step waits for what the device has yet to do, and nothing runs in float32.

No card is needed: see `fake_card`.
"""

import copy
from collections.abc import Sequence
from typing import Any

import pytest

from diffusers_servers import tiny_model
from queue_agent_diffusers.engine.requests import ImageRequest
from queue_agent_diffusers.options import Options, Speed

pytestmark = pytest.mark.filterwarnings("ignore:Accessing the data pointer")
STEPS = 3


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
    from tiny_transformers import tiny_transformer  # noqa: PLC0415

    pipeline = copy.deepcopy(tiny_transformer(name)).to(torch.bfloat16).to(DEVICE)
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


@pytest.mark.parametrize("sampler", ["Euler a", "DPM++ 2M SDE", "LCM"])
def test_no_scheduler_has_the_host_wait_for_the_device(sampler: str) -> None:
    import torch  # noqa: PLC0415

    from fake_card import fake_card  # noqa: PLC0415  loads torch

    def network(latents: Any, *_: Any, **__: Any) -> Any:
        return (torch.empty_like(latents),)

    with fake_card() as card:
        model = unet_on_card(network)
        card.forget()
        step_to_the_end(model, requests(scheduler=sampler))
        assert card.operations
        assert card.waits == []


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
