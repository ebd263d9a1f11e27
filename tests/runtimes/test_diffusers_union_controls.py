"""ControlNets of several modes, and of more families: images are those of the plain pipelines."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageOps

from queue_agent.testing import sample_png
from queue_agent_diffusers.engine.requests import ControlInput, ImageRequest
from queue_agent_diffusers.errors import InvalidRequest, ModelUnreadable, UnknownInput
from queue_agent_diffusers.http.images import decode_image
from queue_agent_diffusers.options import Options
from step_batches import TOLERANCE, alone, stepped_together

PHOTO = decode_image(sample_png(), field="image").convert("RGB").resize((64, 64))
OTHER = ImageOps.mirror(ImageOps.invert(PHOTO))
MASK = Image.new("L", (64, 64))
MASK.paste(255, (0, 0, 32, 64))
SIMPLE = ImageRequest("a lighthouse", seed=7, width=64, height=64, steps=3)
PAINTED = replace(SIMPLE, image=OTHER, mask=MASK, strength=0.7)
EDGES = ControlInput("any", PHOTO, scale=10.0, mode="0")
"""So strong that its mode, one of Flux's hundreds of tokens, is seen."""
DEPTH = ControlInput("any", OTHER, scale=0.5, start=0.2, end=0.7, mode="2")
SECOND = replace(EDGES, name="second", mode="1")
CONTROL = ControlInput("edges", PHOTO, scale=0.8)
LATE = replace(CONTROL, image=OTHER, start=0.4)


def control_nets(of: str, *, union: bool = False) -> Any:
    from tiny_conditioning import tiny_control_net, tiny_control_nets  # noqa: PLC0415  loads torch

    kind = f"{of} union" if union else of
    names = ("any", "second") if union else ("edges", "depth")
    nets = {name: tiny_control_net(kind, seed) for seed, name in enumerate(names)}
    if union:
        nets["plain"] = tiny_control_net(of)
    return tiny_control_nets(of, nets)


def model_with(of: str, nets: Any) -> Any:
    from queue_agent_diffusers.torch.architectures import architecture_of  # noqa: PLC0415
    from queue_agent_diffusers.torch.conditioning import Conditioning  # noqa: PLC0415  loads torch
    from queue_agent_diffusers.torch.transformer import TransformerModel  # noqa: PLC0415
    from queue_agent_diffusers.torch.unet import UNetModel  # noqa: PLC0415
    from tiny_conditioning import tiny_pipeline_of  # noqa: PLC0415  as above

    pipeline, conditioning = tiny_pipeline_of(of), Conditioning(control_nets=nets)
    if of in ("sd", "xl"):
        return UNetModel(pipeline, max_batch=8, conditioning=conditioning)
    architecture = architecture_of(pipeline)
    assert architecture is not None
    return TransformerModel(pipeline, architecture, max_batch=8, conditioning=conditioning)


def images_of(model: Any, requests: Sequence[ImageRequest], when: Sequence[int] = ()) -> list[Any]:
    def read(sample: Any) -> Any:
        if hasattr(model, "tensor"):
            return model.tensor(sample)
        return (model.decoder.tensors(sample.result[0])[0] / 2 + 0.5).clamp(0, 1)

    for request in requests:
        model.check(request)
    made = stepped_together(model, requests, when)
    return [read(sample) for samples in made for sample in samples]


def plainly(of: str, request: ImageRequest, nets: Any) -> list[Any]:
    import torch  # noqa: PLC0415  slow to load

    from tiny_conditioning import tiny_pipeline_of  # noqa: PLC0415  loads torch

    made = []
    for seed in request.seeds:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)  # some pipelines draw by what all in the process draw by
            made += alone(tiny_pipeline_of(of), replace(request, seed=seed, count=1), nets)
    return made


def assert_as_by_itself(of: str, nets: Any, mix: Sequence[tuple[ImageRequest, int]]) -> list[Any]:
    requests = [request for request, _ in mix]
    images = images_of(model_with(of, nets), requests, [when for _, when in mix])
    expected = [image for request in requests for image in plainly(of, request, nets)]
    for image, plain in zip(images, expected, strict=True):
        assert (image - plain).abs().max() <= TOLERANCE
    return images


@pytest.mark.parametrize("of", ["xl", "Flux"])
def test_what_a_union_leads_equals_the_plain_pipeline_in_company(of: str) -> None:
    led = replace(SIMPLE, controls=(EDGES,))
    mix = [
        (SIMPLE, 1),
        (replace(led, count=2), 0),
        (replace(SIMPLE, controls=(replace(EDGES, mode="1"),)), 0),
        (replace(led, seed=8, controls=(EDGES, DEPTH)), 1),
        (replace(led, seed=8, controls=(EDGES, replace(DEPTH, scale=0.9))), 1),
        (replace(led, seed=9, controls=(DEPTH, SECOND), guidance_scale=1.0), 2),
        (replace(led, seed=10, image=OTHER, strength=0.7), 0),
        (replace(led, seed=11, image=OTHER, strength=0.7, controls=(SECOND, EDGES)), 0),
        (replace(PAINTED, controls=(EDGES, DEPTH)), 1),
        (replace(PAINTED, controls=(DEPTH,)), 1),
    ]
    images = assert_as_by_itself(of, control_nets(of, union=True), mix)
    assert (images[1] - images[3]).abs().max() > 2 * TOLERANCE, "modes tell images apart"


