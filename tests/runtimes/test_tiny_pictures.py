"""The tiny model draws what is asked for: its pictures are looked at."""

import base64
import io
import random
import sys
from collections.abc import Iterator
from functools import cache
from typing import Any, Final

import httpx
import pytest
from PIL import Image

from diffusers_servers import LoadedServer
from harness import PATIENCE
from picture_judge import Seen, covered, middle, seen_in
from queue_agent_diffusers.engine.model import Model
from queue_agent_diffusers.engine.requests import ImageRequest
from tiny_model.drawings import COLOURS, SHAPES, Placing, draw

PROMPTS: Final = {
    "red circle": Seen("circle", "red", "white"),
    "blue square": Seen("square", "blue", "white"),
    "green triangle on black": Seen("triangle", "green", "black"),
    "a large yellow star on a purple background": Seen("star", "yellow", "purple"),
    "pink heart": Seen("heart", "pink", "white"),
}
SEEDS: Final = (1, 2, 3)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_judge_knows_what_is_drawn(shape: str) -> None:
    chance = random.Random(shape)  # noqa: S311  no secret
    for colour in COLOURS:
        background = "black" if colour != "black" else "yellow"
        place = Placing.drawn(chance)
        picture = draw(shape, colour, background, width=128, height=96, place=place)
        assert seen_in(picture) == Seen(shape, colour, background)


def test_the_judge_sees_no_shape_in_noise() -> None:
    assert seen_in(Image.effect_noise((64, 64), 90)).shape is None


@cache
def plain() -> Any:
    from queue_agent_diffusers.torch.loader import load_pipeline  # noqa: PLC0415  loads torch

    return load_pipeline("tiny")


@pytest.mark.parametrize("prompt", PROMPTS)
def test_the_plain_pipeline_draws_what_is_asked_for(prompt: str) -> None:
    import torch  # noqa: PLC0415  slow to load

    generators = [torch.Generator("cpu").manual_seed(seed) for seed in SEEDS]
    prompts = [prompt] * len(SEEDS)
    images = plain()(prompts, num_inference_steps=16, generator=generators).images
    assert [image.size for image in images] == [(512, 512)] * len(SEEDS)
    assert [seen_in(image) for image in images] == [PROMPTS[prompt]] * len(SEEDS)


@cache
def shared() -> Model:
    """Shares steps between requests."""
    from queue_agent_diffusers.options import Options  # noqa: PLC0415  beside what loads torch
    from queue_agent_diffusers.torch.loader import load_model  # noqa: PLC0415  loads torch

    return load_model("tiny", Options(device="cpu"))


def drawn(*requests: ImageRequest) -> list[Image.Image]:
    """The pictures of requests that share their steps."""
    model: Any = shared()
    samples = [list(model.begin(request, lambda _, __: None)) for request in requests]
    running = [sample for ones in samples for sample in ones]
    for sample in running:
        sample.start()
    while running:
        for move in model.predict(running):
            move()
        running = [sample for sample in running if not sample.done]
    pairs = zip(requests, samples, strict=True)
    return [image for request, ones in pairs for image in model.finish(request, ones)().images]


def asked(prompt: str, **options: Any) -> ImageRequest:
    return ImageRequest(prompt, **{"seed": 1, "steps": 16, **options})


def test_requests_that_share_steps_each_get_what_they_asked_for() -> None:
    requests = [asked(prompt, seed=seed) for prompt in PROMPTS for seed in SEEDS]
    wanted = [PROMPTS[request.prompt] for request in requests]
    assert [seen_in(image) for image in drawn(*requests)] == wanted


@pytest.mark.parametrize("scheduler", ["Euler", "Euler a", "DPM++ 2M", "DPM++ 2M Karras", "UniPC"])
def test_it_draws_by_any_of_the_usual_samplers(scheduler: str) -> None:
    [image] = drawn(asked("red circle", steps=20, scheduler=scheduler))
    assert seen_in(image) == PROMPTS["red circle"]


def test_image_to_image_changes_the_colour_and_keeps_of_the_size() -> None:
    sizes = []
    for radius in (0.32, 0.44):
        given = draw("circle", "red", "white", width=512, height=512, place=Placing(radius))
        [image] = drawn(asked("blue circle", image=given, strength=0.6, steps=24))
        assert seen_in(image) == Seen("circle", "blue", "white")
        sizes.append(covered(image))
    assert sizes[0] < 0.9 * sizes[1]


def test_inpainting_changes_what_the_mask_covers_and_nothing_else() -> None:
    given = draw("square", "green", "white", width=512, height=512, place=Placing(0.3))
    mask = Image.new("L", given.size)
    mask.paste(255, (0, 0, 512, 64))
    [image] = drawn(asked("green square", image=given, mask=mask, strength=0.9, steps=24))
    assert seen_in(image) == Seen("square", "green", "white")
    assert middle(image) == pytest.approx(middle(given), abs=0.02)


def test_a_size_that_its_cells_cannot_fill_is_rounded_with_a_warning() -> None:
    model: Any = shared()
    request = asked("red circle", width=264, height=256, steps=2)
    [sample] = model.begin(request, lambda _, __: None)
    sample.start()
    while not sample.done:
        for move in model.predict([sample]):
            move()
    pictures = model.finish(request, [sample])()
    assert [image.size for image in pictures.images] == [(256, 256)]
    (warning,) = pictures.warnings
    assert "multiples of 32" in warning
    assert "256x256" in warning


@pytest.fixture(scope="module")
def tiny() -> Iterator[LoadedServer]:
    command = [sys.executable, "-m", "queue_agent_diffusers", "--model", "tiny", "--port", "{port}"]
    with LoadedServer(command) as server:
        yield server


def test_the_server_draws_what_is_asked_for(tiny: LoadedServer) -> None:
    body = {"prompt": "orange star", "seed": 5, "num_inference_steps": 16}
    answer = httpx.post(f"{tiny.url}/v1/images/generations", json=body, timeout=PATIENCE)
    data = base64.b64decode(answer.json()["data"][0]["b64_json"])
    with Image.open(io.BytesIO(data)) as image:
        assert seen_in(image) == Seen("star", "orange", "white")
