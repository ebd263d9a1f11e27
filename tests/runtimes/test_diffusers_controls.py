"""ControlNets: an image that is led by one in a mixed batch is that of the plain pipeline."""

import base64
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image, ImageOps

from queue_agent.testing import sample_png
from queue_agent_diffusers.engine.requests import ControlInput, ImagePrompt, ImageRequest
from queue_agent_diffusers.errors import (
    InvalidRequest,
    ModelNotFound,
    ModelUnreadable,
    UnknownInput,
)
from queue_agent_diffusers.http.images import decode_image
from queue_agent_diffusers.options import Options
from step_batches import TOLERANCE, alone, stepped_together

GENERATIONS = "/v1/images/generations"
PNG = base64.b64encode(sample_png()).decode()
KINDS = ("sd", "xl", "Flux")
PHOTO = decode_image(sample_png(), field="image").convert("RGB").resize((64, 64))
OTHER = ImageOps.mirror(ImageOps.invert(PHOTO))
MASK = Image.new("L", (64, 64))
MASK.paste(255, (0, 0, 32, 64))
SIMPLE = ImageRequest("a lighthouse", seed=7, width=64, height=64, steps=4)
EDGES = ControlInput("edges", PHOTO, scale=0.8)
DEPTH = ControlInput("depth", OTHER, scale=0.5, start=0.2, end=0.7)


def control_nets(of: str) -> Any:
    from tiny_conditioning import tiny_control_net, tiny_control_nets  # noqa: PLC0415  loads torch

    nets = {"edges": tiny_control_net(of), "depth": tiny_control_net(of, 1)}
    return tiny_control_nets(of, nets, unsuitable=["of others"])


def plain_pipeline(of: str) -> Any:
    from tiny_conditioning import tiny_pipeline_of  # noqa: PLC0415  loads torch

    return tiny_pipeline_of(of)


def adapters(of: str, tmp_path: Path) -> Any:
    """A loaded IP-Adapter "face" and another, "style"."""
    from queue_agent_diffusers.torch.conditioning_files import adapter_files  # noqa: PLC0415  loads torch
    from queue_agent_diffusers.torch.ip_adapters import load_ip_adapters  # noqa: PLC0415
    from tiny_conditioning import save_ip_adapter  # noqa: PLC0415

    files = {
        name: adapter_files(str(save_ip_adapter(of, tmp_path, seed)))
        for seed, name in enumerate(("face", "style"))
    }
    return load_ip_adapters(plain_pipeline(of), files)


def model_with(of: str, **options: Any) -> Any:
    from queue_agent_diffusers.torch.architectures import architecture_of  # noqa: PLC0415
    from queue_agent_diffusers.torch.transformer import TransformerModel  # noqa: PLC0415
    from queue_agent_diffusers.torch.unet import UNetModel  # noqa: PLC0415

    pipeline = plain_pipeline(of)
    if of in ("sd", "xl"):
        return UNetModel(pipeline, max_batch=8, **options)
    architecture = architecture_of(pipeline)
    assert architecture is not None
    return TransformerModel(pipeline, architecture, max_batch=8, **options)


def conditioning_of(**options: Any) -> Any:
    from queue_agent_diffusers.torch.conditioning import Conditioning  # noqa: PLC0415  loads torch

    return Conditioning(**options)


def image_of(model: Any, sample: Any) -> Any:
    if hasattr(model, "tensor"):
        return model.tensor(sample)
    return (model.decoder.tensors(sample.result[0])[0] / 2 + 0.5).clamp(0, 1)


def images(model: Any, mix: Sequence[tuple[ImageRequest, int]]) -> list[list[Any]]:
    made = stepped_together(model, [request for request, _ in mix], [when for _, when in mix])
    return [[image_of(model, sample) for sample in samples] for samples in made]


