"""What the headers of MP4 and WebM files say, whatever they say."""

import io
import random

import pytest

from media_files import OTHERS
from queue_agent.media.video_facts import NO_FACTS, VideoFacts, sensible
from queue_agent.media.video_headers import has_headers, headers_of
from video_files import FPS, FRAMES, KINDS, SIZE, lying, video

MP4 = video()
READ = ("mp4", "mp4, av1", "quicktime", "webm", "matroska")


@pytest.mark.parametrize("kind", READ)
def test_headers_tell_size_length_and_codec(kind: str) -> None:
    _, _, media_type, codec = KINDS[kind]
    told = headers_of(io.BytesIO(video(kind)), media_type)
    is_counted = media_type in {"video/mp4", "video/quicktime"}
    assert told == VideoFacts(
        width=SIZE[0],
        height=SIZE[1],
        duration=FRAMES / FPS,
        frames=FRAMES if is_counted else None,
        fps=FPS if is_counted else told and told.fps,
        codec=codec,
    )


@pytest.mark.parametrize("name", ["mp4", "quicktime", "webm", "matroska", "3gp", "m4v"])
def test_a_file_that_holds_no_video_tells_of_none(name: str) -> None:
    data, media_type = OTHERS[name]
    assert has_headers(media_type)
    assert headers_of(io.BytesIO(data), media_type) is None


@pytest.mark.parametrize("kind", READ)
def test_damaged_headers_are_read_without_harm(kind: str) -> None:
    data, media_type = video(kind), KINDS[kind][2]
    chance = random.Random(7)  # noqa: S311  no secrets
    for _ in range(500):
        damaged = bytearray(data)
        for _ in range(chance.randint(1, 30)):
            damaged[chance.randrange(len(data))] = chance.choice((0, 1, 127, 128, 255))
        headers_of(io.BytesIO(damaged[: chance.randint(0, len(data))]), media_type)


def test_what_a_header_tells_that_cannot_be_is_passed_over() -> None:
    told = headers_of(io.BytesIO(lying(MP4, b"mdhd", 12, bytes(4))), "video/mp4")
    assert told is not None
    assert (told.width, told.frames) == (SIZE[0], FRAMES)
    assert sensible({"frames": -1, "fps": float("nan"), "width": 10**9, "codec": "h264"}) == (
        VideoFacts(codec="h264")
    )
    assert sensible({"codec": "<script>", "duration": float("inf")}) == NO_FACTS
