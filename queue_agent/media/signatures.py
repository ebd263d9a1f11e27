"""Media types told from a file's first bytes.

Signatures are as long as the formats allow: two letters would make an image of any text that
begins with them. What has no signature (text, JSON, SVG, meshes in text) stays unknown, since
there a file's name says more than its bytes.
"""

import re
from collections.abc import Callable
from typing import Final

from queue_agent.wire.media_types import UNKNOWN

HEAD: Final = 8192
"""Bytes in which every known format shows itself."""

_FIXED: Final = (
    (b"GIF87a", "image/gif"),  # https://www.w3.org/Graphics/GIF/spec-gif89a.txt
    (b"GIF89a", "image/gif"),
    (b"\xff\xd8\xff", "image/jpeg"),  # ITU-T T.81, B.1.1: SOI, and the next marker
    (b"II*\0\x10\0\0\0CR", "image/x-canon-cr2"),  # https://exiftool.org/canon_raw.html
    (b"II*\0", "image/tiff"),  # TIFF 6.0, section 2
    (b"MM\0*", "image/tiff"),
    # https://www.awaresystems.be/imaging/tiff/bigtiff.html: version, and the size of places
    (b"II+\0\x08\0\0\0", "image/tiff"),
    (b"MM\0+\0\x08\0\0", "image/tiff"),
    (b"8BPS\0\1", "image/vnd.adobe.photoshop"),  # Adobe Photoshop File Formats Specification
    (b"fLaC", "audio/x-flac"),  # RFC 9639, section 6
    (b"ID3", "audio/mpeg"),  # https://id3.org/id3v2.4.0-structure
    (b"MThd\0\0\0\6", "audio/midi"),  # Standard MIDI Files 1.0
    (b"#!AMR", "audio/amr"),  # RFC 4867, section 5
    (b"FLV\1", "video/x-flv"),  # Adobe Flash Video File Format Specification 10.1, E.2
    # Advanced Systems Format, section 10.1: the header object's GUID
    (bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c"), "video/x-ms-wmv"),
    # glTF 2.0, section 4.4.2: magic and version
    (b"glTF\2\0\0\0", "model/gltf-binary"),
    # https://docs.blender.org/manual: the header that every binary FBX has
    (b"Kaydara FBX Binary  \0", "model/fbx"),
    # The Stanford polygon file format: its first line, and the second's first word
    (b"ply\nformat ", "model/ply"),
    (b"ply\r\nformat ", "model/ply"),
    (b"%PDF-", "application/pdf"),  # ISO 32000-1, 7.5.2
    (b"PK\3\4", "application/zip"),  # APPNOTE.TXT, 4.3.7
    (b"\x1f\x8b\x08", "application/gzip"),  # RFC 1952, section 2.3
)

_RIFF: Final = {  # Multimedia Programming Interface and Data Specifications 1.0
    b"AVI ": "video/x-msvideo",
    b"WAVE": "audio/x-wav",
    b"WEBP": "image/webp",  # RFC 9649, section 2.4
}

_BRANDS: Final = {  # ISO/IEC 14496-12, 4.3; https://mp4ra.org/registered-types/brands
    b"jp2 ": "image/jpx",
    b"jpx ": "image/jpx",
    b"avif": "image/avif",
    b"avis": "image/avif",
    b"heic": "image/heic",
    b"heix": "image/heic",
    b"hevc": "image/heic",
    b"M4A ": "audio/mp4",
    b"M4B ": "audio/mp4",
    b"qt  ": "video/quicktime",
}
_ANY_IMAGE: Final = frozenset({b"mif1", b"msf1"})
"""Major brands that leave the format to the compatible ones (ISO/IEC 23008-12, 10.2)."""
_MP4: Final = frozenset(
    {b"isom", b"mp41", b"mp42", b"avc1", b"dash", *(b"iso%d" % number for number in range(2, 10))}
)
_BMP_HEADERS: Final = frozenset({12, 16, 40, 52, 56, 64, 108, 124})
"""https://learn.microsoft.com/windows/win32/gdi/bitmap-header-types"""
_EBML: Final = re.compile(rb"\x1a\x45\xdf\xa3.*?\x42\x82.{1,8}?(webm|matroska)", re.DOTALL)
"""RFC 8794, section 11.2: an EBML header and its DocType."""


def sniff(head: bytes) -> str:
    """The media type of a file that begins so, `UNKNOWN` where none is recognised.

    Not more than the first `HEAD` bytes are looked at.
    """
    head = head[:HEAD]
    for signature, media_type in _FIXED:
        if head.startswith(signature):
            return media_type
    return next(filter(None, (look(head) for look in _LOOKS)), UNKNOWN)


def _png(head: bytes) -> str | None:
    """https://www.w3.org/TR/png-3/#5DataRep: an animation's acTL stands before the first IDAT."""
    if not head.startswith(b"\x89PNG\r\n\x1a\n"):
        return None
    place = 8
    while (name := head[place + 4 : place + 8]) not in {b"", b"IDAT", b"IEND"}:
        if name == b"acTL":
            return "image/apng"
        place += 12 + int.from_bytes(head[place : place + 4])
    return "image/png"


def _riff(head: bytes) -> str | None:
    return _RIFF.get(head[8:12]) if head.startswith(b"RIFF") else None


def _iso_media(head: bytes) -> str | None:
    """By the brands of the first box; JPEG 2000 has its own signature before (15444-1, I.5)."""
    if head.startswith(b"\0\0\0\x0cjP  \r\n\x87\n"):
        head = head[12:]
    if head[4:8] != b"ftyp":
        return None
    major, end = head[8:12], int.from_bytes(head[:4])
    compatible = [head[place : place + 4] for place in range(16, min(end, len(head)), 4)]
    if major in _BRANDS:
        return _BRANDS[major]
    if major in _ANY_IMAGE:
        return next((_BRANDS[brand] for brand in compatible if brand in _BRANDS), None)
    if not _MP4.isdisjoint((major, *compatible)):
        return "video/mp4"
    if major.startswith((b"3gp", b"3g2")):
        return "video/3gpp"
    return "video/x-m4v" if major.startswith(b"M4V") else None


def _matroska(head: bytes) -> str | None:
    found = _EBML.match(head)
    return {b"webm": "video/webm", b"matroska": "video/x-matroska"}[found[1]] if found else None


def _ogg(head: bytes) -> str | None:
    """RFC 3533, section 6: the first packet, after a page header of 28 bytes, names the codec."""
    if not head.startswith(b"OggS\0"):
        return None
    return "video/ogg" if head[28:35] == b"\x80theora" else "audio/ogg"


def _mpeg(head: bytes) -> str | None:
    """Streams without a container, whose first frame header is checked (ISO/IEC 11172-3, 13818)."""
    if head.startswith(b"\0\0\1") and head[3:4] in {b"\xba", b"\xb3"}:
        return "video/mpeg"
    if head[:1] != b"\xff" or len(head) < 4:
        return None
    if head[1] in {0xF1, 0xF9}:
        return "audio/aac"
    if head[1] in {0xF2, 0xF3, 0xFA, 0xFB}:
        bitrate, sampling = head[2] >> 4, head[2] >> 2 & 3
        return "audio/mpeg" if bitrate not in {0, 15} and sampling != 3 else None
    return None


def _aiff(head: bytes) -> str | None:
    """Audio Interchange File Format 1.3."""
    is_aiff = head.startswith(b"FORM") and head[8:12] in {b"AIFF", b"AIFC"}
    return "audio/x-aiff" if is_aiff else None


def _windows(head: bytes) -> str | None:
    """Bitmaps by the size of their second header, icons by what they say of their first image."""
    if head.startswith(b"BM") and int.from_bytes(head[14:18], "little") in _BMP_HEADERS:
        return "image/bmp"
    is_icon = head.startswith(b"\0\0\1\0") and head[4:6] != b"\0\0" and head[9:10] == b"\0"
    return "image/x-icon" if is_icon else None


_LOOKS: Final[tuple[Callable[[bytes], str | None], ...]] = (
    _png, _riff, _iso_media, _matroska, _ogg, _mpeg, _aiff, _windows,
)  # fmt: skip