def assert_as_by_itself(of: str, mix: Sequence[tuple[ImageRequest, int]]) -> None:
    nets = control_nets(of)
    mixed = images(model_with(of, conditioning=conditioning_of(control_nets=nets)), mix)
    for (request, _), made in zip(mix, mixed, strict=True):
        for image, plain in zip(made, alone(plain_pipeline(of), request, nets), strict=True):
            assert (image - plain).abs().max() <= TOLERANCE, request


@pytest.mark.parametrize("of", KINDS)
def test_images_led_by_control_nets_equal_the_plain_pipeline_in_company(of: str) -> None:
    led = replace(SIMPLE, controls=(EDGES,))
    mix = [
        (SIMPLE, 1),
        (replace(led, count=2), 0),
        (replace(SIMPLE, seed=8, controls=(DEPTH,), guidance_scale=1.0, steps=3), 2),
        (replace(SIMPLE, seed=9, controls=(EDGES, DEPTH)), 1),
        (replace(led, seed=10, image=OTHER, strength=0.7), 0),
        (replace(led, seed=11, image=OTHER, mask=MASK, strength=0.7), 1),
        (replace(SIMPLE, seed=12, image=OTHER, controls=(EDGES, DEPTH)), 0),
        (replace(SIMPLE, seed=13, image=OTHER, mask=MASK, controls=(DEPTH, EDGES)), 0),
    ]
    assert_as_by_itself(of, mix)


@pytest.mark.parametrize("of", KINDS)
def test_images_by_ip_adapters_equal_the_plain_pipeline_and_leave_others_alone(
    of: str, tmp_path: Path
) -> None:
    shown = replace(SIMPLE, image_prompts=(ImagePrompt("face", PHOTO, 0.7),))
    both = (ImagePrompt("face", PHOTO, 0.4), ImagePrompt("style", OTHER, 0.9))
    together = [
        shown,
        replace(shown, seed=8, image_prompts=(ImagePrompt("face", OTHER, 0.7),), count=2),
        replace(shown, seed=9, image=OTHER, strength=0.7),
    ]
    model = model_with(of, conditioning=conditioning_of(ip_adapters=adapters(of, tmp_path)))
    [before] = images(model, [(SIMPLE, 0)])[0]
    made = [image for one in images(model, [(one, 1) for one in together]) for image in one]
    [other] = images(model, [(replace(shown, image_prompts=both), 0)])[0]
    [after] = images(model, [(SIMPLE, 0)])[0]
    assert (before == after).all()
    wanted = [image for one in together for image in plainly_shown(of, tmp_path, one)]
    wanted += plainly_shown(of, tmp_path, replace(shown, image_prompts=both))
    for image, plain in zip([*made, other], wanted, strict=True):
        assert (image - plain).abs().max() <= TOLERANCE
        assert (image - before).abs().max() > 100 * TOLERANCE


def plainly_shown(of: str, folder: Path, request: ImageRequest) -> list[Any]:
    """By a pipeline of its own that has loaded the adapters as its documentation says."""
    from copy import deepcopy  # noqa: PLC0415

    pipeline = deepcopy(plain_pipeline(of))
    numbers = {"face": 0, "style": 1}
    names = [prompt.name for prompt in request.image_prompts]
    where = (
        {"image_encoder_pretrained_model_name_or_path": str(folder / "image_encoder")}
        | {"image_encoder_dtype": pipeline.dtype}
        if of == "Flux"
        else {"image_encoder_folder": "image_encoder"}
    )
    pipeline.load_ip_adapter(
        [str(folder)] * len(names),
        subfolder=[""] * len(names),
        weight_name=[f"adapter-{numbers[name]}.safetensors" for name in names],
        **where,
    )
    scales = [prompt.scale for prompt in request.image_prompts]
    pipeline.set_ip_adapter_scale(scales if len(scales) > 1 else scales[0])
    return alone(pipeline, request)


