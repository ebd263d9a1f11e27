"""Format by mode by operation, each looked at by its pixels."""

import io
import zlib
from itertools import product

import pytest
from PIL import Image, ImageChops, ImageCms, ImageSequence, ImageStat
from PIL.PngImagePlugin import PngInfo

from output_samples import (
    GRAPH,
    PLANTED,
    SECRET,
    SIZE,
    SRGB,
    chunk,
    exif,
    gradient,
    opened,
    planted_jpeg,
    planted_png,
    saved,
    saved_moving,
    says_secret,
    transparent_palette,
)
from queue_agent.media.facts import media_type_of
from queue_agent.outputs.blurhash import blurhash
from queue_agent.outputs.conversion import FileWish, Made, Unhandled, made
from queue_agent.wire.output import FORMATS, MEDIA_TYPES, ImageFormat, MetadataRule

SOURCES: dict[str, bytes] = {
    **{f"png {mode}": saved(gradient(mode), "PNG")
       for mode in ("RGB", "RGBA", "P", "L", "LA", "1", "I;16")},
    "png transparent palette": saved(transparent_palette(), "PNG"),
    "png rgb of 16 bits": b"",
    "jpeg RGB": saved(gradient("RGB"), "JPEG", quality=95),
    "jpeg L": saved(gradient("L"), "JPEG", quality=95),
    "jpeg CMYK": saved(gradient("CMYK"), "JPEG", quality=95),
    "webp RGB": saved(gradient("RGB"), "WEBP", lossless=True),
    "webp RGBA": saved(gradient("RGBA"), "WEBP", lossless=True, exact=True),
    "avif RGBA": saved(gradient("RGBA"), "AVIF", quality=95),
    "tiff CMYK": saved(gradient("CMYK"), "TIFF"),
    "tiff I;16": saved(gradient("I;16"), "TIFF"),
    "bmp RGB": saved(gradient("RGB"), "BMP"),
    "gif P": saved(gradient("P"), "GIF"),
}  # fmt: skip
MOVING = {
    "gif": saved_moving("GIF", loop=0),
    "webp": saved_moving("WEBP", loop=3, lossless=True),
    "apng": saved_moving("PNG", loop=3),
    "avif": saved_moving("AVIF", quality=95),
}


def _wide_rgb() -> bytes:
    """16 bits a channel, which Pillow does not write: rows of RGB, each value twice."""
    rgb, width = gradient("RGB").tobytes(), SIZE[0]
    rows = (rgb[start : start + 3 * width] for start in range(0, len(rgb), 3 * width))
    wide = b"".join(b"\0" + bytes(value for one in row for value in (one, one)) for row in rows)
    head = SIZE[0].to_bytes(4) + SIZE[1].to_bytes(4) + bytes((16, 2, 0, 0, 0))
    parts = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(wide)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


SOURCES["png rgb of 16 bits"] = _wide_rgb()


def expected(data: bytes, *, paper: bool) -> Image.Image:
    """The picture as eyes see it, of 8 bits a channel; on white if `paper`."""
    found = opened(data)
    if found.mode == "I;16":
        narrow = bytes(found.tobytes()[1::2])
        found = Image.frombytes("L", found.size, narrow)
    rgba = found.convert("RGBA")
    if paper:
        white = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(white, rgba)
    return rgba


def difference(one: Image.Image, other: Image.Image) -> float:
    """The mean over all channels, as seen on grey: what is transparent has no colour."""
    grey = Image.new("RGBA", one.size, (128, 128, 128, 255))
    both = [
        Image.alpha_composite(grey, image.convert("RGBA")).convert("RGB") for image in (one, other)
    ]
    return max(ImageStat.Stat(ImageChops.difference(*both)).mean)


