"""What is in a file beside its picture: taken out to the last byte, and the picture untouched."""

import io
import json
from base64 import b64decode
from typing import Any

import av
import pytest
from PIL import Image, ImageChops, ImageSequence

from output_samples import PLANTED, SECRET, SIZE, SRGB, exif, gradient, opened, saved, says_secret
from queue_agent.media.signatures import sniff
from queue_agent.outputs.cleaning import Damaged, cleaned, holds_graph, type_of
from queue_agent.outputs.cleaning.mark import MARK
from queue_agent.wire.output import MetadataRule

IMAGES = [
    name
    for name, (_, media_type) in PLANTED.items()
    if media_type.startswith("image/") and name != "svg"
]
SOURCE = b"http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
UNMARKED = {"webm", "avi", "wav", "flac", "mp3", "opus", "glb", "bigtiff", "icon", "svg"}
SOUNDS = ["wav", "flac", "mp3", "opus", "m4a"]


def frames(data: bytes) -> list[tuple[bytes, object]]:
    """Every frame's pixels, and how long each is shown."""
    with Image.open(io.BytesIO(data)) as image:
        return [
            (frame.convert("RGBA").tobytes(), frame.info.get("duration"))
            for frame in ImageSequence.Iterator(image)
        ]


@pytest.mark.parametrize("rule", ["strip", "minimal"])
@pytest.mark.parametrize("name", PLANTED)
def test_no_planted_word_is_left(name: str, rule: MetadataRule) -> None:
    data, media_type = PLANTED[name]
    assert says_secret(data)
    assert not says_secret(cleaned(data, media_type, rule))


def test_what_follows_a_gif_goes_too() -> None:
    data = PLANTED["gif"][0] + SECRET.encode()
    assert SECRET.encode() not in cleaned(data, "image/gif", "strip")
    assert cleaned(data, "image/gif", "keep").endswith(SECRET.encode())


@pytest.mark.parametrize("rule", ["keep", "strip", "minimal"])
@pytest.mark.parametrize("name", IMAGES)
def test_no_pixel_changes_and_no_frame(name: str, rule: MetadataRule) -> None:
    data, media_type = PLANTED[name]
    assert frames(cleaned(data, media_type, rule)) == frames(data)


def decoded(data: bytes) -> list[bytes]:
    """All that is heard, or seen of a video."""
    file: Any = av.open(io.BytesIO(data))
    with file as container:
        return [bytes(frame.planes[0]) for frame in container.decode() if frame.planes]


@pytest.mark.parametrize("rule", ["strip", "minimal"])
@pytest.mark.parametrize("name", [*SOUNDS, "avi"])
def test_no_sound_changes_and_no_frame_of_a_video(name: str, rule: MetadataRule) -> None:
    data, media_type = PLANTED[name]
    found = cleaned(data, media_type, rule)
    assert sniff(found) == media_type
    assert decoded(found) == decoded(data) != []


@pytest.mark.parametrize("name", SOUNDS)
def test_nothing_is_said_of_a_sound_any_more(name: str) -> None:
    data, media_type = PLANTED[name]
    with av.open(io.BytesIO(cleaned(data, media_type, "strip"))) as container:
        told = {**container.metadata, **container.streams.audio[0].metadata}
    assert told.keys() <= {"encoder", "language", "handler_name", "vendor_id", *BRANDS}


BRANDS = {"major_brand", "minor_version", "compatible_brands"}


def test_every_tag_before_and_after_an_mp3_goes() -> None:
    data, media_type = PLANTED["mp3"]
    secret = SECRET.encode()
    old = b"TAG" + secret.ljust(125, b"\0")
    ape = secret + b"APETAGEX" + bytes(4) + (len(secret) + 32).to_bytes(4, "little") + bytes(16)
    lyrics = b"LYRICSBEGIN" + secret + b"%06d" % (11 + len(secret)) + b"LYRICS200"
    first = b"ID3\4\0\0\0\0\0" + bytes((len(secret),)) + secret
    found = cleaned(first + data + lyrics + ape + old, media_type, "strip")
    assert found == cleaned(data, media_type, "strip")


