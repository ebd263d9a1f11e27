"""A video made in a mixed batch is the one that its plain pipeline makes."""

import io
from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from queue_agent.testing import sample_png
from queue_agent.wire.quality import Quality
from queue_agent_diffusers.engine.requests import Clip, ImageRequest
from queue_agent_diffusers.errors import InvalidRequest
from queue_agent_diffusers.http.images import decode_image
from queue_agent_diffusers.options import Options
from step_batches import TOLERANCE, stepped_together

COGS = ("CogVideoX", "CogVideoX 1.5")
COGS_FROM_IMAGES = ("CogVideoX from an image", "CogVideoX 1.5 from an image")
FROM_TEXT = (
    "Wan",
    "Wan of two transformers",
    "Wan of tokens",
    "LTX",
    "LTX with conditions",
    "LTX 2",
    "HunyuanVideo",
    "HunyuanVideo 1.5",
    *COGS,
    "Mochi",
)
FROM_IMAGES = (
    "Wan from an image",
    "Wan with eyes",
    "Wan of tokens",
    "LTX",
    "LTX with conditions",
    "LTX 2",
    *COGS_FROM_IMAGES,
)
BETWEEN_IMAGES = ("Wan from an image", "Wan with eyes for two", "LTX with conditions", "LTX 2")
SIMPLE = ImageRequest("a cat", seed=7, width=32, height=32, steps=3, clip=Clip(frames=9))
PHOTO = decode_image(sample_png(), field="image")
DUSK = PHOTO.point(lambda level: level // 2)
LAST = Clip(frames=9, last_frame=DUSK)


def pipeline(name: str) -> Any:
    from tiny_videos import tiny_video  # noqa: PLC0415  loads torch

    return tiny_video(name)


def video_model(name: str, *, threshold: float | None = None, **options: Any) -> Any:
    from queue_agent_diffusers.torch.architectures import architecture_of  # noqa: PLC0415
    from queue_agent_diffusers.torch.architectures.video import VideoArchitecture  # noqa: PLC0415
    from queue_agent_diffusers.torch.video import VideoModel  # noqa: PLC0415

    found = architecture_of(pipeline(name))
    assert isinstance(found, VideoArchitecture)
    if threshold is not None:
        found = replace(found, blocks=replace(found.blocks, threshold=threshold))
    return VideoModel(pipeline(name), found, max_batch=8, **options)


def by_itself(model: Any, request: ImageRequest) -> list[Any]:
    """What the plain pipeline makes of the request, one seed at a time, from 0 to 1."""
    videos = []
    for seed in request.seeds:
        arguments, _ = model.videos.arguments(request, [seed])
        chosen = copy(model.videos.choose(request))
        chosen.scheduler, _ = model.videos.scheduler(request)
        videos.append(chosen(**arguments, output_type="pt").frames[0])
    return videos


def assert_as_by_itself(name: str, mix: Sequence[tuple[ImageRequest, int]]) -> None:
    requests = [request for request, _ in mix]
    model = video_model(name)
    made = stepped_together(model, requests, [when for _, when in mix])
    for request, samples in zip(requests, made, strict=True):
        assert all(sample.step == sample.steps for sample in samples)
        for sample, plain in zip(samples, by_itself(model, request), strict=True):
            frames = model.tensor(sample)
            assert frames.shape == plain.shape
            assert (frames - plain).abs().max() <= TOLERANCE, request


def least_steps(name: str) -> int:
    return 2 if name == "Mochi" else 1


def mixes(name: str, images: Sequence[Any], clips: Sequence[Clip]) -> st.SearchStrategy[Any]:
    made = st.builds(
        ImageRequest,
        prompt=st.sampled_from(["", "a cat", "light on a river " * 12]),
        negative_prompt=st.sampled_from([None, "forest"]),
        seed=st.integers(0, 2**64 - 1),
        count=st.integers(1, 2),
        steps=st.integers(least_steps(name), 4),
        guidance_scale=st.sampled_from([None, 1.0, 3.5]),
        true_cfg_scale=st.sampled_from([None, 3.0]),
        width=st.just(32),
        height=st.just(32),
        image=st.sampled_from(images),
        clip=st.sampled_from(clips),
    )
    return st.lists(st.tuples(made, st.integers(0, 3)), min_size=2, max_size=3)


@pytest.mark.parametrize(
    ("name", "images", "clips"),
    [
        ("Wan", [None], [SIMPLE.clip]),
        ("Wan of two transformers", [None], [SIMPLE.clip]),
        ("Wan from an image", [PHOTO, DUSK], [SIMPLE.clip, LAST]),
        ("Wan with eyes", [PHOTO, DUSK], [SIMPLE.clip]),
        ("Wan with eyes for two", [PHOTO], [LAST]),
        ("Wan of tokens", [None, PHOTO], [SIMPLE.clip]),
        ("LTX", [None, PHOTO], [SIMPLE.clip, Clip(frames=9, fps=12)]),
        ("LTX with conditions", [None, PHOTO], [SIMPLE.clip]),
        ("LTX with conditions", [PHOTO, DUSK], [SIMPLE.clip, LAST]),
        ("LTX 2", [None, PHOTO], [SIMPLE.clip, Clip(frames=9, fps=12)]),
        ("LTX 2", [PHOTO, DUSK], [SIMPLE.clip, LAST]),
        ("HunyuanVideo", [None], [SIMPLE.clip]),
        ("HunyuanVideo 1.5", [None], [SIMPLE.clip]),
        *((name, [None], [SIMPLE.clip]) for name in COGS),
        *((name, [PHOTO, DUSK], [SIMPLE.clip]) for name in COGS_FROM_IMAGES),
        ("Mochi", [None], [Clip(frames=7), SIMPLE.clip]),
    ],
)
def test_any_mix_of_videos_equals_the_plain_pipeline(
    name: str, images: Sequence[Any], clips: Sequence[Clip]
) -> None:
    @settings(
        max_examples=3, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
    )
    @given(mixes(name, images, clips))
    def check(mix: list[tuple[ImageRequest, int]]) -> None:
        assert_as_by_itself(name, mix)

    check()


@pytest.mark.parametrize("name", sorted({*FROM_TEXT, *FROM_IMAGES, *BETWEEN_IMAGES}))
def test_what_a_video_shows_depends_on_the_prompt(name: str) -> None:
    """Or the tests here would see nothing of it."""
    model = video_model(name)
    asked = replace(model.smallest_request(), width=32, height=32, steps=2)
    asked = replace(asked, clip=replace(asked.clip or Clip(), frames=9))
    one, other = (
        by_itself(model, replace(asked, prompt=prompt))[0] for prompt in ("a cat", "light")
    )
    assert (one - other).abs().max() > TOLERANCE


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("Wan of two transformers", [1, 1]),  # what is wanted and what is not, apart or together
        ("LTX", [2]),
        ("LTX 2", [2, 1, 1]),  # and without the sound, and with a block left out
        ("HunyuanVideo", [1]),
        ("HunyuanVideo 1.5", [1, 1]),
        ("CogVideoX 1.5", [2]),
        ("CogVideoX 1.5 from an image", [2]),
        ("Mochi", [2]),
    ],
)
def test_requests_for_videos_share_passes(name: str, rows: Sequence[int]) -> None:
    passes: list[int] = []

    def counting(network: Any) -> Any:
        def counted(*arguments: Any, **options: Any) -> Any:
            passes.append(len(options["hidden_states"]))
            return network(*arguments, **options)

        return counted

    plain = pipeline(name)
    there = [one for one in ("transformer", "transformer_2") if getattr(plain, one, None)]
    model = video_model(name, networks={one: counting(getattr(plain, one)) for one in there})
    simple = replace(SIMPLE, image=PHOTO if name not in FROM_TEXT else None)
    others = [replace(simple, seed=seed, prompt="light " * seed) for seed in (1, 2)]
    stepped_together(model, [simple, *others])
    assert passes == [3 * count for count in rows] * 3, "for each of three steps"


