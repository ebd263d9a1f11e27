"""Small files of every kind that the project tells apart."""

import functools
import gzip
import io
import json
import random
import struct
import wave
import zipfile
import zlib
from typing import Any

from PIL import Image


@functools.cache
def picture(size: tuple[int, int] = (48, 32)) -> Image.Image:
    """A picture that does not compress to nothing."""
    return Image.effect_noise(size, 80).convert("RGB")


def image(form: str, *, moving: bool = False, **options: Any) -> bytes:
    """The picture as Pillow writes it in that format."""
    file = io.BytesIO()
    if moving:
        options |= {"save_all": True, "append_images": [picture().rotate(90), picture().rotate(9)]}
    picture().save(file, form, **options)
    return file.getvalue()


def iso_media(major: bytes, *compatible: bytes) -> bytes:
    """ISO/IEC 14496-12: a file type box, and another."""
    brands = b"".join(compatible)
    box = struct.pack(">I4s4sI", 16 + len(brands), b"ftyp", major, 512) + brands
    return box + struct.pack(">I4s", 108, b"moov") + bytes(100)


def ebml(document: bytes) -> bytes:
    """RFC 8794: a header as ffmpeg writes it, and the begin of a segment."""
    body = (
        b"\x42\x86\x81\x01\x42\xf7\x81\x01\x42\xf2\x81\x04\x42\xf3\x81\x08"
        b"\x42\x82" + bytes([0x80 | len(document)]) + document + b"\x42\x87\x81\x04\x42\x85\x81\x02"
    )
    header = b"\x1a\x45\xdf\xa3\x01" + len(body).to_bytes(7) + body
    return header + b"\x18\x53\x80\x67\x01" + b"\xff" * 7 + bytes(40)


def ogg(packet: bytes) -> bytes:
    """RFC 3533: a first page with that packet."""
    return b"OggS\0\2" + bytes(20) + b"\1" + bytes([len(packet)]) + packet


def wav() -> bytes:
    """A moment of noise."""
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(b"\0\1" * 100)
    return file.getvalue()


def glb() -> bytes:
    """glTF 2.0, 4.4: a header and a JSON chunk."""
    text = json.dumps({"asset": {"version": "2.0"}}).ljust(32).encode()
    return struct.pack("<4sIIII", b"glTF", 2, 20 + len(text), len(text), 0x4E4F534A) + text


def archive() -> bytes:
    """A zip file with one member."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as members:
        members.writestr("a.txt", "a")
    return file.getvalue()


FRAME = b"\xff\xfb\x90\x64" + bytes(413)
"""One of MPEG 1 layer III, at 128 kbit/s and 44.1 kHz."""

IMAGES = {
    "png": (image("PNG"), "image/png"),
    "apng": (image("PNG", moving=True), "image/apng"),
    "jpeg": (image("JPEG"), "image/jpeg"),
    "jpeg, progressive": (image("JPEG", progressive=True), "image/jpeg"),
    "jpeg, with a thumbnail": (image("JPEG", exif=b"Exif\0\0" + image("JPEG")), "image/jpeg"),
    "webp": (image("WEBP"), "image/webp"),
    "webp, lossless": (image("WEBP", lossless=True), "image/webp"),
    "webp, moving": (image("WEBP", moving=True), "image/webp"),
    "gif": (image("GIF"), "image/gif"),
    "gif, moving": (image("GIF", moving=True), "image/gif"),
    "bmp": (image("BMP"), "image/bmp"),
    "tiff": (image("TIFF"), "image/tiff"),
    "tiff, packed": (image("TIFF", compression="tiff_lzw"), "image/tiff"),
    "tiff, several": (image("TIFF", moving=True), "image/tiff"),
    "avif": (image("AVIF"), "image/avif"),
    "avif, moving": (image("AVIF", moving=True), "image/avif"),
    "jpeg 2000": (image("JPEG2000"), "image/jpx"),
}
"""Those that are decoded."""

OTHERS = {
    "heic": (iso_media(b"heic", b"mif1", b"heic"), "image/heic"),
    "heif": (iso_media(b"mif1", b"mif1", b"heic"), "image/heic"),
    "avif by its brands": (iso_media(b"mif1", b"miaf", b"avif"), "image/avif"),
    "icon": (image("ICO"), "image/x-icon"),
    "canon raw": (b"II*\0\x10\0\0\0CR\2\0" + bytes(60), "image/x-canon-cr2"),
    "photoshop": (b"8BPS\0\1" + bytes(60), "image/vnd.adobe.photoshop"),
    "mp4": (iso_media(b"isom", b"isom", b"iso2", b"avc1", b"mp41"), "video/mp4"),
    "mp4, version 2": (iso_media(b"mp42", b"mp42", b"isom"), "video/mp4"),
    "mp4, fragments": (iso_media(b"iso5", b"iso5", b"dash"), "video/mp4"),
    "quicktime": (iso_media(b"qt  ", b"qt  "), "video/quicktime"),
    "m4v": (iso_media(b"M4V ", b"M4V "), "video/x-m4v"),
    "3gp": (iso_media(b"3gp4", b"3gp4"), "video/3gpp"),
    "webm": (ebml(b"webm"), "video/webm"),
    "matroska": (ebml(b"matroska"), "video/x-matroska"),
    "avi": (b"RIFF\x40\0\0\0AVI LIST" + bytes(50), "video/x-msvideo"),
    "mpeg": (b"\0\0\1\xba\x44" + bytes(40), "video/mpeg"),
    "flv": (b"FLV\1\5\0\0\0\x09" + bytes(20), "video/x-flv"),
    "ogg theora": (ogg(b"\x80theora" + bytes(35)), "video/ogg"),
    "ogg opus": (ogg(b"OpusHead" + bytes(11)), "audio/ogg"),
    "ogg vorbis": (ogg(b"\1vorbis" + bytes(23)), "audio/ogg"),
    "mp3": (FRAME * 2, "audio/mpeg"),
    "mp3, tagged": (b"ID3\4\0\0\0\0\0\x0a" + bytes(10) + FRAME, "audio/mpeg"),
    "aac": (b"\xff\xf1\x50\x80" + bytes(60), "audio/aac"),
    "m4a": (iso_media(b"M4A ", b"M4A ", b"isom", b"mp42"), "audio/mp4"),
    "flac": (b"fLaC\0\0\0\x22" + bytes(40), "audio/x-flac"),
    "wav": (wav(), "audio/x-wav"),
    "aiff": (b"FORM\0\0\0\x2eAIFFCOMM" + bytes(40), "audio/x-aiff"),
    "midi": (b"MThd\0\0\0\6" + bytes(8), "audio/midi"),
    "glb": (glb(), "model/gltf-binary"),
    "fbx": (b"Kaydara FBX Binary  \0\x1a\0" + bytes(40), "model/fbx"),
    "ply": (b"ply\nformat ascii 1.0\nend_header\n", "model/ply"),
    "ply, of Windows": (b"ply\r\nformat binary_little_endian 1.0\r\n", "model/ply"),
    "pdf": (b"%PDF-1.7\n%%EOF", "application/pdf"),
    "zip": (archive(), "application/zip"),
    "gzip": (gzip.compress(b"a"), "application/gzip"),
}
"""Those that are recognised, and no more."""

UNKNOWNS = {
    "nothing": b"",
    "one byte": b"\xff",
    "zeros": bytes(200),
    "ones": b"\xff" * 200,
    "text": b"a lighthouse at dusk\n",
    "text that begins like a bitmap": b"BMW and other cars, and some more words",
    "text that begins like a GIF": b"GIF is the name of a format",
    "text that begins like a tag": b"RIFFRAFF in the streets, more and more of it",
    "utf-16": "a lighthouse".encode("utf-16"),
    "json": b'{"asset": {"version": "2.0"}}',
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg"/>',
    "html": b"<!doctype html><html></html>",
    "mesh": b"# a mesh\nv 0 0 0\n",
    "safetensors": struct.pack("<Q", 20) + b'{"__metadata__":{}} ',
    "a png's first half signature": b"\x89PNG",
}
"""Those of which a name says more than the bytes."""


def png_of(width: int, height: int) -> bytes:
    """A PNG whose header claims a size."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _png_chunk(b"IHDR", header) + _png_chunk(b"IDAT", b"")


