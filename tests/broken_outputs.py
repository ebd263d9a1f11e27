"""Outputs as a runtime hands them over when something went wrong on the way."""

from media_files import IMAGES, glb, image, wav, webp_of
from queue_agent.testing import sample_png

PNG = sample_png(96, 64)


def _mp4() -> bytes:
    """ISO/IEC 14496-12, 4.3, 8.1 and 8.2: a file type, media data and the movie behind them."""
    boxes = ((b"ftyp", b"isom\0\0\2\0isom"), (b"mdat", bytes(2000)), (b"moov", bytes(100)))
    return b"".join((8 + len(data)).to_bytes(4) + name + data for name, data in boxes)


def _webm() -> bytes:
    """RFC 8794, 6.2: a header, and a segment that tells its size."""
    header = b"\x42\x82\x84webm"
    segment = b"\x18\x53\x80\x67" + (0x4000 | 900).to_bytes(2) + bytes(900)
    return b"\x1a\x45\xdf\xa3" + bytes([0x80 | len(header)]) + header + segment


def ply(form: str = "binary_little_endian", count: int = 40) -> bytes:
    """The Stanford polygon file format: points with three coordinates and a colour."""
    names = [f"property float {axis}\n" for axis in "xyz"] + ["property uchar red\n"]
    header = f"ply\nformat {form} 1.0\nelement vertex {count}\n{''.join(names)}end_header\n"
    body = bytes(13) * 40 if form != "ascii" else b"0.5 0.25 1 200\n" * 40
    return header.encode() + body


def _without(data: bytes, start: int, stop: int) -> bytes:
    return data[:start] + data[stop:]


def _zeroed(data: bytes, start: int, length: int) -> bytes:
    return data[:start] + bytes(length) + data[start + length :]


def _with_bit_flipped(data: bytes, place: int) -> bytes:
    changed = bytearray(data)
    changed[place] ^= 0x10
    return bytes(changed)


WHOLE: dict[str, tuple[bytes, str]] = {
    **IMAGES,
    "mp4": (_mp4(), "video/mp4"),
    "webm": (_webm(), "video/webm"),
    "glb": (glb(), "model/gltf-binary"),
    "ply": (ply(), "model/ply"),
    "ply in text": (ply("ascii")[:-1], "model/ply"),
    "wav": (wav(), "audio/x-wav"),
    "text": (b"a lighthouse", "text/plain"),
    "an empty vector image": (b"<svg/>", "image/svg+xml"),
}

BROKEN_OUTPUTS: dict[str, tuple[bytes, str]] = {
    "half a png": (PNG[: len(PNG) // 2], "image/png"),
    "a png's signature": (PNG[:8], "image/png"),
    "a png that lacks its last byte": (PNG[:-1], "image/png"),
    "a png without an end": (PNG[:-12], "image/png"),
    "a png without pixels": (PNG[:33] + PNG[-12:], "image/png"),
    "a png with a hole": (_without(PNG, 60, 80), "image/png"),
    "a png of which 20 bytes are zeros": (_zeroed(PNG, 60, 20), "image/png"),
    "a png with another bit": (_with_bit_flipped(PNG, len(PNG) - 30), "image/png"),
    "a png with a wrong checksum": (_with_bit_flipped(PNG, len(PNG) - 13), "image/png"),
    "a page instead of a png": (b"<html>busy</html>", "image/png"),
    "nothing instead of a png": (b"", "image/png"),
    "nothing instead of a text": (b"", "text/plain"),
    "half a jpeg": (image("JPEG")[: len(image("JPEG")) // 2], "image/jpeg"),
    "half a progressive jpeg": (image("JPEG", progressive=True)[:900], "image/jpeg"),
    "half a webp": (image("WEBP")[: len(image("WEBP")) // 2], "image/webp"),
    "a webp without a frame": (webp_of(8, 8)[:40], "image/webp"),
    "half a gif": (image("GIF", moving=True)[:1500], "image/gif"),
    "half an avif": (image("AVIF")[: len(image("AVIF")) * 3 // 4], "image/avif"),
    "half a bmp": (image("BMP")[:900], "image/bmp"),
    "half an mp4": (_mp4()[:1200], "video/mp4"),
    "an mp4 whose writer never ended": (_mp4()[:-108], "video/mp4"),
    "half a webm": (_webm()[:400], "video/webm"),
    "half a glb": (glb()[:40], "model/gltf-binary"),
    "a ply that lacks its last byte": (ply()[:-1], "model/ply"),
    "a ply of which the half is missing": (ply(count=80), "model/ply"),
    "a ply in text that lacks a line": (ply("ascii", count=41), "model/ply"),
    "a ply's header alone": (ply()[:60], "model/ply"),
    "half a wav": (wav()[:100], "audio/x-wav"),
    "words instead of a glb": (b'{"detail": "busy"}', "model/gltf-binary"),
    "words instead of a webm": (b"null", "video/webm"),
    "words instead of a flac": (b"busy", "audio/x-flac"),
    "words instead of an ogg": (b"busy", "audio/ogg"),
    "words instead of a wav": (b"busy", "audio/x-wav"),
}