@pytest.mark.parametrize(("name", "kind"), [*product(SOURCES, FORMATS)])
def test_every_mode_becomes_every_format_as_it_looks(name: str, kind: ImageFormat) -> None:
    data = SOURCES[name]
    result = made(data, FileWish(format=kind, quality=95 if kind != "png" else None))
    found = data if result.data is None else result.data
    assert (result.media_type, result.warning) == (MEDIA_TYPES[kind], None)
    shown = opened(found)
    wanted = expected(data, paper=kind == "jpeg")
    assert shown.format == kind.upper()
    assert shown.size == SIZE
    narrow = expected(found, paper=False)
    assert difference(narrow, wanted) < (0.01 if kind == "png" else 12)
    if kind == "webp":
        lossless = made(data, FileWish(format=kind, lossless=True))
        exact = expected(lossless.data or data, paper=False)
        assert difference(exact, wanted) < 0.01


@pytest.mark.parametrize(("name", "kind"), [*product(SOURCES, FORMATS)])
def test_every_mode_is_made_smaller(name: str, kind: ImageFormat) -> None:
    result = made(SOURCES[name], FileWish(format=kind, max_side=24))
    assert result.data is not None
    shown = opened(result.data)
    assert (shown.size, shown.format) == ((24, 16), kind.upper())
    small = expected(SOURCES[name], paper=kind == "jpeg").resize((24, 16), Image.Resampling.LANCZOS)
    assert difference(expected(result.data, paper=False), small) < 12


@pytest.mark.parametrize("name", SOURCES)
def test_nothing_is_made_larger(name: str) -> None:
    result = made(SOURCES[name], FileWish(max_side=48))
    assert opened(result.data or SOURCES[name]).size == SIZE
    assert opened(result.data or SOURCES[name]).tobytes() == opened(SOURCES[name]).tobytes()


@pytest.mark.parametrize("name", SOURCES)
def test_every_mode_has_a_thumbnail_and_a_placeholder(name: str) -> None:
    result = made(SOURCES[name], FileWish(thumbnail=True))
    assert result.thumbnail is not None
    small = opened(result.thumbnail)
    assert (small.format, small.size) == ("WEBP", SIZE)
    assert difference(small, expected(SOURCES[name], paper=False)) < 12
    assert result.placeholder is not None
    assert len(result.placeholder) == 28


def test_grey_of_16_bits_stays_so_in_png() -> None:
    wide = opened(made(SOURCES["tiff I;16"], FileWish(format="png")).data or b"")
    assert wide.mode == "I;16"
    assert wide.tobytes() == gradient("I;16").tobytes()
    small = opened(made(SOURCES["png I;16"], FileWish(max_side=24)).data or b"")
    assert small.mode == "I;16"


def test_what_is_of_the_format_already_is_not_encoded_again() -> None:
    data = SOURCES["jpeg RGB"]
    result = made(data, FileWish(format="jpeg", quality=10, mark=False))
    assert result == Made("image/jpeg")


def test_transparency_falls_on_white_where_there_is_none() -> None:
    clear = Image.new("RGBA", (16, 16), (255, 0, 0, 0))
    found = made(saved(clear, "PNG"), FileWish(format="jpeg")).data
    assert opened(found or b"").getpixel((8, 8)) == (255, 255, 255)


def test_colours_without_opacity_stay_where_nothing_is_lost() -> None:
    clear = Image.new("RGBA", (16, 16), (255, 0, 0, 0))
    found = made(saved(clear, "PNG"), FileWish(format="webp", lossless=True)).data
    assert opened(found or b"").getpixel((8, 8)) == (255, 0, 0, 0)


@pytest.mark.parametrize("kind", FORMATS)
def test_a_colour_profile_goes_along(kind: ImageFormat) -> None:
    data = saved(gradient("RGB"), "TIFF", icc_profile=SRGB)
    found = made(data, FileWish(format=kind, metadata="strip")).data
    assert opened(found or b"").info["icc_profile"] == SRGB


def test_a_profile_of_another_colour_space_does_not() -> None:
    grey = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    data = saved(gradient("RGB"), "PNG", icc_profile=grey)
    found = made(data, FileWish(format="webp")).data
    assert not opened(found or b"").info.get("icc_profile")