@pytest.mark.parametrize("name", sorted({*FROM_TEXT, *FROM_IMAGES, *BETWEEN_IMAGES}))
def test_a_video_model_warms_up_by_a_request_that_it_can_do(name: str) -> None:
    model = video_model(name)
    request = model.smallest_request()
    model.check(request)
    shape = model.videos.shape(request)
    assert shape == model.videos.natural_shape()
    assert (request.steps, request.guidance_scale) == (least_steps(name), 1.0)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("LTX 2", (768, 512, 121, 24)),
        ("HunyuanVideo", (1280, 720, 129, 24)),
        ("CogVideoX 1.5", (1360, 768, 81, 16)),
        ("CogVideoX 1.5 from an image", (1360, 768, 81, 16)),
        ("Mochi", (848, 480, 19, 30)),
    ],
)
def test_a_video_of_which_nobody_says_the_shape_has_that_of_the_models_makers(
    name: str, shape: tuple[int, int, int, int]
) -> None:
    natural = video_model(name).videos.natural_shape()
    assert (natural.width, natural.height, natural.frames, natural.fps) == shape


def test_each_kind_of_video_model_is_tried() -> None:
    from queue_agent_diffusers.torch.architectures import ARCHITECTURES  # noqa: PLC0415
    from queue_agent_diffusers.torch.architectures.video import VideoArchitecture  # noqa: PLC0415

    tried = {type(pipeline(name)).__name__ for name in {*FROM_TEXT, *FROM_IMAGES, *BETWEEN_IMAGES}}
    known = [one for one in ARCHITECTURES if isinstance(one, VideoArchitecture)]
    assert known
    assert all(tried & set(one.pipelines) for one in known)


