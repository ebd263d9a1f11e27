"""The portable form of jobs for videos and meshes."""

import pytest
from pydantic import JsonValue

from queue_agent.client import make_job
from queue_agent.wire.errors import Rejected
from queue_agent.wire.video_and_mesh import parse_mesh, parse_video

URL = "https://images.example.com/sea.png"
Content = dict[str, JsonValue]


@pytest.mark.parametrize(
    ("content", "frames", "rate"),
    [
        ({}, None, None),
        ({"seconds": 5}, None, None),
        ({"frames": 81}, 81, None),
        ({"fps": 16}, None, 16),
        ({"seconds": 5, "fps": 16}, 80, 16),
        ({"seconds": 5, "fps": 16, "frames": 80}, 80, 16),
        ({"seconds": 5, "fps": 16, "frames": 81}, 81, 16),
        ({"seconds": 5, "frames": 81}, 81, 16),
        ({"seconds": "4", "fps": "24"}, 96, 24),
        ({"seconds": 0.01, "fps": 24}, 1, 24),
    ],
)
def test_seconds_frames_and_rate_tell_each_other(
    content: Content, frames: int | None, rate: int | None
) -> None:
    found = parse_video({"prompt": "waves", **content}, "text-to-video")
    assert (found.frame_count, found.frame_rate) == (frames, rate)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"seconds": 4, "fps": 24, "frames": 100}, "frames: 100 contradicts seconds and fps"),
        ({"seconds": 5, "fps": 16, "frames": 82}, "which make 80; leave one of the three out"),
        ({"seconds": 6, "frames": 20}, "no whole number a second; say fps"),
        ({"width": 832}, "height: is needed with width"),
        ({"height": 480}, "width: is needed with height"),
        ({"seconds": 0}, "seconds: Input should be greater than 0"),
        ({"seconds": 601}, "seconds: Input should be less than or equal to 600"),
        ({"frames": 0}, "frames: Input should be greater than or equal to 1"),
        ({"fps": 23.976}, "fps: Input should be a valid integer"),
        ({"width": 854, "height": 480}, "width: Input should be a multiple of 8"),
        ({"steps": 0}, "steps: Input should be"),
        ({"guidance_scale": 5, "cfg_scale": 4}, "cfg_scale: the same as guidance_scale"),
        ({"first_frame": URL}, "first_frame: text-to-video takes no images"),
        ({"last_frame": URL, "image": URL}, "last_frame, image: text-to-video takes no images"),
        ({"prompt": " "}, "prompt: is required"),
    ],
)
def test_what_contradicts_itself_is_refused_in_words(content: Content, words: str) -> None:
    with pytest.raises(Rejected) as caught:
        parse_video({"prompt": "waves", **content}, "text-to-video")
    assert words in caught.value.message
    assert caught.value.type == "invalid_content"


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(Rejected) as caught:
        parse_video({"last_frame": URL, "width": 64}, "image-to-video")
    assert caught.value.message == (
        "height: is needed with width. first_frame: an image is required."
    )


def test_an_image_to_video_needs_its_first_frame_under_one_of_its_names() -> None:
    for name in ("first_frame", "image"):
        assert parse_video({name: URL}, "image-to-video").first == (name, URL)
    same = parse_video({"first_frame": URL, "image": URL}, "image-to-video")
    assert same.first == ("first_frame", URL)
    with pytest.raises(Rejected, match="image: another word for first_frame"):
        parse_video({"first_frame": URL, "image": URL + "?2"}, "image-to-video")


def test_cfg_scale_is_guidance_scale_and_null_is_nothing() -> None:
    found = parse_video({"prompt": "a", "cfg_scale": 4, "steps": None}, "text-to-video")
    assert (found.guidance_scale, found.steps, found.unknown_fields) == (4.0, None, [])
    assert parse_mesh({"image": URL, "cfg_scale": 4}).guidance_scale == 4.0


def test_fields_without_a_word_in_the_form_are_named() -> None:
    found = parse_video({"prompt": "a", "zeal": 3, "batch_size": 2, "hr": False}, "text-to-video")
    assert found.unknown_fields == ["batch_size", "zeal"]


def test_a_mesh_needs_its_image() -> None:
    assert parse_mesh({"image": URL}).image == URL
    with pytest.raises(Rejected, match="image: Field required"):
        parse_mesh({"prompt": "a cat"})


@pytest.mark.parametrize(
    ("content", "task_type"),
    [
        ({"prompt": "a", "frames": 81}, "text-to-video"),
        ({"prompt": "a", "seconds": 4, "image": URL}, "image-to-video"),
        ({"first_frame": URL}, "image-to-video"),
        ({"image": URL}, "extra-single-image"),
        ({"prompt": "a", "fps": None}, "text-to-image"),
    ],
)
def test_the_fields_tell_the_task_type(content: Content, task_type: str) -> None:
    assert make_job(content).task_type == task_type
