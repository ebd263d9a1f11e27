"""What media are, told from their bytes; and that hostile bytes get an answer, never a crash."""

import io
import os
import random
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest
from PIL import Image

from media_files import BROKEN, HUGE, IMAGES, OTHERS, UNKNOWNS, image, mutated, picture, png_of
from queue_agent.media.asset import Asset
from queue_agent.media.facts import (
    BrokenImage,
    Facts,
    TooManyPixels,
    UnreadableImage,
    check_whole,
    decode,
    facts_of,
    media_type_of,
)
from queue_agent.wire.media_types import UNKNOWN, extension, extension_of, media_type_by_name

SIZE = (48, 32)

each_image = pytest.mark.parametrize(("data", "media_type"), IMAGES.values(), ids=IMAGES.keys())


@contextmanager
def in_a_file(data: bytes) -> Iterator[Asset]:
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        yield Asset(file, UNKNOWN)


@pytest.mark.parametrize(("data", "media_type"), OTHERS.values(), ids=OTHERS.keys())
def test_a_type_is_told_from_the_first_bytes(data: bytes, media_type: str) -> None:
    assert media_type_of(data) == media_type_of(data[:8192]) == media_type
    found = facts_of(data) if media_type != "image/avif" else Facts(media_type)
    assert (found.media_type, found.width, found.height) == (media_type, None, None)
    prefix = media_type.partition("/")[0]
    assert found.kind == (prefix if prefix in {"image", "video", "audio"} else "other")


@pytest.mark.parametrize("data", UNKNOWNS.values(), ids=UNKNOWNS.keys())
def test_what_has_no_signature_stays_unknown(data: bytes) -> None:
    assert facts_of(data) == Facts(UNKNOWN)
    assert facts_of(data).kind == "other"


@each_image
def test_an_image_tells_its_size_from_memory_and_from_a_file(data: bytes, media_type: str) -> None:
    assert facts_of(data) == Facts(media_type, *SIZE)
    with in_a_file(data) as asset:
        assert facts_of(asset) == check_whole(asset) == Facts(media_type, *SIZE)
        assert decode(asset).size == SIZE


@each_image
def test_a_name_for_each_type_leads_back_to_it(data: bytes, media_type: str) -> None:
    assert media_type_by_name(f"a.{extension(media_type)}") == media_type


def test_names_and_types_are_the_same_on_every_machine() -> None:
    assert extension("image/webp") == "webp"
    assert extension("audio/x-flac") == extension("audio/flac") == "flac"
    assert extension("video/x-matroska") == extension("video/matroska") == "mkv"
    assert extension("text/html") == "html"
    assert extension("strange/thing") == extension(UNKNOWN) == "bin"
    assert media_type_by_name("mesh.GLB") == "model/gltf-binary"
    assert media_type_by_name("notes.txt") == "text/plain"
    assert media_type_by_name("notes.md") == "text/markdown"
    assert media_type_by_name("a.ppm") == UNKNOWN, "nothing tells its bytes from others"
    assert media_type_by_name("png") == media_type_by_name("a.strange") == UNKNOWN


@pytest.mark.parametrize(
    ("media_type", "own", "expected"),
    [
        (UNKNOWN, "latent", "latent"),
        (UNKNOWN, "", "bin"),
        ("application/zip", "npz", "npz"),
        ("strange/thing", "thing", "thing"),
        ("image/png", "jpg", "png"),
        ("audio/x-flac", "bin", "flac"),
        ("text/html", "", "html"),
    ],
)
def test_a_files_own_extension_stands_where_its_type_has_no_better_one(
    media_type: str, own: str, expected: str
) -> None:
    assert extension(media_type, own) == expected


@pytest.mark.parametrize(
    ("filename", "expected"),
    [
        ("a.PLY", "ply"),
        ("a.b.ksplat", "ksplat"),
        ("none", ""),
        (".hidden", ""),
        ("a.", ""),
        ("a.p/y", ""),
        ("a.p y", ""),
        ("a.ü", ""),
        ("a." + "x" * 17, ""),
    ],
)
def test_an_odd_extension_is_none(filename: str, expected: str) -> None:
    assert extension_of(filename) == expected