@pytest.mark.parametrize("name", sorted({*FROM_TEXT, *FROM_IMAGES, *BETWEEN_IMAGES}))
def test_a_video_model_refuses_in_words_what_it_cannot_do(name: str) -> None:
    model = video_model(name)
    possible = {
        "text": (SIMPLE, name in FROM_TEXT),
        "image": (replace(SIMPLE, image=PHOTO), name in FROM_IMAGES),
        "between": (replace(SIMPLE, image=PHOTO, clip=LAST), name in BETWEEN_IMAGES),
        "picture": (replace(SIMPLE, clip=None), False),
        "odd": (replace(SIMPLE, width=40), False),
        "huge": (replace(SIMPLE, width=2048, height=2048, clip=Clip(frames=257)), False),
        "hasty": (replace(SIMPLE, steps=1), name in FROM_TEXT and least_steps(name) == 1),
        "still": (replace(SIMPLE, image=PHOTO, clip=replace(LAST, frames=1)), False),
    }
    for what, (request, can) in possible.items():
        if can:
            model.check(request)
            continue
        with pytest.raises(InvalidRequest) as caught:
            model.check(request)
        assert " " in str(caught.value), what


def test_a_model_for_images_refuses_videos_in_words() -> None:
    from queue_agent_diffusers.torch.pipeline_model import PipelineModel  # noqa: PLC0415
    from tiny_transformers import tiny_transformer  # noqa: PLC0415

    with pytest.raises(InvalidRequest, match="makes images"):
        PipelineModel(tiny_transformer("Flux")).check(SIMPLE)


@pytest.mark.parametrize(
    ("name", "clip", "frames", "fps"),
    [
        ("Wan", Clip(), 81, 16),
        ("Wan", Clip(seconds=2), 33, 16),
        ("Wan", Clip(seconds=2, fps=8), 17, 8),
        ("Wan", Clip(frames=80, seconds=9), 81, 16),
        ("Wan", Clip(frames=1), 1, 16),
        ("Wan of tokens", Clip(seconds=1), 25, 24),
        ("LTX", Clip(), 161, 25),
        ("LTX", Clip(seconds=4, fps=24), 97, 24),
        ("LTX", Clip(frames=12), 9, 25),
    ],
)
def test_a_length_is_rounded_to_one_that_the_model_can_make(
    name: str, clip: Clip, frames: int, fps: int
) -> None:
    model, request = video_model(name), replace(SIMPLE, clip=clip)
    shape = model.videos.shape(request)
    assert (shape.frames, shape.fps) == (frames, fps)
    _, warnings = model.videos.arguments(request, [7])
    told = [warning for warning in warnings if warning.startswith("frames")]
    assert bool(told) == (clip.frames not in {None, frames})
    assert all(str(frames) in warning for warning in told)


def test_without_a_size_a_video_has_the_proportions_of_its_image() -> None:
    tall = PHOTO.resize((300, 600))
    shape = video_model("Wan from an image").videos.shape(
        replace(SIMPLE, width=None, height=None, image=tall)
    )
    assert (shape.width, shape.height) == (448, 896)


def test_videos_of_other_shapes_wait_in_another_batch() -> None:
    model = video_model("LTX")
    keys = {
        model.batch_key(request)
        for request in (
            SIMPLE,
            replace(SIMPLE, seed=8, steps=9),
            replace(SIMPLE, image=PHOTO),
            replace(SIMPLE, width=64),
            replace(SIMPLE, clip=Clip(frames=17)),
        )
    }
    assert len(keys) == 3
    natural = replace(SIMPLE, width=None, height=None, clip=Clip())
    assert model.max_rows(natural) == 16
    assert model.max_rows(replace(natural, clip=Clip(frames=321))) == 8


def test_a_preview_shows_a_still_video_in_about_its_colours() -> None:
    import torch  # noqa: PLC0415

    from queue_agent_diffusers.torch.suspended import DecodeCall  # noqa: PLC0415

    decoder = video_model("Wan").decoder
    chance = torch.Generator().manual_seed(1)
    for _ in range(3):
        still = torch.randn(1, 4, 1, 1, 1, generator=chance).expand(1, 4, 3, 6, 8)
        preview = decoder.preview(lambda still=still: still)
        assert preview.size == (8, 6)
        config = pipeline("Wan").vae.config
        latents = still * config.latents_std[0] + config.latents_mean[0]
        shown = decoder.frame_tensors(DecodeCall(latents, ()))[-1].mean((1, 2)) * 255
        drawn = [sum(preview.getchannel(band).tobytes()) / 48 for band in range(3)]
        assert max(abs(one - other) for one, other in zip(drawn, shown.tolist(), strict=True)) < 24


