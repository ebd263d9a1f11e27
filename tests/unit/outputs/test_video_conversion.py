"""Videos: container by codec by operation, each looked at by its frames."""

import io
import json
from collections.abc import Callable
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import av
import pytest
from PIL import Image, ImageChops, ImageStat

from output_samples import (
    GRAPH,
    SECRET,
    InlineWorkers,
    moving,
    opened,
    saved,
    saved_moving,
    says_secret,
)
from queue_agent.media.facts import media_type_of
from queue_agent.outputs import Conversion, ConversionPolicy, Order, OutputStage, video_streams
from queue_agent.outputs.conversion import FileWish, Made, Unhandled, made_of_file
from queue_agent.runtime import Artifact
from queue_agent.wire.errors import Malformed
from queue_agent.wire.job import parse_job
from queue_agent.wire.output import OutputOptions, VideoFormat
from video_files import FPS, FRAMES, KINDS, SIZE, video

Seen = tuple[str, tuple[int, int], int, float]
COPIED: dict[VideoFormat, set[str]] = {
    "mp4": {"mp4", "mp4, av1", "webm", "matroska", "quicktime"},
    "webm": {"mp4, av1", "webm"},
}
CODECS: dict[VideoFormat, str] = {"mp4": "h264", "webm": "vp9"}
MARK = b"trainedAlgorithmicMedia"


def made(data: bytes, wish: FileWish, folder: Path) -> tuple[Made, bytes]:
    """What becomes of it, and the file that is delivered."""
    source, target = folder / "source", folder / "made"
    source.write_bytes(data)
    result = made_of_file(source, target, wish)
    return result, target.read_bytes() if result.is_another else data


def reading(data: bytes) -> Any:
    return av.open(io.BytesIO(data))


def frames_of(data: bytes) -> list[Image.Image]:
    with reading(data) as container:
        return [frame.to_image() for frame in container.decode(video=0)]


def seen(data: bytes) -> Seen:
    """Its codec, size, frames and seconds by what its packets say."""
    with reading(data) as container:
        stream = container.streams.video[0]
        packets = [p for p in container.demux(stream) if p.size and p.pts is not None]
        assert stream.time_base is not None
        end = max((p.pts or 0) + (p.duration or 0) for p in packets) * stream.time_base
        codec = stream.codec_context
        start = min(p.pts or 0 for p in packets) * stream.time_base
        return codec.name, (codec.width, codec.height), len(packets), float(end - start)


def packets_of(data: bytes) -> list[bytes]:
    with reading(data) as container:
        return [bytes(packet) for packet in container.demux(video=0) if packet.size]


def fast_mp4(folder: Path) -> bytes:
    """One that begins with what a player has to know."""
    return made(video(), FileWish(video_format="mp4", mark=False), folder)[1]


@cache
def told(form: str, *, sound: str = "", rate: int = 44_100) -> bytes:
    """A video that says where it comes from, as nodes of ComfyUI's write it; with a tone."""
    file = io.BytesIO()
    options = {"movflags": "use_metadata_tags"} if form in {"mp4", "mov"} else {}
    frame_of: Any = av.VideoFrame.from_image
    made: Any = av.open(file, "w", format=form, options=options)
    with made:
        made.metadata.update({"prompt": GRAPH, "comment": SECRET, "title": SECRET})
        codec = {"webm": "libvpx-vp9", "avi": "mpeg4"}.get(form, "libx264")
        stream = made.add_stream(codec, rate=FPS)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        stream.thread_count = 1
        tone = made.add_stream(sound, rate=rate, layout="stereo") if sound else None
        for number in range(FRAMES):
            picture = Image.new("RGB", SIZE, (20 * number, 90, 200 - 10 * number))
            made.mux(stream.encode(frame_of(picture)))
        made.mux(stream.encode())
        if tone is not None:
            samples = av.AudioFrame(format="fltp", layout="stereo", samples=rate)
            samples.rate = rate
            for plane in samples.planes:
                plane.update(bytes(plane.buffer_size))
            made.mux(tone.encode(samples))
            made.mux(tone.encode())
    return file.getvalue()


