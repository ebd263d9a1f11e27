"""More families of transformers: in a mixed batch, with caches, from a folder over HTTP."""

import asyncio
import base64
import io
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from diffusers_servers import engine_of
from families import FAMILIES, MASK, OF_THEIR_OWN, PHOTO, SIDE, STARTS, simple
from queue_agent.testing import eventually
from queue_agent_diffusers.engine.loading import LoadProgress
from queue_agent_diffusers.engine.requests import ImageRequest
from queue_agent_diffusers.errors import InvalidRequest
from queue_agent_diffusers.http.app import create_app
from queue_agent_diffusers.options import Options
from step_batches import TOLERANCE, alone, stepped_together

EACH = pytest.mark.parametrize("name", FAMILIES)


pytestmark = pytest.mark.usefixtures("small_edits")


def pipeline(name: str) -> Any:
    from tiny_families import tiny_family  # noqa: PLC0415  loads torch

    return tiny_family(name)


def family_model(name: str, *, threshold: float | None = None, **options: Any) -> Any:
    from queue_agent_diffusers.torch.architectures import architecture_of  # noqa: PLC0415
    from queue_agent_diffusers.torch.transformer import TransformerModel  # noqa: PLC0415

    found = architecture_of(pipeline(name))
    assert found is not None
    if threshold is not None:
        found = replace(found, blocks=replace(found.blocks, threshold=threshold))
    return TransformerModel(pipeline(name), found, max_batch=8, **options)


def tensors(model: Any, requests: Sequence[ImageRequest], joining: Sequence[int] = ()) -> list[Any]:
    made = stepped_together(model, requests, joining)
    assert all(sample.step == sample.steps for samples in made for sample in samples)
    return [[model.tensor(sample) for sample in samples] for samples in made]


def assert_equal(one: Sequence[Any], other: Sequence[Any]) -> None:
    assert [image.shape for image in one] == [image.shape for image in other]
    assert all((a - b).abs().max() <= TOLERANCE for a, b in zip(one, other, strict=True))