@pytest.mark.parametrize(
    ("of", "more"),
    [
        ("Stable Diffusion 3", [(CONTROL, replace(LATE, name="depth")), (LATE,)]),
        ("Qwen-Image", [(CONTROL, LATE), (LATE,)]),
        ("Z-Image", [(replace(CONTROL, image=OTHER, scale=0.3),)]),
    ],
)
def test_more_families_are_led_as_their_plain_pipelines_are(
    of: str, more: Sequence[tuple[ControlInput, ...]]
) -> None:
    led = replace(SIMPLE, controls=(CONTROL,))
    mix = [
        (SIMPLE, 1),
        (replace(led, count=2), 0),
        (replace(led, seed=9, prompt="light on a river " * 5, negative_prompt="forest"), 1),
        (replace(led, seed=9, true_cfg_scale=3.0, negative_prompt="a"), 2),
        (replace(led, seed=10, guidance_scale=0.0), 0),
        *((replace(SIMPLE, seed=11, controls=controls), 1) for controls in more),
        *([(replace(PAINTED, controls=(CONTROL,)), 0)] if of == "Z-Image" else []),
    ]
    images = assert_as_by_itself(of, control_nets(of), mix)
    assert (images[0] - images[1]).abs().max() > 10 * TOLERANCE


@pytest.mark.parametrize(
    ("control", "error", "words"),
    [
        (replace(EDGES, mode=None), InvalidRequest, "name one as its mode, of '0', '1', '2'"),
        (replace(EDGES, mode="3"), UnknownInput, "called '3': there are '0', '1', '2'"),
        (ControlInput("plain", PHOTO, mode="0"), InvalidRequest, "'plain' knows no modes"),
    ],
)
@pytest.mark.parametrize("of", ["xl", "Flux"])
def test_a_mode_must_be_one_of_its_control_net(
    of: str, control: ControlInput, error: type[InvalidRequest], words: str
) -> None:
    model = model_with(of, control_nets(of, union=True))
    with pytest.raises(error, match=words) as refused:
        model.check(replace(SIMPLE, controls=(control,)))
    assert refused.value.body["error"]["param"] == "controls"


@pytest.mark.parametrize(
    ("of", "request_", "words"),
    [
        ("xl", {"controls": (EDGES, ControlInput("plain", PHOTO))}, "of different kinds"),
        ("Flux", {"controls": (EDGES, ControlInput("unguided", PHOTO))}, "of different kinds"),
        ("Qwen-Image", {"controls": (CONTROL, replace(CONTROL, name="depth"))}, "no others beside"),
        ("Qwen-Image", {"controls": (CONTROL,), "image": OTHER}, "from a given image"),
        ("Stable Diffusion 3", {"controls": (CONTROL,), "image": OTHER}, "from a given image"),
        (
            "Stable Diffusion 3",
            {"controls": (CONTROL,), "image": OTHER, "mask": MASK},
            "from a given mask",
        ),
        ("Z-Image", {"controls": (CONTROL, CONTROL)}, "no others beside"),
        ("Z-Image", {"controls": (replace(CONTROL, end=0.5),)}, "name no start"),
        ("Z-Image", {"controls": (CONTROL,), "image": OTHER}, "from a given image"),
        (
            "Z-Image",
            {"controls": (ControlInput("old", PHOTO),), "image": OTHER, "mask": MASK},
            "The model refuses it",
        ),
    ],
)
def test_what_no_pipeline_can_be_led_by_is_refused_in_words(
    of: str, request_: dict[str, Any], words: str
) -> None:
    from tiny_conditioning import tiny_control_net, tiny_control_nets  # noqa: PLC0415  loads torch

    if of in ("xl", "Flux"):
        nets = {"any": tiny_control_net(f"{of} union"), "plain": tiny_control_net(of)}
        if of == "Flux":
            nets["unguided"] = of_other(nets["plain"], guidance_embeds=False)
    else:
        nets = {"edges": tiny_control_net(of), "depth": tiny_control_net(of, 1)}
    if of == "Z-Image":
        nets["old"] = of_other(nets["edges"], control_in_dim=4)
    model = model_with(of, tiny_control_nets(of, nets))
    with pytest.raises(InvalidRequest, match=words):
        model.check(replace(SIMPLE, **request_))
    model.check(SIMPLE)


def of_other(net: Any, **changes: Any) -> Any:
    """One of another configuration."""
    config = {name: value for name, value in net.config.items() if not name.startswith("_")}
    return type(net).from_config({**config, **changes})