def test_a_wav_whose_writer_could_not_go_back_is_heard_to_its_end() -> None:
    data = bytearray(PLANTED["wav"][0])
    end = data.index(b"odd ")
    place = data.index(b"data") + 4
    data[4:8] = data[place : place + 4] = b"\xff" * 4
    found = cleaned(bytes(data[:end]), "audio/x-wav", "strip")
    assert decoded(found) == decoded(bytes(data[:end]))
    assert not says_secret(found)


def test_a_scene_keeps_what_is_shown_of_it() -> None:
    data = cleaned(PLANTED["glb"][0], "model/gltf-binary", "strip")
    size = int.from_bytes(data[12:16], "little")
    scene, binary = json.loads(data[20 : 20 + size]), data[28 + size :]
    assert int.from_bytes(data[8:12], "little") == len(data)
    assert scene["asset"] == {"version": "2.0"}
    assert scene["extensionsUsed"] == ["KHR_materials_variants"]
    assert scene["extensions"] == {"KHR_materials_variants": {"variants": [{"name": "red"}]}}
    points, texture = scene["bufferViews"][1], scene["bufferViews"][0]
    assert binary[points["byteOffset"] :][:36] == bytes(range(36))
    for image in (binary[: texture["byteLength"]], b64decode(scene["images"][1]["uri"][23:])):
        assert opened(image).size == SIZE


@pytest.mark.parametrize(
    "scene",
    [
        b"[]",
        b"{",
        b'{"a":' * 200,
        b'{"images": [{"bufferView": 0}], "bufferViews": [{"buffer": 0, "byteLength": 9}]}',
    ],
)
def test_a_scene_that_cannot_be_followed_is_damaged(scene: bytes) -> None:
    head = b"glTF\2\0\0\0" + (20 + len(scene)).to_bytes(4, "little")
    with pytest.raises(Damaged):
        cleaned(head + len(scene).to_bytes(4, "little") + b"JSON" + scene, MESH, "strip")


MESH = "model/gltf-binary"


@pytest.mark.parametrize("name", PLANTED)
def test_the_mark_is_there_unless_all_is_stripped(name: str) -> None:
    data, media_type = PLANTED[name]
    found = {rule: cleaned(data, media_type, rule).count(SOURCE) for rule in RULES}
    marks = 0 if name in UNMARKED else 1
    assert found == {"keep": marks, "strip": 0, "minimal": marks}


RULES: tuple[MetadataRule, ...] = ("keep", "strip", "minimal")


@pytest.mark.parametrize("name", PLANTED)
def test_a_file_that_keeps_all_keeps_all(name: str) -> None:
    data, media_type = PLANTED[name]
    kept = cleaned(data, media_type, "keep")
    left = 1 if name == "tiff" else 0  # the XMP as it was, where nothing leads to it any more
    assert kept.count(SECRET.encode()) == data.count(SECRET.encode()) + left
    assert cleaned(kept, media_type, "keep") == kept, "it is marked once"


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "AVIF"])
def test_a_reader_of_xmp_finds_the_mark(kind: str) -> None:
    data = saved(gradient("RGB"), kind)
    marked = cleaned(data, f"image/{kind.lower()}", "minimal")
    if kind == "AVIF":  # in a box of its own, where Pillow does not look
        assert marked.endswith(MARK)
    else:
        assert opened(marked).info["xmp"].strip() == MARK.strip()


