"""Files of every mode and format, with words planted wherever a format has a place for some."""

import io
import json
import zlib
from base64 import b64encode
from collections.abc import Callable
from typing import Any, Final, TypeVar

import av
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo

from queue_agent.outputs import Workers
from video_files import video

T = TypeVar("T")

SECRET: Final = "planted-7f3a"
SIZE: Final = (48, 32)
GRAPH: Final = f'{{"3": {{"class_type": "KSampler", "inputs": {{"text": "{SECRET}"}}}}}}'

SRGB: Final = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


class InlineWorkers(Workers):
    """In this very process, at once."""

    async def do(self, work: Callable[..., T], *args: Any, **_: Any) -> T:
        return work(*args)


def gradient(mode: str, size: tuple[int, int] = SIZE) -> Image.Image:
    """A picture of a mode, of smooth colours, a part of it transparent where that can be."""
    across = Image.linear_gradient("L").rotate(90).resize(size)
    down = Image.linear_gradient("L").resize(size)
    rgb = Image.merge("RGB", (across, down, across.point(lambda value: 255 - value)))
    if mode == "I;16":
        wide = bytearray()
        for value in across.tobytes():
            wide += (value * 257).to_bytes(2, "little")
        return Image.frombytes("I;16", size, bytes(wide))
    if mode in {"RGBA", "LA"}:
        found = rgb.convert("RGBA" if mode == "RGBA" else "LA")
        found.putalpha(down)
        return found
    return rgb.quantize(64) if mode == "P" else rgb.convert(mode)


def transparent_palette() -> Image.Image:
    """Of mode P, with its first colour seen through."""
    found = gradient("P")
    found.info["transparency"] = 0
    return found


def moving(frames: int = 4, size: tuple[int, int] = SIZE) -> list[Image.Image]:
    """Frames of plain colours that no compression changes much."""
    return [
        Image.new("RGB", size, (60 * number, 200 - 40 * number, 90)) for number in range(frames)
    ]


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def saved_moving(kind: str, **options: Any) -> bytes:
    first, *others = moving()
    return saved(
        first, kind, save_all=True, append_images=others, duration=[100, 200, 300, 400], **options
    )


def opened(data: bytes) -> Image.Image:
    found = Image.open(io.BytesIO(data))
    found.load()
    return found


def exif(orientation: int | None = None) -> bytes:
    """Exif that says words, a time and where."""
    made = Image.Exif()
    made[0x010E] = SECRET  # ImageDescription
    made[0x010F] = f"workflow:{GRAPH}"
    made[0x0131] = "sd-queue-agent " + SECRET  # Software
    made[0x0132] = "2026:01:02 03:04:05"
    made.get_ifd(0x8769)[0x9286] = b"UNICODE\0" + SECRET.encode("utf_16_be")
    made.get_ifd(0x8825)[29] = SECRET  # GPSDateStamp
    if orientation:
        made[0x0112] = orientation
    return made.tobytes()


XMP: Final = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
    b'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
    b'xmlns:dc="http://purl.org/dc/elements/1.1/" dc:title="%s"/></rdf:RDF></x:xmpmeta>'
    % SECRET.encode()
)


def chunk(name: bytes, body: bytes) -> bytes:
    return len(body).to_bytes(4) + name + body + zlib.crc32(name + body).to_bytes(4)


def planted_png(image: Image.Image | None = None, **options: Any) -> bytes:
    """Texts of all three kinds, Exif, a time, an unknown chunk, and words after the end."""
    info = PngInfo()
    info.add_text("parameters", f"a cat {SECRET}")
    info.add_text("prompt", GRAPH)
    info.add_itxt("workflow", GRAPH, zip=True)
    info.add_itxt("XML:com.adobe.xmp", XMP.decode())
    data = saved(image or gradient("RGB"), "PNG", pnginfo=info, exif=exif(), **options)
    place = data.index(b"IDAT") - 4
    odd = chunk(b"prIv", SECRET.encode()) + chunk(b"tIME", bytes((7, 234, 1, 2, 3, 4, 5)))
    return data[:place] + odd + data[place:] + SECRET.encode()


def planted_jpeg(image: Image.Image | None = None, **options: Any) -> bytes:
    """A comment, Exif, XMP, other applications' segments, and words after the end."""
    data = saved(
        image or gradient("RGB"), "JPEG", quality=95, exif=exif(), xmp=XMP,
        comment=SECRET.encode(), **options,
    )  # fmt: skip
    body = b"Photoshop 3.0\0" + SECRET.encode()
    segment = b"\xff\xed" + (len(body) + 2).to_bytes(2) + body
    return data[:2] + segment + data[2:] + SECRET.encode()