@pytest.mark.parametrize(
    ("of", "changes"),
    [
        ("sd", {"block_out_channels": (8, 8)}),
        ("sd", {"layers_per_block": 2}),
        ("xl union", {"layers_per_block": 2}),
        ("Flux", {"num_attention_heads": 4, "attention_head_dim": 8, "axes_dims_rope": (2, 2, 4)}),
        ("Stable Diffusion 3", {"extra_conditioning_channels": 1}),
        ("Qwen-Image", {"extra_condition_channels": 4}),
        ("Z-Image", {"dim": 64}),
    ],
)
def test_a_control_net_that_would_not_fit_the_layers_is_told_to_be_for_others(
    of: str, changes: dict[str, Any], tmp_path: Path
) -> None:
    from queue_agent_diffusers.torch.control_nets import load_control_nets  # noqa: PLC0415
    from tiny_conditioning import tiny_control_net, tiny_pipeline_of  # noqa: PLC0415

    of_other(tiny_control_net(of), **changes).save_pretrained(tmp_path)
    found = load_control_nets(tiny_pipeline_of(of.removesuffix(" union")), {"edges": tmp_path})
    assert found.names == []
    with pytest.raises(InvalidRequest, match="another kind of model"):
        found.check(replace(SIMPLE, controls=(CONTROL,)))


@pytest.mark.parametrize("of", ["xl", "Flux"])
def test_modes_are_called_what_the_operator_calls_them(of: str, tmp_path: Path) -> None:
    from queue_agent_diffusers.torch.conditioning import load_conditioning  # noqa: PLC0415
    from tiny_conditioning import tiny_control_net, tiny_pipeline_of  # noqa: PLC0415

    tiny_control_net(f"{of} union").save_pretrained(tmp_path / "union")
    tiny_control_net(of).save_pretrained(tmp_path / "plain")
    pipeline, sources = tiny_pipeline_of(of), {"any": str(tmp_path / "union")}

    def loaded(**modes: int) -> Any:
        options = Options(control_nets=sources, control_modes={"any": modes} if modes else {})
        return load_conditioning(pipeline, options).control_nets

    called = loaded(canny=2, depth=1)
    request = replace(SIMPLE, controls=(replace(EDGES, mode="canny"),))
    [made] = images_of(model_with(of, called), [request])
    numbered = replace(SIMPLE, controls=(replace(EDGES, mode="2"),))
    [expected] = plainly(of, numbered, control_nets(of, union=True))
    assert (made - expected).abs().max() <= TOLERANCE
    with pytest.raises(UnknownInput, match="there are 'canny', 'depth'"):
        called.check(numbered)
    loaded().check(numbered)
    with pytest.raises(ModelUnreadable, match="'any' has 3 modes, from 0, and no canny=3"):
        loaded(canny=3)
    sources["any"] = str(tmp_path / "plain")
    with pytest.raises(ModelUnreadable, match="'any' has no modes, and no canny=0"):
        loaded(canny=0)


def test_checkpoints_tell_apart_what_operators_call_alike(tmp_path: Path) -> None:
    from queue_agent_diffusers.torch.control_nets import load_control_nets  # noqa: PLC0415
    from tiny_conditioning import save_control_net, tiny_pipeline_of  # noqa: PLC0415

    folder = save_control_net("Flux union", tmp_path / "union")
    one, other, same = (
        load_control_nets(tiny_pipeline_of("Flux"), {"any": folder}, {"any": {"pose": number}})
        for number in (0, 1, 0)
    )
    pose = replace(EDGES, mode="pose")
    assert one.fingerprint(pose) == same.fingerprint(pose) != other.fingerprint(pose)


def test_a_union_that_was_written_as_a_plain_control_net_is_known(tmp_path: Path) -> None:
    from queue_agent_diffusers.torch.control_nets import load_control_nets  # noqa: PLC0415
    from tiny_conditioning import tiny_control_net, tiny_pipeline_of  # noqa: PLC0415

    tiny_control_net("xl union").save_pretrained(tmp_path)
    config = tmp_path / "config.json"
    config.write_text(config.read_text().replace("ControlNetUnionModel", "ControlNetModel"))
    found = load_control_nets(tiny_pipeline_of("xl"), {"any": tmp_path})
    found.check(replace(SIMPLE, controls=(EDGES,)))


def test_what_a_configuration_of_old_does_not_say_is_as_the_libraries_have_it(
    tmp_path: Path,
) -> None:
    from queue_agent_diffusers.torch.control_nets import load_control_nets  # noqa: PLC0415
    from tiny_conditioning import save_control_net, tiny_pipeline_of  # noqa: PLC0415

    config = save_control_net("sd", tmp_path) / "config.json"
    written = json.loads(config.read_text())
    assert written.pop("in_channels") == tiny_pipeline_of("sd").unet.config.in_channels
    config.write_text(json.dumps(written))
    assert load_control_nets(tiny_pipeline_of("sd"), {"edges": tmp_path}).names == ["edges"]