PAGES = [gradient("L"), gradient("RGB"), gradient("CMYK")]
TIFFS = {
    b"II": saved(PAGES[0], "TIFF", save_all=True, append_images=PAGES[1:]),
    b"MM": saved(
        Image.frombytes("I;16B", SIZE, bytes(range(256)) * (SIZE[0] * SIZE[1] // 128)), "TIFF"
    ),
}


@pytest.mark.parametrize("order", TIFFS)
@pytest.mark.parametrize("rule", ["keep", "minimal"])
def test_a_tiff_of_either_order_and_of_several_pages_is_marked_once(
    order: bytes, rule: MetadataRule
) -> None:
    data = TIFFS[order]
    assert data.startswith(order)
    marked = cleaned(data, "image/tiff", rule)
    assert (marked.startswith(order), marked.count(SOURCE)) == (True, 1)
    before, after = opened(data), opened(marked)
    assert after.n_frames == before.n_frames  # type: ignore[attr-defined]
    for page in range(before.n_frames):  # type: ignore[attr-defined]
        before.seek(page)
        after.seek(page)
        assert (after.mode, after.tobytes()) == (before.mode, before.tobytes())
    after.seek(0)
    assert SOURCE.decode() in str(after.getxmp())
    assert cleaned(marked, "image/tiff", "keep") == marked


@pytest.mark.parametrize("mode", ["RGB", "L", "I;16", "CMYK", "1"])
def test_a_bigtiff_keeps_its_picture_alone(mode: str) -> None:
    tags = {270: SECRET, 65000: SECRET}
    data = saved(gradient(mode, (70, 300)), "TIFF", big_tiff=True, tiffinfo=tags)
    assert data[2] == 43
    assert sniff(data) == "image/tiff"
    assert cleaned(data, "image/tiff", "keep") == data
    found = cleaned(data, "image/tiff", "strip")
    assert (says_secret(data), says_secret(found)) == (True, False)
    before, after = opened(data), opened(found)
    assert (after.mode, after.tobytes()) == (before.mode, before.tobytes())
    assert found[:16] == data[:16]


@pytest.mark.parametrize("place", [8, 16])
@pytest.mark.parametrize("number", [2**63, 2**40, 10**4])
def test_a_bigtiff_that_leads_nowhere_is_damaged(place: int, number: int) -> None:
    data = bytearray(saved(gradient("L"), "TIFF", big_tiff=True))
    start = place if place == 8 else int.from_bytes(data[8:16], "little")
    data[start : start + 8] = number.to_bytes(8, "little")
    with pytest.raises(Damaged):
        cleaned(bytes(data), "image/tiff", "strip")


def icon(*bodies: bytes) -> bytes:
    place, entries = 6 + 16 * len(bodies), b""
    for body in bodies:
        entries += b"\x30\x20\0\0\1\0\x20\0"
        entries += len(body).to_bytes(4, "little") + place.to_bytes(4, "little")
        place += len(body)
    return b"\0\0\1\0" + len(bodies).to_bytes(2, "little") + entries + b"".join(bodies)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA"])
def test_a_bitmap_in_an_icon_stays_as_it_is_and_ends_with_its_mask(mode: str) -> None:
    data = saved(gradient(mode, (32, 32)), "ICO", bitmap_format="bmp", sizes=[(32, 32)])
    found = cleaned(icon(data[22:] + SECRET.encode()), "image/x-icon", "strip")
    assert found == icon(data[22:])


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x28\0\0\0",
        b"\x0c\0\0\0" + bytes(90),
        b"\x28\0\0\0" + b"\xff" * 60,
        b"\x28\0\0\0" + b"\xff" * 10 + b"\x20\0" + bytes(60),
        b"\x89PNG\r\n\x1a\n",
    ],
    ids=["empty", "cut off", "another header", "compressed", "huge", "no png"],
)
def test_an_icon_that_cannot_be_followed_is_damaged(body: bytes) -> None:
    with pytest.raises(Damaged):
        cleaned(icon(body), "image/x-icon", "strip")


def test_what_an_icon_says_in_bytes_that_are_kept_free_goes() -> None:
    data = icon(saved(gradient("RGB"), "PNG"))
    assert cleaned(data[:9] + b"!" + data[10:], "image/x-icon", "strip") == icon(data[22:])


def test_an_icon_whose_pictures_are_one_does_not_grow() -> None:
    picture = saved(gradient("RGB"), "PNG")
    data = icon(picture, b"", b"")
    entry = data[6:22]
    with pytest.raises(Damaged):
        cleaned(data[:6] + entry * 3 + data[54:], "image/x-icon", "strip")


SVG = "image/svg+xml"


def drawn(inner: str, **attributes: str) -> bytes:
    told = "".join(f' {name}="{value}"' for name, value in attributes.items())
    return f'<svg xmlns="http://www.w3.org/2000/svg"{told}>{inner}</svg>'.encode()


def stripped(data: bytes) -> str:
    found = cleaned(data, SVG, "strip").decode()
    begin = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    assert found.startswith(begin)
    assert cleaned(found.encode(), SVG, "strip").decode() == found, "it is clean at once"
    return found.removeprefix(begin)


