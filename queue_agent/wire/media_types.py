"""Media types and the file name extensions that stand for them, the same on every machine."""

import mimetypes
import posixpath
import re
from typing import Final

__all__ = ["UNKNOWN", "extension", "extension_of", "media_type_by_name"]

UNKNOWN: Final = "application/octet-stream"
"""What nobody knows better."""

_EXTENSIONS: Final = {
    "image/apng": "apng",
    "image/avif": "avif",
    "image/bmp": "bmp",
    "image/gif": "gif",
    "image/heic": "heic",
    "image/jpeg": "jpg",
    "image/jpx": "jpx",
    "image/png": "png",
    "image/svg+xml": "svg",
    "image/tiff": "tiff",
    "image/vnd.adobe.photoshop": "psd",
    "image/webp": "webp",
    "image/x-canon-cr2": "cr2",
    "image/x-icon": "ico",
    "video/3gpp": "3gp",
    "video/mp4": "mp4",
    "video/mpeg": "mpeg",
    "video/ogg": "ogv",
    "video/quicktime": "mov",
    "video/webm": "webm",
    "video/x-flv": "flv",
    "video/x-m4v": "m4v",
    "video/x-matroska": "mkv",
    "video/x-ms-wmv": "wmv",
    "video/x-msvideo": "avi",
    "audio/aac": "aac",
    "audio/amr": "amr",
    "audio/midi": "mid",
    "audio/mp4": "m4a",
    "audio/mpeg": "mp3",
    "audio/ogg": "ogg",
    "audio/x-aiff": "aif",
    "audio/x-flac": "flac",
    "audio/x-wav": "wav",
    "model/fbx": "fbx",
    "model/gltf-binary": "glb",
    "model/gltf+json": "gltf",
    "model/obj": "obj",
    "model/ply": "ply",
    "model/splat": "splat",
    "model/stl": "stl",
    "model/vnd.usdz+zip": "usdz",
    "application/gzip": "gz",
    "application/json": "json",
    "application/pdf": "pdf",
    "application/zip": "zip",
    "text/csv": "csv",
    "text/markdown": "md",
    "text/plain": "txt",
}
_OTHER_NAMES: Final = {
    "audio/flac": "flac",
    "audio/mp3": "mp3",
    "audio/opus": "opus",
    "audio/wav": "wav",
    "audio/webm": "weba",
    "audio/x-m4a": "m4a",
    "audio/x-matroska": "mka",
    "image/jpg": "jpg",
    "image/vnd.microsoft.icon": "ico",
    "video/matroska": "mkv",
}
"""Types that servers say and that we never do."""
_MEDIA_TYPES: Final = {
    **{extension: media_type for media_type, extension in _EXTENSIONS.items()},
    "jpeg": "image/jpeg",
    "jp2": "image/jpx",
    "mka": "audio/x-matroska",
    "mpg": "video/mpeg",
    "oga": "audio/ogg",
    "opus": "audio/ogg",
    "tif": "image/tiff",
}

# Python's own list; that of the machine would give an object another key on another machine.
_OTHERS: Final = mimetypes.MimeTypes(filenames=())


_HOLDS_ANYTHING: Final = frozenset({UNKNOWN, "application/gzip", "application/zip"})
"""Types of which a file's own extension tells more."""
_PLAIN_EXTENSION: Final = re.compile(r"[a-z0-9]{1,16}")


def extension(media_type: str, own: str = "") -> str:
    """The file name extension for a media type, without the dot; ``bin`` where there is none.

    `own` is the one that the file came with (see `extension_of`), which stands where the media
    type has none that tells more.
    """
    if own and media_type in _HOLDS_ANYTHING:
        return own
    known = _EXTENSIONS.get(media_type) or _OTHER_NAMES.get(media_type)
    if known is None:
        known = own or _OTHERS.guess_extension(media_type) or "bin"
    return known.removeprefix(".")


def extension_of(filename: str) -> str:
    """The extension of a file's name in small letters, without the dot; empty if it is odd."""
    found = posixpath.splitext(filename)[1][1:].lower()
    return found if _PLAIN_EXTENSION.fullmatch(found) else ""


def media_type_by_name(filename: str) -> str:
    """The media type that a file's name promises, `UNKNOWN` where it promises none.

    It promises no image but those whose bytes can be told from others.
    """
    known = _MEDIA_TYPES.get(posixpath.splitext(filename)[1][1:].lower())
    other = _OTHERS.guess_type(filename)[0] or UNKNOWN
    return known or (UNKNOWN if other.startswith("image/") else other)