@pytest.mark.parametrize("kind", FORMATS)
def test_a_picture_that_lies_on_its_side_stands_up(kind: ImageFormat) -> None:
    data = saved(gradient("RGB"), "TIFF", exif=Image.Exif())
    lying = saved(gradient("RGB"), "JPEG" if kind != "jpeg" else "WEBP", exif=exif(orientation=6))
    for wish in (FileWish(format=kind), FileWish(format=kind, metadata="strip")):
        found = opened(made(lying, wish).data or b"")
        assert found.size == SIZE[::-1]
        assert found.getexif().get(0x0112, 1) == 1
    assert opened(data).size == SIZE


@pytest.mark.parametrize(("name", "kind"), [*product(MOVING, ("webp", "png", "avif"))])
def test_what_moves_goes_on_moving(name: str, kind: ImageFormat) -> None:
    result = made(MOVING[name], FileWish(format=kind, quality=None if kind == "png" else 95))
    found = result.data or MOVING[name]
    assert result.media_type == ("image/apng" if kind == "png" else f"image/{kind}")
    with Image.open(io.BytesIO(found)) as image, Image.open(io.BytesIO(MOVING[name])) as before:
        shown = [frame.convert("RGB") for frame in ImageSequence.Iterator(image)]
        were = [frame.convert("RGB") for frame in ImageSequence.Iterator(before)]
    assert [one.size for one in shown] == [SIZE] * 4
    assert all(difference(*pair) < 5 for pair in zip(shown, were, strict=True))


@pytest.mark.parametrize("name", ["gif", "apng"])
def test_every_frame_is_shown_as_long_as_before(name: str) -> None:
    found = made(MOVING[name], FileWish(format="webp", max_side=24)).data
    with Image.open(io.BytesIO(found or b"")) as image:
        told = []
        for frame in ImageSequence.Iterator(image):
            frame.load()
            told.append(frame.info["duration"])
        assert told == [100, 200, 300, 400]
        assert image.info["loop"] == (0 if name == "gif" else 3)


def test_what_moves_becomes_no_jpeg() -> None:
    result = made(MOVING["gif"], FileWish(format="jpeg"))
    assert result.media_type == "image/gif"
    assert result.warning == "is delivered as image/gif: it moves, and no image/jpeg does"


def test_what_is_not_encoded_here_becomes_what_can_hold_it_when_made_smaller() -> None:
    assert made(MOVING["gif"], FileWish(max_side=24)).media_type == "image/webp"
    assert made(SOURCES["bmp RGB"], FileWish(max_side=24)).media_type == "image/png"


@pytest.mark.parametrize(("name", "kind"), [*product(PLANTED, FORMATS)])
def test_a_stripped_file_says_nothing_whatever_it_becomes(name: str, kind: ImageFormat) -> None:
    data, _ = PLANTED[name]
    for wish in (
        FileWish(format=kind, metadata="strip", thumbnail=True),
        FileWish(format=kind, metadata="minimal", max_side=24),
    ):
        result = made(data, wish)
        assert result.data is not None
        assert not says_secret(result.data + (result.thumbnail or b""))
        assert b"XMP" not in result.data or wish.metadata == "minimal"


@pytest.mark.parametrize("kind", FORMATS)
def test_what_is_converted_is_marked_unless_it_is_stripped(kind: ImageFormat) -> None:
    def marks(wish: FileWish) -> int:
        return (made(SOURCES["tiff CMYK"], wish).data or b"").count(b"trainedAlgorithmicMedia")

    assert marks(FileWish(format=kind)) == 1
    assert marks(FileWish(format=kind, metadata="minimal")) == 1
    assert marks(FileWish(format=kind, metadata="strip")) == 0
    assert marks(FileWish(format=kind, mark=False)) == 0


def test_what_a_png_says_goes_where_the_runtimes_write_it() -> None:
    for kind in ("jpeg", "webp", "avif"):
        found = opened(made(planted_png(), FileWish(format=kind)).data or b"").getexif()
        assert SECRET in str(found.get_ifd(0x8769)[0x9286], "utf_16_be", "replace")
        told = {str(value) for value in found.values()}
        assert f"prompt:{GRAPH}" in told
        assert f"workflow:{GRAPH}" in told
    small = opened(made(planted_png(), FileWish(max_side=24)).data or b"")
    assert (small.info["parameters"], small.info["prompt"]) == (f"a cat {SECRET}", GRAPH)