def _png_chunk(name: bytes, data: bytes) -> bytes:
    checksum = zlib.crc32(name + data)
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", checksum)


def _png_with_text() -> bytes:
    """A text chunk of 40 kB that is 40 MB once unpacked."""
    text = _png_chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(40_000_000), 9))
    return image("PNG")[:33] + text + image("PNG")[33:]


def webp_of(width: int, height: int) -> bytes:
    """A moving WebP of 130 bytes or less whose canvas has a size (RFC 9649, 2.7)."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return name + struct.pack("<I", len(data)) + data

    sides = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    file = io.BytesIO()
    Image.new("RGB", (1, 1)).save(file, "WEBP", lossless=True)
    frame = chunk(b"ANMF", bytes(16) + file.getvalue()[12:])
    begin = chunk(b"VP8X", b"\2\0\0\0" + sides) + chunk(b"ANIM", bytes(6))
    body = b"WEBP" + begin + frame
    return b"RIFF" + struct.pack("<I", len(body)) + body


HUGE = {
    "webp of a huge canvas": webp_of(2**24, 2**24),
    "webp of a wide canvas": webp_of(16_383, 16_383),
    "png of a huge header": png_of(100_000, 100_000),
    "bmp of a huge header": image("BMP")[:18]
    + struct.pack("<ii", 60_000, 60_000)
    + image("BMP")[26:],
    "gif of a huge screen": b"GIF89a\xff\xff\xff\xff" + image("GIF")[10:],
}
"""Small files of images that would not fit into memory."""

BROKEN = {
    "avif of zeros": image("AVIF")[:64] + bytes(200),
    "avif without its picture": image("AVIF")[:150],
    "png of a large text": _png_with_text(),
    "png without its header": image("PNG")[:20],
    "webp without its frame": webp_of(8, 8)[:40],
    "jpeg of two markers": b"\xff\xd8\xff\xe0\0\x10JFIF" + bytes(40),
    "tiff that points behind itself": b"II*\0\xff\xff\xff\x7f" + bytes(40),
    "jpeg 2000 of nothing": image("JPEG2000")[:45],
}
"""Files of which even the header cannot be read."""


def mutated(data: bytes, dice: random.Random) -> bytes:
    """The data with a few bytes changed, left out, doubled or zeroed; often in the header."""
    changed = bytearray(data)
    for _ in range(dice.randint(1, 4)):
        reach = dice.choice([64, 256, len(changed)])
        place = dice.randrange(max(1, min(reach, len(changed))))
        length = dice.choice([1, 1, 2, 4, 30])
        match dice.randrange(5):
            case 0:
                changed[place : place + length] = dice.randbytes(length)
            case 1:
                changed[place : place + length] = b""
            case 2:
                changed[place:place] = changed[place : place + length]
            case 3:
                changed[place : place + length] = dice.choice([b"\0", b"\xff"]) * length
            case _:
                del changed[dice.randrange(len(changed) + 1) :]
    return bytes(changed)