def test_a_control_net_leads_from_its_start_to_its_end_at_its_scale() -> None:
    import torch  # noqa: PLC0415  slow to load

    from queue_agent_diffusers.torch.siblings import library  # noqa: PLC0415  loads torch
    from tiny_conditioning import tiny_control_net  # noqa: PLC0415  as above

    pipeline = plain_pipeline("sd")
    plain = library.StableDiffusionControlNetPipeline(
        **pipeline.components, controlnet=tiny_control_net("sd", 1), requires_safety_checker=False
    )
    plain.set_progress_bar_config(disable=True)
    request = replace(SIMPLE, controls=(DEPTH,))
    generator = torch.Generator("cpu").manual_seed(request.seed)
    [expected] = plain(
        request.prompt,
        image=OTHER,
        controlnet_conditioning_scale=0.5,
        control_guidance_start=0.2,
        control_guidance_end=0.7,
        width=64,
        height=64,
        num_inference_steps=4,
        generator=generator,
        output_type="pt",
    ).images
    model = model_with("sd", conditioning=conditioning_of(control_nets=control_nets("sd")))
    [[image]], [[unled]] = images(model, [(request, 0)]), images(model, [(SIMPLE, 0)])
    assert (image - expected).abs().max() <= TOLERANCE
    assert (image - unled).abs().max() > 100 * TOLERANCE


def test_requests_led_by_other_control_nets_share_passes() -> None:
    rows: list[int] = []
    requests = [
        replace(SIMPLE, seed=seed, controls=controls)
        for seed, controls in enumerate([(EDGES,), (DEPTH,), (EDGES, DEPTH), ()])
    ]
    model = model_with("sd", conditioning=conditioning_of(control_nets=control_nets("sd")))
    assert len({model.batch_key(request) for request in requests}) == 1
    unet = plain_pipeline("sd").unet
    hook = unet.register_forward_pre_hook(lambda _, given: rows.append(len(given[0])))
    try:
        stepped_together(model, requests)
    finally:
        hook.remove()
    assert rows == [6, 2] * 4, "those that are led, and the one that is not"


@pytest.mark.parametrize("of", KINDS)
def test_requests_led_by_the_same_control_net_share_its_passes(of: str) -> None:
    """Whatever their strengths, and whichever lead them beside it: each is asked once a step."""
    nets = control_nets(of)
    passes: dict[str, list[int]] = {name: [] for name in nets.names}
    strong = replace(EDGES, scale=1.0)
    requests = [
        replace(SIMPLE, seed=seed, controls=controls)
        for seed, controls in enumerate([(EDGES,), (strong,), (EDGES, DEPTH), (), (DEPTH,)])
    ]
    model = model_with(of, conditioning=conditioning_of(control_nets=nets))
    hooks = [
        nets._networks[name].network.register_forward_hook(
            lambda _, __, answer, name=name: passes[name].append(len(answer[0][0]))
        )
        for name in nets.names
    ]
    try:
        stepped_together(model, requests)
    finally:
        for hook in hooks:
            hook.remove()
    rows = 1 if of == "Flux" else 2
    steps = SIMPLE.steps or 0
    assert passes == {"edges": [3 * rows] * steps, "depth": [2 * rows] * steps}


def test_requests_that_are_led_are_made_exactly() -> None:
    model = model_with("Flux", conditioning=conditioning_of(control_nets=control_nets("Flux")))
    led = replace(SIMPLE, controls=(EDGES,))
    others = [replace(SIMPLE, quality="balanced"), replace(SIMPLE, quality="fast")]
    [[expected]] = images(model, [(led, 0)])
    fast = replace(led, quality="fast")
    [made], *_ = images(model, [(one, 0) for one in (fast, *others)])
    assert (made - expected).abs().max() <= TOLERANCE
    [samples] = stepped_together(model, [fast])
    warnings = model.finish(fast, samples)().warnings
    assert warnings == ("quality: what images lead is made exactly.",)