def test_a_drawing_keeps_what_is_drawn() -> None:
    found = cleaned(PLANTED["svg"][0], SVG, "strip").decode()
    for part in (
        'width="48" height="32"', '<linearGradient id="paint">',
        "<style>.a{fill:url(#paint)}</style>",
        '<rect class="a" width="40" height="20" stroke="black">', 'style="fill:red"',
        "a &lt;b&gt; &amp; <tspan>c</tspan>",
    ):  # fmt: skip
        assert part in found
    texture = found.partition("data:image/png;base64,")[2].partition('"')[0]
    assert opened(b64decode(texture)).size == SIZE
    assert not says_secret(b64decode(texture))


@pytest.mark.parametrize(
    ("inner", "left"),
    [
        ("<g onclick='x()'/>", "<g></g>"),
        ("<script>x()</script><g/>", "<g></g>"),
        ("<a href='javascript:x()'><g/></a>", ""),
        ("<use href='#b'/><g id='b'/>", '<use xlink:href="#b"></use><g id="b"></g>'),
        ("<g id='c'/>", "<g></g>"),
        ("<image href='file:///etc/passwd'/>", "<image></image>"),
        ("<image><set attributeName='href' to='https://a/'/></image>", "<image></image>"),
        ("<use><animate attributeName='xlink:href' to='#b'><g/></animate></use>", "<use></use>"),
        (
            "<g><animate attributeName='fill' to='red'/></g>",
            '<g><animate attributeName="fill" to="red"></animate></g>',
        ),
        ("<g style='fill:\\75rl(http://a/)'/>", '<g style=""></g>'),
        ("<g fill='URL( http://a/ )'/>", "<g></g>"),
        ("<g><![CDATA[words]]></g>words", "<g></g>"),
        ("<text>&lt;script&gt;</text>", "<text>&lt;script&gt;</text>"),
        ("<style>a{b:c}@x{d{fill:e}}f{fill:g</style>", "<style>a{}</style>"),
        ("<style>&lt;/style>&lt;script>x()&lt;/script></style>", "<style></style>"),
        ("<SCRIPT/><Text>a</Text>", ""),
    ],
)  # fmt: skip
def test_of_a_drawing_nothing_is_left_that_acts_or_leads_elsewhere(inner: str, left: str) -> None:
    assert stripped(drawn(inner)) == f">{left}</svg>"


@pytest.mark.parametrize(
    "links", ["href='#a' xlink:href='#b'", "xlink:href='#b' href='#a'"], ids=["first", "last"]
)
def test_of_two_links_of_a_drawing_the_newer_kind_stays(links: str) -> None:
    space = {"xmlns:xlink": "http://www.w3.org/1999/xlink"}
    assert stripped(drawn(f"<use {links}/>", **space)) == '><use xlink:href="#a"></use></svg>'


@pytest.mark.parametrize(
    "data",
    [
        b"", b"<svg", b"<html xmlns='http://www.w3.org/2000/svg'/>", b"\xff\xfe<\0s\0v\0g\0",
        b"<?xml version='1.0' encoding='nonsense'?><svg/>", drawn("<g>"), drawn("&unknown;"),
        b'<!DOCTYPE svg [<!ENTITY a "b">]>' + drawn("&a;"),
        b'<!DOCTYPE svg [<!ENTITY a SYSTEM "file:///etc/passwd">]>' + drawn("<text>&a;</text>"),
        drawn("<image href='data:image/png;base64,AAAA'/>"), drawn("\0"),
        drawn("<image href='data:image/png;base64,*'/>"),
    ],
)  # fmt: skip
def test_a_drawing_that_cannot_be_followed_is_damaged(data: bytes) -> None:
    with pytest.raises(Damaged):
        cleaned(data, SVG, "strip")


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (drawn(""), SVG),
        (b"\xef\xbb\xbf<?xml version='1.0'?>\n<!-- a --><!DOCTYPE svg PUBLIC 'W'>\n<svg>", SVG),
        (b"<x:svg xmlns:x='a'>", SVG),
        (b"<svgs>", "application/octet-stream"),
        (b"an <svg>", "application/octet-stream"),
        (b"<html><svg></html>", "application/octet-stream"),
        (b"<!-- <svg> -->" * 500, "application/octet-stream"),
        (b"<" * 9000, "application/octet-stream"),
        (saved(gradient("RGB"), "PNG"), "image/png"),
    ],
)  # fmt: skip
def test_a_drawing_is_known_by_how_it_begins(data: bytes, expected: str) -> None:
    assert type_of(data[:8192]) == expected


