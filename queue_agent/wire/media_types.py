"""Media types and the file name extensions that stand for them, the same on every machine."""

import mimetypes
import posixpath
from typing import Final

__all__ = ["UNKNOWN", "extension", "media_type_by_name"]

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
    "model/gltf-binary": "glb",
    "model/gltf+json": "gltf",
    "model/obj": "obj",
    "model/stl": "stl",
    "model/vnd.usdz+zip": "usdz",
    "application/gzip": "gz",
    "application/json": "json",
    "application/pdf": "pdf",
    "application/zip": "zip",
    "text/plain": "txt",
}
_MEDIA_TYPES: Final = {
    **{extension: media_type for media_type, extension in _EXTENSIONS.items()},
    "jpeg": "image/jpeg",
    "jp2": "image/jpx",
    "mpg": "video/mpeg",
    "tif": "image/tiff",
}

# Python's own list; that of the machine would give an object another key on another machine.
_OTHERS: Final = mimetypes.MimeTypes(filenames=())


def extension(media_type: str) -> str:
    """The file name extension for a media type, without the dot; ``bin`` where there is none."""
    known = _EXTENSIONS.get(media_type)
    return known or (_OTHERS.guess_extension(media_type) or ".bin").removeprefix(".")


def media_type_by_name(filename: str) -> str:
    """The media type that a file's name promises, `UNKNOWN` where it promises none."""
    known = _MEDIA_TYPES.get(posixpath.splitext(filename)[1][1:].lower())
    return known or _OTHERS.guess_type(filename)[0] or UNKNOWN