def test_what_leads_a_request_must_be_known_and_suit_the_model(tmp_path: Path) -> None:
    conditioning = conditioning_of(
        control_nets=control_nets("sd"), ip_adapters=adapters("sd", tmp_path)
    )
    model = model_with("sd", conditioning=conditioning)
    unknown = replace(SIMPLE, controls=(ControlInput("lines", PHOTO),))
    with pytest.raises(UnknownInput, match="no ControlNet 'lines': there are 'depth', 'edges'"):
        model.check(unknown)
    unknown = replace(SIMPLE, image_prompts=(ImagePrompt("hair", PHOTO),))
    with pytest.raises(UnknownInput, match="no IP-Adapter 'hair': there are 'face', 'style'"):
        model.check(unknown)
    with pytest.raises(InvalidRequest, match="'of others' is for another kind of model"):
        model.check(replace(SIMPLE, controls=(ControlInput("of others", PHOTO),)))


def test_models_take_what_suits_them_of_what_the_operator_named(tmp_path: Path) -> None:
    from queue_agent_diffusers.torch.conditioning import load_conditioning  # noqa: PLC0415
    from tiny_conditioning import save_control_net, save_ip_adapter  # noqa: PLC0415

    folders = {of: tmp_path / of for of in KINDS}
    options = Options(
        control_nets={of: str(save_control_net(of, folders[of] / "net")) for of in KINDS},
        ip_adapters={of: str(save_ip_adapter(of, folders[of])) for of in KINDS},
    )
    for of in KINDS:
        found = load_conditioning(plain_pipeline(of), options)
        assert found.control_nets.names == found.ip_adapters.names == [of]
        assert found.memory > 0
        other = next(one for one in KINDS if one != of)
        request = replace(SIMPLE, image_prompts=(ImagePrompt(other, PHOTO),))
        with pytest.raises(InvalidRequest, match="another kind of model"):
            found.check(request)


@pytest.mark.parametrize(
    "options",
    [
        Options(control_nets={"edges": "/nowhere"}),
        Options(ip_adapters={"face": "/nowhere.safetensors"}),
        Options(ip_adapters={"face": "org/name"}),
    ],
)
def test_what_is_not_there_is_told_at_the_start(options: Options) -> None:
    from queue_agent_diffusers.torch.conditioning import load_conditioning  # noqa: PLC0415

    with pytest.raises(ModelNotFound, match=r"nowhere|org/name"):
        load_conditioning(plain_pipeline("sd"), options)


def weights_of_what_leads(folder: Path) -> tuple[Options, dict[str, Path]]:
    """Of a ControlNet and an image encoder, which the options name."""
    from tiny_conditioning import save_control_net, save_ip_adapter  # noqa: PLC0415  loads torch

    net, adapter = save_control_net("sd", folder / "net"), save_ip_adapter("sd", folder)
    options = Options(control_nets={"edges": str(net)}, ip_adapters={"face": str(adapter)})
    return options, {one.name: one for one in (net, folder / "image_encoder")}


