"""What of the means to make a network faster is used, on machines that are described only."""

from pathlib import Path

import pytest

from queue_agent_diffusers.engine.quality import QualityPolicy
from queue_agent_diffusers.options import Attention, Options, Quantize, Speed
from queue_agent_diffusers.torch.speed_plan import (
    Capability,
    DeviceFacts,
    NetworkFacts,
    speed_plan,
)

HOPPER = DeviceFacts("cuda", (9, 0), packages=frozenset({"torchao", "flash_attn_interface"}))
AMPERE = DeviceFacts("cuda", (8, 0), packages=frozenset({"torchao"}))
CPU = DeviceFacts()
UNET = NetworkFacts()
TRANSFORMER = NetworkFacts(transformer=True)
LORAS = Path("loras")


def card(capability: Capability) -> DeviceFacts:
    return DeviceFacts("cuda", capability, packages=frozenset({"torchao"}))


def test_what_nobody_asks_for_is_what_suits_the_device() -> None:
    plan = speed_plan(Options(), HOPPER, UNET)
    assert (plan.channels_last, plan.fuse) == (True, True)
    assert (plan.speed, plan.quantize, plan.backend) == ("eager", "none", None)
    plan = speed_plan(Options(), CPU, UNET)
    assert (plan.channels_last, plan.fuse) == (False, False)
    assert plan.told() == {
        "speed": "eager",
        "channels-last": "off (only on cuda)",
        "fuse-projections": "off (only on cuda)",
        "quantize": "none",
        "attention": "native",
        "offload": "none",
    }


def test_fused_projections_of_a_transformer_are_asked_for_since_they_take_memory() -> None:
    assert not speed_plan(Options(), HOPPER, TRANSFORMER).fuse
    assert speed_plan(Options(fuse_projections=True), HOPPER, TRANSFORMER).fuse


def test_what_is_switched_off_is_off_and_no_reason_is_told() -> None:
    options = Options(channels_last=False, fuse_projections=False)
    plan = speed_plan(options, HOPPER, UNET)
    assert not plan.channels_last
    assert not plan.fuse
    assert plan.notes == {}


@pytest.mark.parametrize(
    ("speed", "device", "network", "reason"),
    [
        ("compile", HOPPER, UNET, None),
        ("compile", card((7, 0)), UNET, None),
        ("compile", card((6, 1)), UNET, "compute capability is 6.1, and it takes 7.0"),
        ("compile", CPU, TRANSFORMER, None),
        ("compile", DeviceFacts(compiler=False), TRANSFORMER, "there is no compiler"),
        ("compile", DeviceFacts("mps"), UNET, "not on mps"),
        ("compile", HOPPER, NetworkFacts(blocks=False), "no repeated blocks"),
        ("graphs", AMPERE, TRANSFORMER, None),
        ("graphs", CPU, UNET, "only on cuda"),
        ("graphs", HOPPER, NetworkFacts(same_shapes=False), "rows of a pass differ"),
    ],
)
def test_a_speed_is_used_where_it_works_and_else_it_is_told_why_not(
    speed: Speed, device: DeviceFacts, network: NetworkFacts, reason: str | None
) -> None:
    plan = speed_plan(Options(speed=speed), device, network)
    assert plan.speed == (speed if reason is None else "eager")
    if reason is not None:
        assert reason in plan.told()["speed"]


def test_graphs_say_which_passes_they_leave_out_where_there_may_be_some() -> None:
    exact = QualityPolicy(lowest="exact")
    told = [
        speed_plan(Options(speed="graphs", quality=quality), HOPPER, network).told()["speed"]
        for quality, network in (
            (QualityPolicy(), TRANSFORMER),
            (exact, TRANSFORMER),
            (QualityPolicy(), UNET),
            (QualityPolicy(lowest="balanced"), UNET),
            (exact, UNET),
        )
    ]
    balanced = "graphs (but for passes with balanced rows)"
    either = "graphs (but for passes with balanced or fast rows)"
    assert told == [balanced, "graphs", either, balanced, "graphs"]


@pytest.mark.parametrize(
    ("quantize", "device", "reason"),
    [
        ("fp8", HOPPER, None),
        ("fp8", card((8, 9)), None),
        ("fp8", AMPERE, "compute capability is 8.0, and it takes 8.9"),
        ("fp8-weights", AMPERE, None),
        ("fp8-weights", card((7, 5)), "it takes 8.0"),
        ("fp8", DeviceFacts("cuda", (9, 0)), "torchao is not installed"),
        ("fp8", CPU, "only on cuda"),
    ],
)
def test_eight_bits_are_used_where_the_card_multiplies_them(
    quantize: Quantize, device: DeviceFacts, reason: str | None
) -> None:
    plan = speed_plan(Options(quantize=quantize), device, TRANSFORMER)
    assert plan.quantize == (quantize if reason is None else "none")
    if reason is not None:
        assert reason in plan.told()["quantize"]


@pytest.mark.parametrize(
    ("attention", "device", "network", "backend"),
    [
        ("native", HOPPER, TRANSFORMER, None),
        ("cudnn", AMPERE, TRANSFORMER, "_native_cudnn"),
        ("cudnn", card((7, 5)), TRANSFORMER, None),
        ("flash-3", HOPPER, TRANSFORMER, "_flash_3"),
        ("flash-3", AMPERE, TRANSFORMER, None),
        ("sage", HOPPER, TRANSFORMER, None),
        ("cudnn", CPU, TRANSFORMER, None),
        ("cudnn", HOPPER, NetworkFacts(takes_attention=False), None),
    ],
)
def test_another_attention_is_used_where_card_package_and_network_have_it(
    attention: Attention, device: DeviceFacts, network: NetworkFacts, backend: str | None
) -> None:
    plan = speed_plan(Options(attention=attention), device, network)
    assert plan.backend == backend
    assert ("attention" in plan.notes) == (backend is None and attention != "native")


def test_with_loras_weights_stay_as_they_are_and_nothing_is_captured() -> None:
    for options in (
        Options(speed="graphs", lora_dir=LORAS),
        Options(quantize="fp8", lora_dir=LORAS),
        Options(fuse_projections=True, lora_dir=LORAS),
    ):
        plan = speed_plan(options, HOPPER, TRANSFORMER)
        assert (plan.speed, plan.quantize, plan.fuse) == ("eager", "none", False)
        assert any("LoRAs" in note for note in plan.notes.values())
    assert speed_plan(Options(speed="compile", lora_dir=LORAS), HOPPER, UNET).speed == "compile"


def test_layers_that_come_and_go_are_neither_compiled_nor_captured_nor_quantised() -> None:
    speeds: tuple[Speed, ...] = ("compile", "graphs")
    for speed in speeds:
        options = Options(speed=speed, quantize="fp8", offload="sequential")
        plan = speed_plan(options, HOPPER, TRANSFORMER)
        assert (plan.speed, plan.quantize) == ("eager", "none")