@each_image
def test_an_image_that_ends_too_early_is_not_whole(data: bytes, media_type: str) -> None:
    # A TIFF may end with four bytes that say that no page follows.
    most = len(data) - (4 if media_type == "image/tiff" else 0)
    for length in {*range(1, most, max(1, most // 60)), *range(most - 12, most)}:
        with pytest.raises(BrokenImage):
            check_whole(data[:length])


@pytest.mark.parametrize("name", ["png", "apng", "jpeg", "jpeg, with a thumbnail", "gif"])
def test_an_image_whose_end_is_zeros_is_not_whole(name: str) -> None:
    data, _ = IMAGES[name]
    for length in range(len(data) // 2, len(data), max(1, len(data) // 60)):
        with pytest.raises(BrokenImage):
            check_whole(data[:length].ljust(len(data), b"\0"))


def test_a_png_of_a_wrong_checksum_is_not_whole() -> None:
    data = bytearray(image("PNG"))
    data[-13] ^= 1  # the last of IDAT's, before the twelve bytes of IEND
    assert decode(bytes(data)).size == SIZE
    with pytest.raises(BrokenImage):
        check_whole(bytes(data))


@pytest.mark.parametrize("name", ["png", "jpeg", "gif"])
def test_what_stands_behind_an_image_does_not_break_it(name: str) -> None:
    data, media_type = IMAGES[name]
    assert check_whole(data + bytes(100)).media_type == media_type


def test_an_image_of_too_many_pixels_is_refused_by_its_header() -> None:
    huge = png_of(100_000, 100_000)
    assert facts_of(huge) == Facts("image/png", 100_000, 100_000)
    for look in (decode, check_whole):
        with pytest.raises(TooManyPixels, match="has 100000 x 100000 pixels; the limit is 1000"):
            look(huge, max_pixels=1000)


@pytest.mark.parametrize("data", HUGE.values(), ids=HUGE.keys())
def test_a_small_file_of_a_huge_image_has_too_many_pixels(data: bytes) -> None:
    for look in (decode, check_whole):
        with pytest.raises(TooManyPixels):
            look(data)


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN.keys())
def test_a_file_whose_header_cannot_be_read_is_broken(data: bytes) -> None:
    for look in (facts_of, decode, check_whole):
        with pytest.raises(BrokenImage):
            look(data)


def test_an_animation_has_a_limit_for_all_its_frames() -> None:
    file = io.BytesIO()
    frames = [Image.new("L", (10, 10), shade) for shade in range(17)]
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])
    assert check_whole(file.getvalue(), max_pixels=107).width == 10
    with pytest.raises(TooManyPixels):
        check_whole(file.getvalue(), max_pixels=100)


def test_an_image_is_decoded_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # Orientation: to be turned by 90 degrees
    assert decode(image("JPEG", exif=exif)).size == SIZE[::-1]
    assert decode(image("PNG")).tobytes() == picture().tobytes()


@pytest.mark.parametrize("name", ["text", "icon", "mp4"])
@pytest.mark.parametrize("look", [decode, check_whole])
def test_what_is_no_image_that_is_read_cannot_be_decoded(
    name: str, look: Callable[[bytes], object]
) -> None:
    data = UNKNOWNS[name] if name in UNKNOWNS else OTHERS[name][0]
    with pytest.raises(BrokenImage, match=r"no image|not read"):
        look(data)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("name", [*IMAGES, "heic", "icon", "mp4", "matroska", "glb"])
def test_hostile_bytes_get_an_answer(name: str) -> None:
    """Every look at them returns or raises `UnreadableImage`, whatever the decoder does."""
    data, _ = IMAGES.get(name) or OTHERS[name]
    dice = random.Random(name)  # noqa: S311
    for _ in range(250):
        changed = mutated(data, dice)
        with suppress(UnreadableImage):
            facts_of(changed)
        for look in (decode, check_whole):
            with suppress(UnreadableImage):
                look(changed, max_pixels=100_000)


def test_nothing_stays_open_behind_a_broken_image() -> None:
    before = len(os.listdir("/dev/fd"))  # noqa: PTH208  numbers, not paths
    with in_a_file(image("PNG")[:60]) as asset, pytest.raises(BrokenImage):
        check_whole(asset)
    assert len(os.listdir("/dev/fd")) == before  # noqa: PTH208
