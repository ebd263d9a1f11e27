"""Parts of a pipeline wait in the host's memory, and images stay the same."""

import copy
from pathlib import Path
from typing import Any

import pytest

from diffusers_servers import tiny_model
from queue_agent_diffusers.engine.requests import ImageRequest
from queue_agent_diffusers.errors import DeviceUnavailable
from queue_agent_diffusers.options import Offload, Options
from step_batches import TOLERANCE, alone, stepped_together

MIX = [
    ImageRequest("a cat", seed=1, width=64, height=64, steps=2),
    ImageRequest("light", seed=2, width=64, height=64, steps=1),
]


def test_without_another_memory_offloading_is_refused_at_the_start() -> None:
    from queue_agent_diffusers.torch.loader import load_model  # noqa: PLC0415  loads torch

    with pytest.raises(DeviceUnavailable, match="--offload model is for cuda"):
        load_model(str(tiny_model()), Options(device="cpu", offload="model"))


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (Options(offload="model", lora_dir=Path("loras")), "--lora-dir"),
        (Options(offload="sequential", ip_adapters={"face": "face.safetensors"}), "--ip-adapter"),
    ],
)
def test_weights_that_come_later_are_refused_beside_it(options: Options, named: str) -> None:
    import torch  # noqa: PLC0415

    from queue_agent_diffusers.torch.offload import check_offload  # noqa: PLC0415

    with pytest.raises(DeviceUnavailable, match=named):
        check_offload(options, torch.device("cuda"))
    check_offload(Options(offload="model"), torch.device("cuda"))


def test_a_part_comes_for_each_of_its_calls_and_leaves_after_it() -> None:
    import torch  # noqa: PLC0415
    from accelerate.hooks import add_hook_to_module  # noqa: PLC0415

    from queue_agent_diffusers.torch.offload import Visits  # noqa: PLC0415

    class Moving(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.seen: list[str] = []

        def to(self, device: Any) -> Any:  # type: ignore[override]  # as it is called here
            self.seen.append(str(device))
            return self

        def forward(self, value: Any) -> Any:
            self.seen.append(f"called on {value.device}")
            return value

    part = Moving()
    add_hook_to_module(part, Visits(torch.device("meta")))
    part(torch.zeros(1))
    assert part.seen == ["cpu", "meta", "called on meta", "cpu"]


@pytest.mark.parametrize("how", ["model", "sequential"])
@pytest.mark.parametrize("name", ["UNet", "Flux"])
def test_steps_are_shared_while_parts_come_and_go(name: str, how: Offload) -> None:
    import torch  # noqa: PLC0415

    from queue_agent_diffusers.torch.architectures import architecture_of  # noqa: PLC0415
    from queue_agent_diffusers.torch.loader import batched_model, load_pipeline  # noqa: PLC0415
    from queue_agent_diffusers.torch.offload import offload  # noqa: PLC0415
    from tiny_transformers import tiny_transformer  # noqa: PLC0415

    pipeline: Any
    if name == "UNet":
        pipeline = load_pipeline(str(tiny_model()), Options(device="cpu"))
    else:
        pipeline = copy.deepcopy(tiny_transformer(name))
    plain = copy.deepcopy(pipeline)
    architecture = architecture_of(pipeline)
    networks = architecture.networks if architecture else ("unet",)
    offload(pipeline, how, torch.device("cpu"), networks)
    model: Any = batched_model(pipeline, architecture, Options(device="cpu", offload=how))[0]
    for request, samples in zip(MIX, stepped_together(model, MIX, [0, 1]), strict=True):
        for sample, wanted in zip(samples, alone(plain, request), strict=True):
            if name == "UNet":
                made = (model.decoder.tensors(sample.result[0])[0] / 2 + 0.5).clamp(0, 1)
            else:
                made = model.tensor(sample)
            assert (made - wanted).abs().max() <= TOLERANCE