@pytest.mark.parametrize("part", ["net", "image_encoder"])
def test_weights_of_what_leads_that_are_missing_are_not_made_up(part: str, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file  # noqa: PLC0415  loads torch

    from queue_agent_diffusers.torch.conditioning import load_conditioning  # noqa: PLC0415

    options, folders = weights_of_what_leads(tmp_path)
    [file] = folders[part].glob("*.safetensors")
    weights = load_file(file)
    missing = sorted(weights)[len(weights) // 2]
    del weights[missing]
    save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(ModelUnreadable, match=f"{part} lacks 1 of its weights: .*{missing}"):
        load_conditioning(plain_pipeline("sd"), options)


@pytest.mark.parametrize("kind", ["ControlNetModel", "CLIPVisionModelWithProjection"])
def test_memory_that_runs_out_while_what_leads_is_read_is_no_fault_of_its_files(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import diffusers  # noqa: PLC0415  loads torch
    import transformers  # noqa: PLC0415  loads torch

    from queue_agent_diffusers.torch.conditioning import load_conditioning  # noqa: PLC0415

    def failing(*_: object, **__: object) -> None:
        raise RuntimeError("CUDA out of memory")

    options, _ = weights_of_what_leads(tmp_path)
    library = diffusers if hasattr(diffusers, kind) else transformers
    monkeypatch.setattr(getattr(library, kind), "from_pretrained", failing)
    with pytest.raises(RuntimeError, match="out of memory"):
        load_conditioning(plain_pipeline("sd"), options)


def test_an_adapter_without_its_image_encoder_is_told_at_the_start(tmp_path: Path) -> None:
    from queue_agent_diffusers.torch.conditioning_files import adapter_files  # noqa: PLC0415

    weights = tmp_path / "face.safetensors"
    weights.touch()
    with pytest.raises(ModelNotFound, match="name the adapter's image encoder after a comma"):
        adapter_files(str(weights))
    assert adapter_files(f"{weights},{tmp_path}").encoder == tmp_path


async def test_a_request_is_led_by_images_in_its_fields(client: httpx.AsyncClient) -> None:
    text = base64.b64encode(sample_png()).decode()
    body = {"prompt": "x", "num_inference_steps": 3, "seed": 7}
    led = {"controls": [{"name": "edges", "image": text, "end": 0.9}]}
    shown = {"ip_adapters": [{"name": "face", "image": f"data:image/png;base64,{text}"}]}
    sized = {"size": "64x64"}
    made = [
        (await client.post(GENERATIONS, json={**body, **more})).json()
        for more in (sized, led, {**sized, **shown}, {**sized, **led, **shown}, sized)
    ]
    assert [answer["size"] for answer in made] == ["64x64"] * 5, "else that of the image"
    assert [answer["warnings"] for answer in made] == [[]] * 5
    plain, *others, again = (answer["data"][0]["b64_json"] for answer in made)
    assert plain == again
    assert len({plain, *others}) == 4
    fields = {**body, "controls": json.dumps(led["controls"])}
    edited = await client.post("/v1/images/edits", data=fields, files={"image": sample_png()})
    assert edited.status_code == 200


@pytest.mark.parametrize(
    ("fields", "status", "words"),
    [
        ({"controls": [{"name": "lines", "image": PNG}]}, 400, "there are 'edges'"),
        ({"ip_adapters": [{"name": "hair", "image": PNG}]}, 400, "there are 'face'"),
        ({"controls": [{"name": "edges", "image": "bm9uZQ=="}]}, 422, "not an image that can be"),
        ({"controls": [{"name": "edges", "image": "https://x/y.png"}]}, 422, "none is fetched"),
        ({"controls": [{"name": "edges", "image": PNG, "start": 0.5, "end": 0.5}]}, 422, "less"),
        ({"controls": [{"name": "edges", "image": PNG, "weight": 1}]}, 422, "weight"),
        ({"controls": [{"name": "edges", "image": PNG}] * 5}, 422, "at most 4"),
        ({"controls": [{"name": "edges", "image": PNG, "mode": 1}]}, 422, "knows no modes"),
        ({"controls": [{"name": "edges", "image": PNG, "mode": ""}]}, 422, "mode"),
        ({"controls": [{"name": "edges", "image": PNG, "mode": True}]}, 422, "mode"),
    ],
)
async def test_what_cannot_lead_a_request_is_refused_in_words(
    client: httpx.AsyncClient, fields: dict[str, Any], status: int, words: str
) -> None:
    answer = await client.post(GENERATIONS, json={"prompt": "x", "size": "64x64", **fields})
    assert (answer.status_code, words in answer.text) == (status, True), answer.text
    [name] = fields
    assert answer.json()["error"]["param"].startswith(name)


async def test_the_server_tells_what_may_lead_requests(client: httpx.AsyncClient) -> None:
    told = (await client.get("/v1/capabilities")).json()
    assert (told["controls"], told["ip_adapters"]) == (["edges"], ["face"])
