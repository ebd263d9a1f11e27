"""What videos say of themselves, read in a process of its own whatever they hold."""

import io
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from structlog.testing import capture_logs

import confined_works
from queue_agent.media import videos
from queue_agent.media.asset import Asset
from queue_agent.media.confined import Bounds
from queue_agent.media.facts import media_type_of
from queue_agent.media.video_facts import NO_FACTS, VideoFacts
from queue_agent.media.video_reader import poster_of
from queue_agent.media.videos import Video, read_video
from queue_agent.outputs import describe
from video_files import FPS, FRAMES, KINDS, SIZE, lying, video

MP4 = video()


async def read(data: bytes, media_type: str = "video/mp4") -> Video:
    return await read_video(Asset(data, media_type), media_type)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_video_tells_how_long_it_is_and_has_its_first_frame_as_poster(kind: str) -> None:
    _, _, media_type, codec = KINDS[kind]
    data = video(kind)
    assert media_type_of(data) == media_type
    seen = await read(data, media_type)
    width, height = SIZE
    assert seen.facts == VideoFacts(
        width=width, height=height, duration=FRAMES / FPS, frames=FRAMES, fps=FPS, codec=codec
    )
    assert seen.poster is not None
    poster = Image.open(io.BytesIO(seen.poster))
    assert (poster.format, poster.size) == ("JPEG", SIZE)
    red, green, _ = poster.getpixel((6, 20))  # type: ignore[misc]
    assert green > red, "the square is where it begins"


async def test_one_in_a_file_is_read_without_moving_others_place_in_it() -> None:
    with tempfile.TemporaryFile() as file:
        file.write(MP4)
        file.flush()
        place = file.tell()
        seen = await describe(Asset(file, "video/mp4"), "It")
        assert file.tell() == place
    assert (seen.width, seen.height, seen.video.frames) == (*SIZE, FRAMES)
    assert seen.poster is not None


async def test_fragments_and_streams_that_tell_no_length_are_counted() -> None:
    fragments = video("mp4", options="movflags=frag_keyframe+empty_moov")
    assert (await read(fragments)).facts.frames == FRAMES
    live = video("webm", options="live=1")
    seen = await read(live, "video/webm")
    assert (seen.facts.frames, seen.facts.duration) == (FRAMES, FRAMES / FPS)


async def test_a_large_video_has_a_small_poster() -> None:
    seen = await read(video("mp4", (2560, 1440)))
    assert seen.facts.width == 2560
    assert Image.open(io.BytesIO(seen.poster or b"")).size == (1280, 720)


def _noisy() -> bytes:
    """Its frames are noise."""
    start = MP4.index(b"mdat") + 8
    noise = bytes(number * 7919 % 251 for number in range(600))
    return MP4[:start] + noise + MP4[start + len(noise) :]


HOSTILE: dict[str, Callable[[], bytes]] = {
    "half of it": lambda: MP4[: len(MP4) // 2],
    "its first bytes": lambda: MP4[:40],
    "nothing": lambda: b"",
    "another format under its name": lambda: video("webm"),
    "a playlist": lambda: b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/passwd\n",
    "a list of files": lambda: b"ffconcat version 1.0\nfile /etc/passwd\n",
    "frames that are noise": _noisy,
    "a million samples a chunk": lambda: lying(MP4, b"stsz", 8, b"\x7f\xff\xff\xff"),
    "an hour a tick": lambda: lying(MP4, b"mvhd", 12, b"\0\0\0\1"),
    "a huge length": lambda: lying(MP4, b"mvhd", 16, b"\xff\xff\xff\xff"),
    "a huge picture": lambda: lying(MP4, b"avc1", 24, b"\xff\xff\xff\xff"),
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_hostile_bytes_cost_facts_and_nothing_else(name: str) -> None:
    seen = await read(HOSTILE[name]())
    assert seen.facts == NO_FACTS or seen.facts.frames in {None, FRAMES}
    assert (seen.facts.duration or 0) <= 10


async def test_headers_that_lie_about_the_length_are_not_believed() -> None:
    seen = await read(lying(MP4, b"mvhd", 16, b"\xff\xff\xff\xff"))
    assert (seen.facts.duration, seen.facts.frames) == (FRAMES / FPS, FRAMES)


async def test_a_list_of_files_is_no_video_and_opens_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "private.mp4").write_bytes(MP4)
    monkeypatch.chdir(tmp_path)
    listing = b"ffconcat version 1.0\nfile private.mp4\n"
    for media_type in ("video/x-flv", "video/mpeg", "video/ogg", "video/x-msvideo", "video/mp4"):
        assert await read(listing, media_type) == Video()


async def test_a_picture_too_large_to_be_decoded_is_not() -> None:
    huge = video("mp4", (4112, 4112), frames=1)
    seen = await read(huge)
    assert (seen.facts.width, seen.facts.height, seen.poster) == (4112, 4112, None)


def test_the_reader_has_little_memory_time_and_room() -> None:
    assert Bounds(2**28, 60.0, room=2**20) == videos._BOUNDS


ENDINGS: dict[str, tuple[Callable[..., Any], Callable[..., Any], int | None]] = {
    "it crashes": (confined_works.facts, confined_works.crashing_poster, 3),
    "it stalls": (confined_works.facts, confined_works.stalling_poster, 3),
    "it says what are no facts": (confined_works.nonsense_facts, poster_of, FRAMES),
    "it tells too much": (confined_works.wordy_facts, poster_of, FRAMES),
    "it tells what cannot be": (
        confined_works.impossible_facts, confined_works.crashing_poster, None,
    ),
    "its poster is none": (confined_works.facts, confined_works.script_for_poster, 3),
}  # fmt: skip


@pytest.mark.parametrize("ending", ENDINGS)
async def test_whatever_becomes_of_the_reader_what_it_told_until_then_holds(
    monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    facts, poster, frames = ENDINGS[ending]
    monkeypatch.setattr(videos, "facts_in", facts)
    monkeypatch.setattr(videos, "poster_of", poster)
    if ending == "it stalls":
        monkeypatch.setattr(videos, "_BOUNDS", Bounds(2**28, 2.0, 2**20))
    seen = await read(MP4)
    assert (seen.facts.frames, seen.poster) == (frames, None)


@pytest.fixture
def without_pyav(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(sys.modules, "av", None)
    videos._can_read.cache_clear()
    yield
    videos._can_read.cache_clear()


@pytest.mark.usefixtures("without_pyav")
@pytest.mark.parametrize("kind", KINDS)
async def test_without_pyav_there_is_what_headers_say_and_no_poster(kind: str) -> None:
    _, _, media_type, codec = KINDS[kind]
    with capture_logs() as logs:
        first, again = [await read(video(kind), media_type) for _ in range(2)]
    width, height = SIZE
    assert first == again
    assert first.poster is None
    if kind == "avi":
        assert first.facts == NO_FACTS
    else:
        told = {"width": width, "height": height, "duration": FRAMES / FPS, "codec": codec}
        assert first.facts.model_dump(include={*told}) == told
        assert first.facts.frames == (None if kind in {"webm", "matroska"} else FRAMES)
    assert [line["event"] for line in logs] == ["videos get no poster"]
    assert "sd-queue-agent[video]" in logs[0]["remedy"]