def planted_webp(image: Image.Image | None = None, **options: Any) -> bytes:
    """Exif, XMP, an unknown chunk, and words after the end."""
    data = saved(image or gradient("RGB"), "WEBP", exif=exif(), xmp=XMP, quality=95, **options)
    body = SECRET.encode()
    odd = b"ODD " + len(body).to_bytes(4, "little") + body
    size = (len(data) + len(odd) - 8).to_bytes(4, "little")
    return data[:4] + size + data[8:] + odd + SECRET.encode()


def planted_avif(image: Image.Image | None = None, **options: Any) -> bytes:
    """Exif and XMP, and a box of nobody's."""
    data = saved(image or gradient("RGB"), "AVIF", exif=exif(), xmp=XMP, quality=95, **options)
    body = SECRET.encode()
    return data + (8 + len(body)).to_bytes(4) + b"free" + body


def planted_gif() -> bytes:
    """A comment, and an application's own block; it moves."""
    data = saved_moving("GIF", comment=SECRET.encode(), loop=2)
    body = SECRET.encode()
    odd = b"\x21\xff\x0bODDODD ODD1" + bytes((len(body),)) + body + b"\0"
    return data[:-1] + odd + b";"


def planted_tiff(image: Image.Image | None = None) -> bytes:
    """Words in tags of many kinds, and between the directories."""
    tags = {270: SECRET, 305: SECRET, 315: SECRET, 700: XMP, 33432: SECRET, 65000: SECRET}
    return saved(image or gradient("RGB"), "TIFF", tiffinfo=tags) + SECRET.encode()


def planted_bigtiff() -> bytes:
    tags = {270: SECRET, 305: SECRET, 700: XMP, 65000: SECRET}
    return saved(gradient("RGB"), "TIFF", tiffinfo=tags, big_tiff=True) + SECRET.encode()


def planted_icon() -> bytes:
    """A PNG that says words, a bitmap with some behind it, and some in between."""
    square = gradient("RGBA", (32, 32))
    secret, bitmap = SECRET.encode(), saved(square, "ICO", bitmap_format="bmp", sizes=[(32, 32)])
    first, second = planted_png(square), bitmap[22:] + secret
    entry, place = bitmap[6:14], 6 + 2 * 16 + len(secret)
    entries = b"".join(
        entry + len(one).to_bytes(4, "little") + start.to_bytes(4, "little")
        for one, start in ((first, place), (second, place + len(first)))
    )
    return b"\0\0\1\0\2\0" + entries + secret + first + second


def planted_svg() -> bytes:
    """What editors and runtimes write beside a drawing, and a PNG within it that says words."""
    png = b64encode(planted_png()).decode()
    return f"""<?xml version="1.0"?><!-- {SECRET} --><!DOCTYPE svg PUBLIC "{SECRET}" "a.dtd">
<?odd {SECRET}?>
<svg:svg xmlns:svg="http://www.w3.org/2000/svg" xmlns:odd="urn:{SECRET}" width="48" height="32"
 xmlns:xlink="http://www.w3.org/1999/xlink" odd:version="{SECRET}" onload="say('{SECRET}')">
<svg:title>{SECRET}</svg:title><svg:desc>{SECRET}</svg:desc>
<svg:metadata><![CDATA[{GRAPH}]]><odd:odd>{SECRET}</odd:odd></svg:metadata>
<svg:script>"{SECRET}"</svg:script><odd:named odd:view="{SECRET}"><svg:g/></odd:named>
<svg:style>/* {SECRET} */ @import "{SECRET}.css"; @media print {{ .x {{ fill: red }} }}
.a {{ fill: url(#paint); --note: {SECRET}; background: url(http://{SECRET}/) }}</svg:style>
<svg:defs><svg:linearGradient id="paint"><svg:stop offset="0" stop-color="teal"/>
</svg:linearGradient></svg:defs>
<svg:g id="{SECRET}" data-prompt="{SECRET}" aria-label="{SECRET}" style="x-{SECRET}: 1; fill: red">
<svg:rect class="a" width="40" height="20" stroke="black" fill="url(http://{SECRET}/#a)"/>
<svg:a xlink:href="http://{SECRET}/"><svg:circle r="3"/></svg:a>
<svg:image width="9" height="9" xlink:href="data:image/png;base64,{png}"/>
<svg:image width="9" height="9" href="http://{SECRET}/a.png"/>
<svg:foreignObject><p xmlns="http://www.w3.org/1999/xhtml">{SECRET}</p></svg:foreignObject>
<svg:text x="1" y="9">a &lt;b&gt; &amp; <svg:tspan>c</svg:tspan></svg:text></svg:g></svg:svg>
<!-- {SECRET} -->""".encode()