def test_what_has_no_room_is_left_with_a_word() -> None:
    info = PngInfo()
    info.add_text("workflow", "x" * 70_000)
    result = made(saved(gradient("RGB"), "PNG", pnginfo=info), FileWish(format="jpeg"))
    assert result.media_type == "image/jpeg"
    assert result.warning is not None
    assert "no room" in result.warning


def test_only_files_with_a_workflow_are_reduced_where_links_are_given() -> None:
    wish = FileWish(hide_graph=True)
    assert not says_secret(made(planted_png(), wish).data or b"")
    plain = planted_jpeg().replace(b"class_type", b"class-type").replace(b"last_node_id", b"x")
    assert SECRET.encode() in (made(plain, wish).data or b"")


@pytest.mark.parametrize("name", PLANTED)
def test_a_file_with_a_workflow_becomes_what_minimal_makes_of_it(name: str) -> None:
    data, _ = PLANTED[name]
    if b"class_type" not in data:
        data, _ = PLANTED["png"]
    assert made(data, FileWish(hide_graph=True)) == made(data, FileWish(metadata="minimal"))


def test_a_workflow_is_found_in_wide_letters() -> None:
    comment = Image.Exif()
    comment.get_ifd(0x8769)[0x9286] = b"UNICODE\0" + GRAPH.encode("utf_16_le")
    found = made(saved(gradient("RGB"), "JPEG", exif=comment), FileWish(hide_graph=True)).data
    assert found is not None
    assert not says_secret(found)


def test_a_workflow_that_nobody_here_can_take_out_is_told_of() -> None:
    result = made(b"FLV\1" + bytes(40) + GRAPH.encode(), FileWish(hide_graph=True))
    assert result.data is None
    assert result.warning is not None
    assert result.warning.startswith("is video/x-flv, of which nobody here can take out")


@pytest.mark.parametrize("data", [b"a text", b"FLV\1" + bytes(20), b"MThd\0\0\0\6" + bytes(50)])
def test_what_nobody_knows_is_not_passed_off_as_clean(data: bytes) -> None:
    assert made(data, FileWish(format="webp")).data is None
    with pytest.raises(Unhandled):
        made(data, FileWish(metadata="strip"))


@pytest.mark.parametrize("kind", ["BMP", "JPEG2000"])
@pytest.mark.parametrize("rule", ["strip", "minimal"])
def test_an_image_of_a_kind_that_hides_things_becomes_png(kind: str, rule: MetadataRule) -> None:
    data = saved(gradient("RGB"), kind) + SECRET.encode()
    result = made(data, FileWish(metadata=rule))
    assert (result.media_type, says_secret(result.data or b"")) == ("image/png", False)
    assert opened(result.data or b"").tobytes() == opened(data).tobytes()
    assert FileWish(metadata=rule).may_decode(media_type_of(data))
    with pytest.raises(Unhandled):
        made(data, FileWish(metadata=rule).without_pixels())


def test_a_bomb_is_delivered_as_it_is() -> None:
    side = (30_000).to_bytes(4)
    head = chunk(b"IHDR", side + side + bytes((1, 0, 0, 0, 0)))
    rows = chunk(b"IDAT", zlib.compress(bytes(10**6)))
    bomb = b"\x89PNG\r\n\x1a\n" + head + rows + chunk(b"IEND", b"")
    result = made(bomb, FileWish(format="webp", metadata="strip"))
    assert result.media_type == "image/png"
    assert result.warning is not None
    assert "has too many pixels" in result.warning or "30000" in result.warning


def test_a_placeholder_is_that_of_others_for_the_same_picture() -> None:
    """As the package `blurhash` 1.1.5 tells it, with 4 by 3 components."""
    picture = Image.new("RGB", (40, 30))
    for x, y in product(range(40), range(30)):
        picture.putpixel((x, y), (x * 6, y * 8, x * y % 256))
    small = picture.resize((32, 24), Image.Resampling.NEAREST)
    assert blurhash(small) == "LqG91}2mwtX3l[WBjse?gFfkfTfl"