def requests_for(name: str, **choices: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    def started(request: ImageRequest, start: str) -> ImageRequest:
        # Two steps at least, of which a strength below leaves one.
        return replace(request, **STARTS[start], strength=0.7 if start == "mask" else None)

    fields: dict[str, Any] = {"steps": st.integers(2, 4), "count": st.integers(1, 2), **choices}
    made = st.builds(
        ImageRequest,
        prompt=st.sampled_from(["", "a cat", "light on a river " * 12]),
        negative_prompt=st.sampled_from([None, "forest"]),
        seed=st.integers(0, 2**64 - 1),
        guidance_scale=st.sampled_from([None, 1.0, 3.5]),
        true_cfg_scale=st.sampled_from([None, 3.0]),
        width=st.just(SIDE),
        height=st.just(SIDE),
        **fields,
    )
    one = st.builds(started, made, st.sampled_from(FAMILIES[name]))
    return st.lists(st.tuples(one, st.integers(0, 3)), min_size=2, max_size=3)


def few(examples: int) -> settings:
    return settings(
        max_examples=examples,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        derandomize=True,
    )


@EACH
def test_any_mix_equals_the_plain_pipeline_of_its_family(name: str) -> None:
    @few(3)
    @given(requests_for(name))
    def check(mix: list[tuple[ImageRequest, int]]) -> None:
        requests = [request for request, _ in mix]
        made = tensors(family_model(name), requests, [when for _, when in mix])
        for request, together in zip(requests, made, strict=True):
            assert_equal(together, alone(pipeline(name), request))

    check()


@EACH
def test_requests_of_a_family_share_passes(name: str) -> None:
    rows: list[int] = []

    def counting(network: Any) -> Any:
        def counted(*arguments: Any, **options: Any) -> Any:
            rows.append(len(next(iter([*arguments, *options.values()]))))
            return network(*arguments, **options)

        return counted

    model = family_model(name, networks={"transformer": counting(pipeline(name).transformer)})
    others = [simple(name, seed=seed, prompt="light"[:seed]) for seed in (1, 2, 3)]
    tensors(model, [simple(name)])
    by_itself = list(rows)
    rows.clear()
    tensors(model, [simple(name), *others])
    assert rows == [4 * count for count in by_itself]


@EACH
def test_what_a_family_makes_depends_on_the_prompt(name: str) -> None:
    """Or the tests here would see nothing of it."""
    one, other = (
        alone(pipeline(name), simple(name, prompt=prompt))[0] for prompt in ("a cat", "light")
    )
    assert (one - other).abs().max() > TOLERANCE


@EACH
def test_qualities_of_a_family_do_not_change_each_other(name: str) -> None:
    model = family_model(name, threshold=0.3)
    levels = st.sampled_from(["exact", "balanced", "balanced", "fast"])

    @few(2)
    @given(requests_for(name, quality=levels, steps=st.integers(4, 7), count=st.just(1)))
    def check(mix: list[tuple[ImageRequest, int]]) -> None:
        requests = [request for request, _ in mix]
        made = tensors(model, requests, [when for _, when in mix])
        for request, together in zip(requests, made, strict=True):
            assert_equal(together, tensors(model, [request])[0])

    check()


@EACH
def test_what_a_family_cannot_begin_with_is_refused_in_words(name: str) -> None:
    model = family_model(name)
    for start, given_images in STARTS.items():
        images: dict[str, Any] = {"image": None, "mask": None, **given_images}
        request = replace(simple(name), **images)
        if start in FAMILIES[name]:
            model.check(request)
            continue
        with pytest.raises(InvalidRequest) as refused:
            model.check(request)
        assert refused.value.body["error"]["param"] in {"image", "mask"}


@EACH
async def test_a_family_in_a_folder_makes_images_over_http(name: str, tmp_path: Path) -> None:
    from queue_agent_diffusers.torch.loader import load_model  # noqa: PLC0415
    from queue_agent_diffusers.torch.transformer import TransformerModel  # noqa: PLC0415

    pipeline(name).save_pretrained(tmp_path)
    model = load_model(str(tmp_path), Options(device="cpu"))
    assert isinstance(model, TransformerModel)
    for small in ("default_sample_size", "tokenizer_max_length"):  # no folder holds these
        if hasattr(pipeline(name), small):
            setattr(model._family.main, small, getattr(pipeline(name), small))
    async with served(model) as client:
        for start in FAMILIES[name]:
            answer = await _asked(client, start)
            assert answer.status_code == 200, answer.text
            pictures = [_picture(one) for one in answer.json()["data"]]
            side = OF_THEIR_OWN.get(name, SIDE)
            assert [one.size for one in pictures] == [(side, side)] * 2
            warned = [one for one in answer.json().get("warnings", []) if one.startswith("size")]
            assert bool(warned) == (side != SIDE)
            assert pictures[0].tobytes() != pictures[1].tobytes()


UNKNOWN = {"Kandinsky 5": "text", "Kandinsky 5 from an image": "image"}


@pytest.mark.parametrize("name", UNKNOWN)
async def test_a_pipeline_of_which_nothing_is_known_makes_images_one_request_at_a_time(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from queue_agent_diffusers.torch.architectures import architecture_of  # noqa: PLC0415
    from queue_agent_diffusers.torch.loader import load_model  # noqa: PLC0415
    from queue_agent_diffusers.torch.pipeline_model import PipelineModel  # noqa: PLC0415

    assert architecture_of(pipeline(name)) is None
    pipeline(name).save_pretrained(tmp_path)
    progress = LoadProgress("unknown")
    model = load_model(str(tmp_path), Options(device="cpu"), progress)
    assert isinstance(model, PipelineModel)
    told = progress.told["shared-steps"]
    assert "one request at a time" in told
    assert [record.getMessage().endswith(told) for record in caplog.records].count(True) == 1
    main: Any = model._family.main
    main.resolutions = [(SIDE, SIDE)]  # it knows none below a megapixel
    async with served(model) as client:
        answers = await asyncio.gather(*(_asked(client, UNKNOWN[name]) for _ in range(2)))
        for answer in answers:
            assert answer.status_code == 200, answer.text
            pictures = [_picture(one) for one in answer.json()["data"]]
            assert [one.size for one in pictures] == [(SIDE, SIDE)] * 2
        other = "image" if UNKNOWN[name] == "text" else "text"
        refused = await _asked(client, other)
        assert refused.status_code == 422
        assert refused.json()["error"]["param"] == "image"


def test_samplers_stand_in_for_those_of_flows_if_they_know_flows() -> None:
    model = family_model("Sana")
    for sampler in ("Euler", "DDIM", "Heun"):
        with pytest.raises(InvalidRequest, match="cannot stand in"):
            model.check(simple("Sana", scheduler=sampler))
    samplers = ("UniPC", "DPM++ 2M", "DPM++ 2M SDE Exponential", "UniPC Beta", None)
    mix = [simple("Sana", scheduler=sampler) for sampler in samplers]
    for request, together in zip(mix, tensors(model, mix), strict=True):
        model.check(request)
        assert_equal(together, alone(pipeline("Sana"), request))
    [samples] = stepped_together(model, mix[1:2])
    [warning] = model.finish(mix[1], samples)().warnings
    assert "of a flow has no use_karras_sigmas" in warning


async def test_what_an_unknown_pipeline_refuses_is_told_in_its_own_words() -> None:
    from queue_agent_diffusers.torch.pipeline_model import PipelineModel  # noqa: PLC0415

    class Particular(type(pipeline("Kandinsky 5"))):  # type: ignore[misc]
        def check_inputs(self, *_: Any, **__: Any) -> None:
            raise ValueError("only on Sundays")

    plain = pipeline("Kandinsky 5")
    async with served(PipelineModel(Particular(**plain.components))) as client:
        answer = await _asked(client, "text")
    assert answer.status_code == 422
    assert "only on Sundays" in answer.json()["error"]["message"]


@asynccontextmanager
async def served(model: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the server around the model."""
    engine = engine_of(model)
    engine.start()
    transport = httpx.ASGITransport(create_app(engine))
    try:
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            await eventually(lambda: engine.ready)
            yield client
    finally:
        await asyncio.to_thread(engine.close)


async def _asked(client: httpx.AsyncClient, start: str) -> httpx.Response:
    fields: dict[str, Any] = {
        "prompt": "a cat",
        "size": f"{SIDE}x{SIDE}",
        "num_inference_steps": 2,
        "n": 2,
    }
    if start == "text":
        return await client.post("/v1/images/generations", json=fields)
    files = {"image": _png(PHOTO)}
    if start == "mask":
        files["mask"] = _png(MASK)
        fields["strength"] = 0.9
    form = {key: str(value) for key, value in fields.items()}
    return await client.post("/v1/images/edits", data=form, files=files)


def _png(picture: Image.Image) -> bytes:
    written = io.BytesIO()
    picture.save(written, "PNG")
    return written.getvalue()


def _picture(one: Any) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(one["b64_json"])))


@pytest.mark.parametrize("kind", ["Qwen2VLProcessor", "Qwen2_5_VLProcessor", "Qwen3VLProcessor"])
def test_a_processor_is_read_without_its_part_for_videos(kind: str, tmp_path: Path) -> None:
    """As the models of the hub have it, which name the other backend for images."""
    import json  # noqa: PLC0415

    from queue_agent_diffusers.torch.processors import read_processors  # noqa: PLC0415

    folder = tmp_path / "processor"
    pipeline("Qwen-Image-Edit").processor.save_pretrained(folder)
    saved = folder / "processor_config.json"
    images = json.loads(saved.read_text())["image_processor"]
    saved.unlink()
    images |= {"image_processor_type": "Qwen2VLImageProcessorFast", "processor_class": kind}
    (folder / "preprocessor_config.json").write_text(json.dumps(images))
    videos = {**images, "video_processor_type": "Qwen2VLVideoProcessor"}
    (folder / "video_preprocessor_config.json").write_text(json.dumps(videos))
    index = {"processor": ["transformers", kind], "tokenizer": ["transformers", "Qwen2Tokenizer"]}
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    [(name, processor)] = read_processors(tmp_path).items()
    assert (name, type(processor).__name__) == ("processor", kind)
    template = "<|vision_start|><|image_pad|><|vision_end|>a cat"
    seen = processor(text=[template], images=[PHOTO], return_tensors="pt")
    patches = int(seen["image_grid_thw"].prod())
    assert len(seen["pixel_values"]) == patches
    tokens = seen["input_ids"][0].tolist()
    assert tokens.count(processor.image_token_id) == patches // 4


def test_the_documentation_names_each_pipeline_that_shares_steps() -> None:
    from queue_agent_diffusers.torch.architectures import ARCHITECTURES  # noqa: PLC0415

    text = Path(__file__, "../../../docs/diffusers-runtime.md").resolve().read_text()
    names = [name for known in ARCHITECTURES for name in known.pipelines]
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert [name for name in names if not any(f"`{name}`" in row for row in rows)] == []