def box(name: bytes, body: bytes) -> bytes:
    return (8 + len(body)).to_bytes(4) + name + body


def planted_mp4() -> bytes:
    """User data, metadata, a handler's name, free space and times."""
    times = (3_900_000_000).to_bytes(4) * 2
    secret = SECRET.encode()
    handler = box(b"hdlr", bytes(8) + b"vide" + bytes(12) + secret + b"\0")
    media = box(b"mdia", box(b"mdhd", bytes(4) + times + bytes(16)) + handler)
    track = box(b"trak", box(b"tkhd", bytes(4) + times + bytes(72)) + media)
    udta = box(b"udta", box(b"meta", bytes(4) + box(b"ilst", GRAPH.encode())))
    movie = box(b"moov", box(b"mvhd", bytes(4) + times + bytes(88)) + track + udta)
    return b"".join(
        (
            box(b"ftyp", b"isom\0\0\2\0isommp42"),
            box(b"uuid", bytes(16) + secret),
            movie,
            box(b"free", secret),
            box(b"mdat", b"frames" * 100),
        )
    )


def element(number: bytes, body: bytes) -> bytes:
    return number + (len(body) | 1 << 28).to_bytes(4) + body


def planted_webm() -> bytes:
    """Tags, a title, the names of a writer and of a track, an attachment and a void."""
    secret = SECRET.encode()
    header = element(b"\x1a\x45\xdf\xa3", b"\x42\x82\x84webm")
    info = element(
        b"\x15\x49\xa9\x66",
        element(b"\x2a\xd7\xb1", b"\x0f\x42\x40") + element(b"\x7b\xa9", secret)
        + element(b"\x4d\x80", secret) + element(b"\x57\x41", secret)
        + element(b"\x44\x61", bytes(8)),
    )  # fmt: skip
    track = element(b"\x16\x54\xae\x6b", element(b"\xae", element(b"\x53\x6e", secret)))
    tags = element(b"\x12\x54\xc3\x67", GRAPH.encode())
    attached = element(b"\x19\x41\xa4\x69", secret)
    cluster = element(b"\x1f\x43\xb6\x75", element(b"\xa3", b"frame" * 100))
    void = element(b"\xec", secret)
    return header + element(b"\x18\x53\x80\x67", info + track + tags + attached + void + cluster)


SOUND_TYPES: Final = {
    "wav": ("audio/x-wav", "pcm_s16le", "wav"),
    "flac": ("audio/x-flac", "flac", "flac"),
    "mp3": ("audio/mpeg", "libmp3lame", "mp3"),
    "opus": ("audio/ogg", "libopus", "ogg"),
    "m4a": ("audio/mp4", "aac", "ipod"),
}
"""By a name: the media type, FFmpeg's encoder and its format."""


def planted_sound(name: str) -> bytes:
    """A hum whose title and comments say words, as ComfyUI writes its workflow."""
    _, encoder, form = SOUND_TYPES[name]
    file = io.BytesIO()
    made: Any = av.open(file, "w", format=form)
    with made as container:
        container.metadata.update({"title": SECRET, "comment": f"{GRAPH * 40}", "artist": SECRET})
        stream = container.add_stream(encoder, rate=48_000, layout="mono")
        samples: Any = av.AudioFrame(format="s16", layout="mono", samples=9_600)
        samples.planes[0].update(bytes((number * 37) % 251 for number in range(19_200)))
        samples.sample_rate = 48_000
        fitting: Any = av.AudioResampler(stream.codec_context.format, "mono", 48_000)
        for frame in fitting.resample(samples):
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()


