"""Several images to look at: what is made of them is what the plain pipeline makes of the list."""

import asyncio
import base64
import io
import socket
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import uvicorn
from PIL import Image, ImageOps

from diffusers_servers import engine_with
from families import PHOTO, SIDE
from queue_agent.runtime import Asset, Output, RuntimeOptions
from queue_agent.wire.job import Job
from queue_agent_diffusers.engine.requests import ImageRequest
from queue_agent_diffusers.errors import InvalidRequest
from queue_agent_diffusers.http.app import create_app
from queue_agent_runtimes.bundled import BundledRuntime
from step_batches import TOLERANCE, stepped_together

pytestmark = pytest.mark.usefixtures("_small_images")

WIDE = ImageOps.invert(PHOTO).resize((80, 64))
TALL = ImageOps.mirror(PHOTO).resize((64, 80))
MASK = Image.new("L", (SIDE, SIDE))
MASK.paste(255, (0, 0, SIDE // 2, SIDE))
SIMPLE = ImageRequest("a cat", seed=7, width=SIDE, height=SIDE, steps=2, image=PHOTO)
SEVERAL = ("Flux.2", "Qwen-Image-Edit-Plus")


@pytest.fixture
def _small_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without this, images to edit with Qwen-Image have a megapixel, which takes minutes here."""
    from diffusers.pipelines.qwenimage import pipeline_qwenimage_edit_plus  # noqa: PLC0415  loads torch

    for name in ("CONDITION_IMAGE_SIZE", "VAE_IMAGE_SIZE"):
        monkeypatch.setattr(pipeline_qwenimage_edit_plus, name, SIDE * SIDE)


def pipeline(name: str) -> Any:
    from tiny_families import BUILDERS, tiny_family  # noqa: PLC0415  loads torch
    from tiny_transformers import tiny_transformer  # noqa: PLC0415  as above

    return tiny_family(name) if name in BUILDERS else tiny_transformer(name)


def model_of(name: str) -> Any:
    from queue_agent_diffusers.torch.architectures import architecture_of  # noqa: PLC0415  loads torch
    from queue_agent_diffusers.torch.transformer import TransformerModel  # noqa: PLC0415

    architecture = architecture_of(pipeline(name))
    assert architecture is not None
    return TransformerModel(pipeline(name), architecture, max_batch=8)


def plainly(name: str, request: ImageRequest, images: Sequence[Image.Image]) -> list[Any]:
    """By the pipeline's own call with the list, one seed at a time."""
    import torch  # noqa: PLC0415  slow to load

    made = []
    for seed in request.seeds:
        call = pipeline(name)(
            image=list(images),
            prompt=request.prompt,
            width=request.width,
            height=request.height,
            num_inference_steps=request.steps,
            generator=torch.Generator("cpu").manual_seed(seed),
            output_type="pt",
        )
        made.append(call.images[0])
    return made


@pytest.mark.parametrize("name", SEVERAL)
def test_several_images_make_what_the_plain_pipeline_makes_of_them_in_company(name: str) -> None:
    model = model_of(name)
    mix = [
        (SIMPLE, 1),
        (replace(SIMPLE, references=(WIDE,), count=2), 0),
        (replace(SIMPLE, references=(WIDE, TALL), prompt="light"), 1),
        (replace(SIMPLE, references=(TALL, WIDE), prompt="light"), 2),
    ]
    for request, _ in mix:
        model.check(request)
    made = stepped_together(model, [request for request, _ in mix], [when for _, when in mix])
    for (request, _), samples in zip(mix, made, strict=True):
        plain = plainly(name, request, [PHOTO, *request.references])
        for sample, expected in zip(samples, plain, strict=True):
            assert (model.tensor(sample) - expected).abs().max() <= TOLERANCE, request
        assert model.finish(request, samples)().warnings == ()
    first, second = (model.tensor(samples[0]) for samples in made[:2])
    assert (first - second).abs().max() > 2 * TOLERANCE, "they are looked at"


def test_a_masked_image_may_have_one_beside_it() -> None:
    import torch  # noqa: PLC0415  slow to load

    from queue_agent_diffusers.torch.siblings import library, sibling  # noqa: PLC0415  loads torch

    model, own = model_of("Flux.2"), pipeline("Flux.2")
    request = replace(SIMPLE, mask=MASK, references=(WIDE,), strength=0.7, steps=3)
    alone, other = replace(request, references=()), replace(request, references=(WIDE, TALL))
    made = stepped_together(model, [request, alone, other])
    beside, without, two = (model.tensor(samples[0]) for samples in made)
    plain = sibling("Flux2KleinInpaintPipeline", own)
    assert isinstance(plain, library.Flux2KleinInpaintPipeline)
    expected = plain(
        image=PHOTO,
        image_reference=WIDE,
        mask_image=MASK,
        prompt=request.prompt,
        strength=0.7,
        width=SIDE,
        height=SIDE,
        num_inference_steps=3,
        generator=torch.Generator("cpu").manual_seed(7),
        output_type="pt",
    ).images[0]
    assert (beside - expected).abs().max() <= TOLERANCE
    assert (two - expected).abs().max() <= TOLERANCE
    assert (beside - without).abs().max() > 2 * TOLERANCE
    told = model.finish(other, made[2])().warnings
    assert told == ("image: of 3 the model works on the first 2 only.",)


def test_a_model_that_works_on_one_image_says_so_and_uses_the_first() -> None:
    model = model_of("Stable Diffusion 3")
    several = replace(SIMPLE, references=(WIDE, TALL), strength=0.7)
    made = stepped_together(model, [several, replace(several, references=())])
    one, same = (model.tensor(samples[0]) for samples in made)
    assert (one - same).abs().max() <= TOLERANCE
    told = model.finish(several, made[0])().warnings
    assert told == ("image: of 3 the model works on the first 1 only.",)


@pytest.mark.parametrize(
    ("name", "size", "words"),
    [
        ("Flux.2", (1, 1), "Image too small: 1.1"),
        ("Flux.2", (63, 64), "Image too small: 63.64"),
        ("Flux.2", (600, 64), "Aspect ratio too extreme"),
        ("Qwen-Image-Edit-Plus", (2000, 1), "refuses it"),
        ("Qwen-Image-Edit-Plus", (1, 2000), "refuses it"),
    ],
)
def test_images_that_the_model_cannot_look_at_are_refused_in_words(
    name: str, size: tuple[int, int], words: str
) -> None:
    request = replace(SIMPLE, references=(Image.new("RGB", size, "red"),), steps=1)
    with pytest.raises(InvalidRequest, match=words):
        stepped_together(model_of(name), [request])


@pytest.mark.parametrize("size", [(1, 1), (7, 5), (300, 64)])
def test_images_of_any_usual_proportions_are_looked_at(size: tuple[int, int]) -> None:
    request = replace(SIMPLE, references=(Image.new("RGB", size, "red"),), steps=1)
    assert stepped_together(model_of("Qwen-Image-Edit-Plus"), [request])


async def output_of(model: Any, job: Job, assets: dict[str, Asset]) -> Output:
    """Of a job that the adapter brings to a server around the model, by HTTP."""
    with engine_with(model) as engine, socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(create_app(engine), log_level="warning"))
        runtime = BundledRuntime(
            RuntimeOptions(base_url=f"http://127.0.0.1:{listening.getsockname()[1]}")
        )
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(server.serve(sockets=[listening]))
            try:
                prepared = await runtime.prepare(job, assets)
                return await runtime.run(prepared, lambda _: None)
            finally:
                await runtime.aclose()
                server.should_exit = True


@pytest.mark.parametrize("name", SEVERAL)
async def test_the_images_of_a_job_come_to_the_model_in_their_order(name: str) -> None:
    url = "https://example.com/wide.png"
    content = {
        "prompt": "a cat",
        "steps": 2,
        "seed": 7,
        "init_images": [png(PHOTO), url, png(TALL)],
    }
    metadata = {"id": "job-1", "tasktype": "image-to-image"}
    job = Job.model_validate({"metadata": metadata, "content": content})
    references = [reference.url for reference in BundledRuntime(RuntimeOptions()).references(job)]
    assert references == [url]
    asset = Asset(base64.b64decode(png(WIDE)), "image/png")
    output = await output_of(model_of(name), job, {url: asset})
    [expected] = plainly(name, SIMPLE, [PHOTO, WIDE, TALL])
    with Image.open(io.BytesIO(output.artifacts[0].data)) as made:
        assert made.size == (SIDE, SIDE), "that of the first"
        pixels = [value / 255 for value in made.tobytes()]
    wanted = expected.permute(1, 2, 0).flatten().tolist()
    assert max(abs(one - other) for one, other in zip(pixels, wanted, strict=True)) < 0.01
    assert output.warnings == ()


def png(image: Image.Image) -> str:
    file = io.BytesIO()
    image.save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()