def test_a_video_model_in_a_folder_makes_files_that_play(tmp_path: Path) -> None:
    from queue_agent_diffusers.torch.loader import load_model  # noqa: PLC0415
    from queue_agent_diffusers.torch.video import VideoModel  # noqa: PLC0415

    pipeline("Wan").save_pretrained(tmp_path)
    model = load_model(str(tmp_path), Options(device="cpu"))
    assert isinstance(model, VideoModel)
    job = replace(SIMPLE, steps=1, count=2, clip=Clip(frames=6, fps=8))
    [samples] = stepped_together(model, [job])
    pictures = model.finish(job, samples)()
    assert (len(pictures.images), len(pictures.videos)) == (0, 2)
    assert any("5 were made" in warning for warning in pictures.warnings)
    for video in pictures.videos:
        data = video.read(0, video.size)
        with av.open(io.BytesIO(data), "r") as played:
            sizes = [(frame.width, frame.height) for frame in played.decode(video=0)]
            assert played.streams.video[0].average_rate == 8
        assert len(sizes) == video.frames == 5
        assert sizes[0] == (video.width, video.height) == (32, 32)
        assert video.seconds == 5 / 8
        assert data.index(b"moov") < data.index(b"mdat"), "it plays before all of it is there"
    model.close()


def test_any_other_pipeline_for_videos_makes_them_by_its_own_call() -> None:
    from queue_agent_diffusers.torch.architectures import architecture_of  # noqa: PLC0415
    from queue_agent_diffusers.torch.video_pipeline_model import (  # noqa: PLC0415
        VideoPipelineModel,
        makes_videos,
    )

    class Other(type(pipeline("CogVideoX"))):  # type: ignore[misc]
        """Of which nothing is known by its name."""

    plain = Other(**pipeline("CogVideoX").components)
    assert architecture_of(plain) is None
    assert makes_videos(plain)
    model = VideoPipelineModel(plain)
    request = replace(SIMPLE, width=64, height=64, steps=2, count=2, clip=Clip(seconds=1, fps=9))
    steps: list[tuple[int, int]] = []
    pictures = model.generate(request, lambda *step: steps.append(step))
    assert steps == [(1, 4), (2, 4), (3, 4), (4, 4)]
    shapes = [(one.frames, one.fps, one.width, one.height) for one in pictures.videos]
    assert shapes == [(9, 9, 64, 64)] * 2
    own = model.generate(replace(request, count=1, width=None, height=None, clip=Clip()), ignore)
    assert [(one.frames, one.fps) for one in own.videos] == [(9, 24)]
    for refused in (
        replace(SIMPLE, clip=None),
        replace(SIMPLE, image=PHOTO),
        replace(SIMPLE, image=PHOTO, clip=LAST),
    ):
        with pytest.raises(InvalidRequest):
            model.check(refused)
    with pytest.raises(InvalidRequest, match="divisible"):
        model.generate(replace(request, width=60), ignore)


def ignore(_step: int, _steps: int) -> None:
    """Of no interest."""


def test_guidance_of_one_turns_off_all_that_guides_ltx_2() -> None:
    [[sample]] = stepped_together(video_model("LTX 2"), [replace(SIMPLE, guidance_scale=1.0)])
    assert (sample.rows, len(sample.kept)) == (1, 3), "one call in each step"
    [[guided]] = stepped_together(video_model("LTX 2"), [SIMPLE])
    assert (guided.rows, len(guided.kept)) == (2, 9)


@pytest.mark.parametrize(
    ("name", "threshold"),
    [
        ("Wan of two transformers", 0.1),
        ("LTX", 0.4),
        ("HunyuanVideo", 0.4),
        ("HunyuanVideo 1.5", 2.0),
        ("CogVideoX 1.5", 0.4),
        ("Mochi", 0.4),
    ],
)
def test_videos_that_reuse_steps_change_no_other(name: str, threshold: float) -> None:
    model = video_model(name, threshold=threshold)
    qualities: tuple[Quality, ...] = ("balanced", "fast", "exact", "balanced")
    mix = [
        replace(SIMPLE, steps=8, seed=seed, quality=quality)
        for seed, quality in enumerate(qualities)
    ]
    made = stepped_together(model, mix, [0, 1, 2, 3])
    changed = 0
    for request, samples in zip(mix, made, strict=True):
        [[by_it]] = stepped_together(model, [request])
        assert (model.tensor(samples[0]) - model.tensor(by_it)).abs().max() <= TOLERANCE
        exact = by_itself(model, request)[0]
        changed += bool((model.tensor(by_it) - exact).abs().max() > TOLERANCE)
    assert changed == 3, "all but the exact one"