def test_a_mark_joins_what_a_tiff_says_already() -> None:
    title = (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/">'
        b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description '
        b'xmlns:dc="http://purl.org/dc/elements/1.1/" dc:title="A title"/></rdf:RDF></x:xmpmeta>'
    )
    data = saved(gradient("RGB"), "TIFF", tiffinfo={700: title})
    kept = cleaned(data, "image/tiff", "keep")
    assert "A title" in (found := str(opened(kept).getxmp()))
    assert SOURCE.decode() in found
    assert frames(kept) == frames(data)


@pytest.mark.parametrize("name", ["png", "jpeg", "webp"])
def test_a_mark_joins_what_xmp_says_already(name: str) -> None:
    data, media_type = PLANTED[name]
    xmp = opened(cleaned(data, media_type, "keep")).getxmp()
    described = xmp["xmpmeta"]["RDF"]["Description"]
    assert {*described[0], *described[1]} >= {"title", "DigitalSourceType"}


@pytest.mark.parametrize(("kind", "options"), [("JPEG", {}), ("WEBP", {}), ("PNG", {})])
@pytest.mark.parametrize("rule", ["strip", "minimal"])
def test_which_side_is_up_stays(kind: str, options: dict[str, int], rule: MetadataRule) -> None:
    data = saved(gradient("RGB"), kind, exif=exif(orientation=6), **options)
    kept = cleaned(data, f"image/{kind.lower()}", rule)
    assert not says_secret(kept)
    assert dict(opened(kept).getexif()) == {0x0112: 6}


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "PNG", "TIFF"])
def test_a_colour_profile_stays(kind: str) -> None:
    data = saved(gradient("RGB"), kind, icc_profile=SRGB)
    assert opened(cleaned(data, f"image/{kind.lower()}", "strip")).info["icc_profile"] == SRGB


@pytest.mark.parametrize(("kind", "mode"), [
    ("PNG", "I;16"), ("PNG", "P"), ("PNG", "LA"), ("PNG", "1"), ("TIFF", "I;16"), ("TIFF", "CMYK"),
    ("TIFF", "P"), ("JPEG", "CMYK"), ("JPEG", "L"), ("WEBP", "RGBA"), ("GIF", "P"),
])  # fmt: skip
@pytest.mark.parametrize("rule", RULES)
def test_every_mode_comes_through_as_it_is(kind: str, mode: str, rule: MetadataRule) -> None:
    data = saved(gradient(mode), kind)
    before, after = opened(data), opened(cleaned(data, f"image/{kind.lower()}", rule))
    assert (after.mode, after.size) == (before.mode, SIZE)
    assert after.tobytes() == before.tobytes()


def test_a_webp_without_a_header_gets_one_that_is_true() -> None:
    for options in ({"quality": 80}, {"lossless": True}):
        for mode in ("RGB", "RGBA"):
            data = saved(gradient(mode), "WEBP", exact=True, **options)
            marked = opened(cleaned(data, "image/webp", "minimal"))
            assert not ImageChops.difference(marked, opened(data)).getbbox(alpha_only=False)


@pytest.mark.parametrize("name", [
    "png", "apng", "jpeg", "webp", "avif", "mp4", "webm", *SOUNDS, "glb",
])  # fmt: skip
def test_a_workflow_is_found_where_comfyui_writes_it(name: str) -> None:
    data, media_type = PLANTED[name]
    assert holds_graph(data, media_type)
    assert not holds_graph(cleaned(data, media_type, "strip"), media_type)


@pytest.mark.parametrize("name", PLANTED)
@pytest.mark.parametrize("share", [0.05, 0.5, 0.9])
def test_a_file_that_is_cut_off_is_damaged_or_clean(name: str, share: float) -> None:
    data, media_type = PLANTED[name]
    try:
        rest = cleaned(data[: int(len(data) * share)], media_type, "strip")
    except Damaged:
        return
    assert not says_secret(rest)