def riff(form: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    body = form + b"".join(
        name + len(of).to_bytes(4, "little") + of + b"\0" * (len(of) % 2) for name, of in chunks
    )
    return b"RIFF" + len(body).to_bytes(4, "little") + body


def planted_wav() -> bytes:
    """Lists of words, a chunk of nobody's, and words after the end."""
    plain, secret = planted_sound("wav"), SECRET.encode()
    start = plain.index(b"fmt ")
    form, sound = plain[start + 8 : start + 24], plain[plain.index(b"data") + 8 :]
    words = b"INFOICMT" + len(GRAPH).to_bytes(4, "little") + GRAPH.encode()
    chunks = ((b"LIST", words), (b"data", sound), (b"odd ", secret), (b"iXML", secret))
    return riff(b"WAVE", (b"fmt ", form), *chunks) + secret


def planted_glb() -> bytes:
    """Applications' own data, names, what made it, and two textures that say words themselves."""
    texture, secret = planted_png(), SECRET.encode()
    size = len(texture) + -len(texture) % 4
    url = f"data:image/jpeg;base64,{b64encode(planted_jpeg()).decode()}"
    scene = {
        "asset": {"version": "2.0", "generator": SECRET, "extras": {"prompt": GRAPH}},
        "scenes": [{"name": SECRET, "nodes": [0], "extras": {"workflow": {"class_type": SECRET}}}],
        "nodes": [{"name": SECRET, "mesh": 0}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "extras": SECRET}]}],
        "accessors": [{"bufferView": 1, "componentType": 5126, "count": 3, "type": "VEC3"}],
        "images": [{"bufferView": 0, "mimeType": "image/png", "name": SECRET}, {"uri": url}],
        "buffers": [{"byteLength": size + 36}],
        "bufferViews": [
            {"buffer": 0, "byteLength": len(texture)},
            {"buffer": 0, "byteOffset": size, "byteLength": 36},
        ],
        "extensionsUsed": ["KHR_xmp_json_ld", "KHR_materials_variants", "SHOP_words"],
        "extensions": {
            "KHR_xmp_json_ld": {"packets": [{"dc:title": SECRET}]},
            "KHR_materials_variants": {"variants": [{"name": "red"}]},
            "SHOP_words": {"says": SECRET},
        },
    }
    text = json.dumps(scene).encode()
    text += b" " * (-len(text) % 4)
    binary = texture.ljust(size, b"\0") + bytes(range(36))
    chunks = b"".join(
        len(body).to_bytes(4, "little") + name + body
        for name, body in ((b"JSON", text), (b"BIN\0", binary), (b"ODD ", secret + b"\0" * 4))
    )
    return b"glTF\2\0\0\0" + (12 + len(chunks)).to_bytes(4, "little") + chunks


def planted_avi() -> bytes:
    """What FFmpeg says of itself, and words in the lists."""
    data, secret = video("avi"), b"LIST\x1c\0\0\0INFOINAM\x10\0\0\0"
    secret += SECRET.encode().ljust(16, b"\0")
    size = len(data) + len(secret) - 8
    return b"RIFF" + size.to_bytes(4, "little") + data[8:] + secret + GRAPH.encode()


PLANTED: Final[dict[str, tuple[bytes, str]]] = {
    "png": (planted_png(), "image/png"),
    "apng": (planted_png(moving()[0], save_all=True, append_images=moving()[1:]), "image/apng"),
    "jpeg": (planted_jpeg(), "image/jpeg"),
    "progressive jpeg": (planted_jpeg(progressive=True), "image/jpeg"),
    "webp": (planted_webp(), "image/webp"),
    "webp that moves": (
        planted_webp(moving()[0], save_all=True, append_images=moving()[1:]), "image/webp",
    ),
    "avif": (planted_avif(), "image/avif"),
    "avif that moves": (
        planted_avif(moving()[0], save_all=True, append_images=moving()[1:]), "image/avif",
    ),
    "gif": (planted_gif(), "image/gif"),
    "tiff": (planted_tiff(), "image/tiff"),
    "bigtiff": (planted_bigtiff(), "image/tiff"),
    "icon": (planted_icon(), "image/x-icon"),
    "svg": (planted_svg(), "image/svg+xml"),
    "mp4": (planted_mp4(), "video/mp4"),
    "webm": (planted_webm(), "video/webm"),
    "avi": (planted_avi(), "video/x-msvideo"),
    "wav": (planted_wav(), "audio/x-wav"),
    "glb": (planted_glb(), "model/gltf-binary"),
    **{
        name: (planted_sound(name), media_type)
        for name, (media_type, _, _) in SOUND_TYPES.items()
        if name != "wav"
    },
}  # fmt: skip
"""By a name of it: the file and its media type."""


def says_secret(data: bytes) -> bool:
    """Whether the planted words can be found in the bytes, plain or as wide letters."""
    wide = (SECRET.encode("utf_16_be"), SECRET.encode("utf_16_le"))
    return any(words in data for words in (SECRET.encode(), b"class_type", b"2026:01:02", *wide))