@pytest.mark.parametrize("form", ["mp4", "webm"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_video_becomes_either_format_as_it_looks(
    kind: str, form: VideoFormat, tmp_path: Path
) -> None:
    data = video(kind)
    result, found = made(data, FileWish(video_format=form, quality=90), tmp_path)
    assert (result.media_type, result.warning) == (f"video/{form}", None)
    assert media_type_of(found) == f"video/{form}"
    codec, size, frames, seconds = seen(found)
    is_copied = kind in COPIED[form]
    wanted = KINDS[kind][3] if is_copied else CODECS[form]
    assert codec.replace("libdav1d", "av1") == wanted
    assert (size, frames) == (SIZE, FRAMES)
    assert seconds == pytest.approx(FRAMES / FPS, abs=0.13)
    assert (packets_of(found) == packets_of(data)) == is_copied
    for one, other in zip(frames_of(found), frames_of(data), strict=True):
        assert max(ImageStat.Stat(ImageChops.difference(one, other)).mean) < 12


def test_what_has_the_format_already_is_not_touched(tmp_path: Path) -> None:
    fast = fast_mp4(tmp_path)
    assert made(fast, FileWish(video_format="mp4"), tmp_path)[1] == fast
    assert made(video("webm"), FileWish(video_format="webm"), tmp_path)[1] == video("webm")


def test_an_mp4_plays_before_all_of_it_is_there_and_its_frames_are_the_same(tmp_path: Path) -> None:
    slow = video("mp4")
    assert slow.index(b"mdat") < slow.index(b"moov")
    _, found = made(slow, FileWish(video_format="mp4"), tmp_path)
    assert found.index(b"moov") < found.index(b"mdat")
    assert packets_of(found) == packets_of(slow)


@pytest.mark.parametrize(
    ("kind", "form", "codec"),
    [("mp4", None, "h264"), ("webm", None, "vp9"), ("avi", None, "h264"), ("mp4", "webm", "vp9")],
)
def test_a_video_is_made_smaller_with_even_sides(
    kind: str, form: VideoFormat | None, codec: str, tmp_path: Path
) -> None:
    wish = FileWish(video_format=form, max_side=34)
    result, found = made(video(kind), wish, tmp_path)
    assert result.warning is None
    assert seen(found)[:3] == (codec, (34, 26), FRAMES)


@pytest.mark.parametrize("kind", KINDS)
def test_no_video_is_made_larger(kind: str, tmp_path: Path) -> None:
    result, found = made(video(kind), FileWish(max_side=64, mark=False), tmp_path)
    assert (result, found) == (Made(KINDS[kind][2]), video(kind))


@pytest.mark.parametrize("form", ["mp4", "webm"])
def test_what_is_encoded_anew_is_shown_in_the_same_colours_and_shape(
    form: VideoFormat, tmp_path: Path
) -> None:
    file = io.BytesIO()
    container: Any = av.open(file, "w", format="matroska")
    with container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        shown = stream.codec_context
        shown.colorspace, shown.color_primaries, shown.color_trc = 1, 1, 1  # BT.709
        shown.sample_aspect_ratio = Fraction(4, 3)
        frame_of: Any = av.VideoFrame.from_image
        for number in range(4):
            container.mux(stream.encode(frame_of(Image.new("RGB", SIZE, (0, 60 * number, 9)))))
        container.mux(stream.encode())
    _, found = made(file.getvalue(), FileWish(video_format=form, max_side=32), tmp_path)
    with reading(found) as container:
        shown = container.streams.video[0].codec_context
        next(container.decode(video=0))
        assert (shown.colorspace, shown.color_primaries, shown.color_trc) == (1, 1, 1)
        assert (shown.width, shown.height) == (32, 18), "as wide as it was shown"


FILMS = {kind: saved_moving(kind, loop=0) for kind in ("GIF", "WEBP", "PNG")}


@pytest.mark.parametrize("form", ["mp4", "webm"])
@pytest.mark.parametrize("kind", FILMS)
def test_an_image_that_moves_becomes_a_video_where_its_job_asks_for_one(
    kind: str, form: VideoFormat, tmp_path: Path
) -> None:
    wish = FileWish(video_format=form, asked=form, quality=95, thumbnail=True, metadata="minimal")
    result, found = made(FILMS[kind], wish, tmp_path)
    assert (result.media_type, result.warning) == (f"video/{form}", None)
    codec, _, frames, _ = seen(found)
    assert (codec, frames) == (CODECS[form], 4)
    with reading(found) as container:
        times = [round(frame.time * 10) for frame in container.decode(video=0)]
    assert times == [0, 1, 3, 6], "each as long as before"
    for one, other in zip(frames_of(found), moving(), strict=True):
        assert max(ImageStat.Stat(ImageChops.difference(one, other)).mean) < 12
    assert (MARK in found) == (form == "mp4")
    assert opened(result.thumbnail or b"").size == moving()[0].size


def test_the_operators_format_of_videos_is_not_that_of_images_that_move(tmp_path: Path) -> None:
    result, found = made(FILMS["GIF"], FileWish(video_format="mp4", mark=False), tmp_path)
    assert (result, found) == (Made("image/gif"), FILMS["GIF"])


def test_texts_of_an_image_that_moves_are_told_to_be_gone(tmp_path: Path) -> None:
    data = saved_moving("GIF", comment=SECRET.encode())
    result, found = made(data, FileWish(video_format="mp4", asked="mp4"), tmp_path)
    assert not says_secret(found)
    assert "keeps not what stood beside its picture" in (result.warning or "")


def test_quality_is_of_what_is_encoded_anew(tmp_path: Path) -> None:
    sizes = [
        len(made(video("mp4", (320, 240)), FileWish(video_format="webm", quality=q), tmp_path)[1])
        for q in (20, 95)
    ]
    assert sizes[0] < sizes[1]


@pytest.mark.parametrize(
    ("form", "sound", "target", "codec"),
    [
        ("mp4", "aac", "webm", "opus"),
        ("mp4", "aac", "mp4", "aac"),
        ("webm", "libopus", "mp4", "opus"),
        ("avi", "pcm_s16le", "mp4", "aac"),
    ],
)
def test_sound_goes_along(
    form: str, sound: str, target: VideoFormat, codec: str, tmp_path: Path
) -> None:
    data = told(form, sound=sound, rate=48_000 if sound == "libopus" else 44_100)
    result, found = made(data, FileWish(video_format=target), tmp_path)
    assert result.warning is None
    with reading(found) as container:
        stream = container.streams.audio[0]
        assert stream.codec_context.codec.canonical_name == codec
        heard = list(container.decode(stream))
        assert sum(frame.samples / frame.sample_rate for frame in heard) == pytest.approx(
            1, abs=0.1
        )
    assert seen(found)[2] == FRAMES


def test_a_video_has_a_thumbnail_a_placeholder_and_one_that_moves(tmp_path: Path) -> None:
    wish = FileWish(thumbnail=True, animated_thumbnail=True, max_side=4096)
    result, found = made(video("mp4", (1280, 720)), wish, tmp_path)
    assert found == video("mp4", (1280, 720))
    small = opened(result.thumbnail or b"")
    assert (small.format, small.size) == ("WEBP", (512, 288))
    assert len(result.placeholder or "") == 28
    shown: Any = opened(result.animated_thumbnail or b"")
    assert (shown.format, shown.size, shown.n_frames) == ("WEBP", (320, 180), FRAMES)


def test_one_that_moves_shows_no_more_than_how_a_video_begins(tmp_path: Path) -> None:
    data = video("mp4", (640, 48), frames=80)
    result, _ = made(data, FileWish(animated_thumbnail=True), tmp_path)
    shown: Any = opened(result.animated_thumbnail or b"")
    assert shown.n_frames == 4 * FPS


@pytest.mark.parametrize("rule", ["strip", "minimal"])
@pytest.mark.parametrize("target", ["mp4", "webm"])
@pytest.mark.parametrize("form", ["mp4", "webm", "matroska", "avi"])
def test_a_converted_video_says_nothing_where_it_is_stripped(
    form: str, target: VideoFormat, rule: Any, tmp_path: Path
) -> None:
    data = told(form)
    assert SECRET.encode() in data
    wish = FileWish(video_format=target, metadata=rule, thumbnail=True, animated_thumbnail=True)
    result, found = made(data, wish, tmp_path)
    assert result.warning is None
    for file in (found, result.thumbnail or b"", result.animated_thumbnail or b""):
        assert not says_secret(file)
        assert b"x264 - core" not in file or form in {"mp4", "matroska"}
        assert b"Lavf" not in file
    assert (MARK in found) == (rule == "minimal" and target == "mp4")
    assert seen(found)[2] == FRAMES


def test_what_a_video_says_goes_along_where_it_is_kept(tmp_path: Path) -> None:
    for form, target in (("matroska", "mp4"), ("mp4", "webm"), ("webm", "mp4")):
        source, target_format = told(form), "mp4" if target == "mp4" else "webm"
        wish = FileWish(video_format=OutputOptions(format=target_format).video_format)
        _, found = made(source, wish, tmp_path)
        with reading(found) as container:
            said = {name.lower(): text for name, text in container.metadata.items()}
        assert (said["prompt"], said["comment"]) == (GRAPH, SECRET)
        assert (MARK in found) == (target == "mp4")


def test_a_workflow_in_a_video_does_not_leave_where_links_are_given(tmp_path: Path) -> None:
    _, found = made(told("mp4"), FileWish(video_format="webm", hide_graph=True), tmp_path)
    assert not says_secret(found)
    _, found = made(told("avi"), FileWish(metadata="strip"), tmp_path)
    assert not says_secret(found)
    with pytest.raises(Unhandled):
        made(b"FLV\1" + bytes(99), FileWish(metadata="strip", thumbnail=True), tmp_path)


HOSTILE: dict[str, Callable[[], bytes]] = {
    "half of it": lambda: video("mp4", options="movflags=frag_keyframe+empty_moov")[:1500],
    "its first bytes": lambda: video()[:40],
    "another format under its name": lambda: b"\0\0\0\x18ftypisom" + video("webm"),
    "a list of files": lambda: b"\0\0\0\x18ftypisom\0\0\2\0isommp41ffconcat version 1.0\nfile a\n",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_video_that_cannot_be_read_is_delivered_as_it_is(name: str, tmp_path: Path) -> None:
    data = HOSTILE[name]()
    wish = FileWish(video_format="webm", thumbnail=True)
    result, found = made(data, wish, tmp_path)
    assert (result.media_type, found) == ("video/mp4", data) or seen(found)[0] == "vp9"
    assert result.warning is not None or result.is_another


def test_what_is_too_much_is_not_encoded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(video_streams, "_MOST_FRAMES", FRAMES - 1)
    result, found = made(video(), FileWish(video_format="webm"), tmp_path)
    assert found == video()
    assert result.warning == "is delivered as video/mp4: it is too long to be encoded anew"
    huge = video("mp4", (4112, 4112), frames=1)
    result, found = made(huge, FileWish(max_side=64), tmp_path)
    assert found == huge
    assert result.warning == "is delivered as video/mp4: it has 4112 x 4112 pixels"


@pytest.mark.parametrize(
    ("data", "kind", "asked", "words"),
    [
        (video(), "video/mp4", "webp", "it is no image"),
        (saved(Image.new("RGB", (8, 8)), "PNG"), "image/png", "mp4", "it is no video"),
    ],
    ids=["a video", "an image"],
)
async def test_a_file_of_another_kind_than_was_asked_for_is_told_of(
    data: bytes, kind: str, asked: Any, words: str
) -> None:
    body = '{"metadata": {"id": "a", "tasktype": "pipeline"}, "content": {}}'
    policy = ConversionPolicy(OutputOptions(format="webp"), "mp4", mark=False)
    stage = OutputStage((Conversion(policy, InlineWorkers()),))
    order = Order(parse_job(body), OutputOptions(format=asked))
    with order.files:
        (product,) = await stage.products(order, (Artifact(data, kind),))
        assert any(words in warning for warning in product.warnings)
    order = Order(parse_job(body))
    with order.files:
        (product,) = await stage.products(order, (Artifact(data, kind),))
        assert product.warnings == ()
        assert product.artifact.media_type in {"video/mp4", "image/webp"}


@pytest.mark.parametrize(
    ("tasktype", "output", "words"),
    [
        ("text-to-image", {"format": "mp4"}, "output.format: text-to-image makes no videos"),
        ("image-to-image", {"format": "webm"}, "output.format: image-to-image makes no videos"),
        ("text-to-image", {"animated_thumbnail": True}, "makes no videos"),
        ("text-to-video", {"format": "mp4", "lossless": True}, "lossless: mp4 files never are"),
        ("text-to-video", {"format": "avi"}, "metadata.output.format"),
    ],
)
def test_what_a_job_cannot_have_is_refused_before_it_runs(
    tasktype: str, output: Any, words: str
) -> None:
    metadata = {"id": "a", "tasktype": tasktype, "output": output}
    body: Any = {"metadata": metadata, "content": {}}
    with pytest.raises(Malformed) as refused:
        parse_job(json.dumps(body))
    assert words in refused.value.message
