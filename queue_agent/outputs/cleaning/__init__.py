"""What is in a file beside its picture or sound: kept, reduced to a mark, or taken out.

Containers are rewritten, pixels never: what the decoder is given stays as it was. What is not
known to be needed for the picture goes, so that what nobody thought of goes, too.
"""

from collections.abc import Callable
from mmap import mmap
from typing import Final

from queue_agent.media.signatures import HEAD, sniff
from queue_agent.outputs.cleaning import (
    flac,
    gif,
    gltf,
    icon,
    id3,
    iso_media,
    jpeg,
    matroska,
    ogg,
    png,
    riff,
    svg,
    tiff,
    webp,
)
from queue_agent.outputs.cleaning.buffers import Buffer, by_blanking
from queue_agent.outputs.cleaning.damage import Damaged
from queue_agent.wire.media_types import UNKNOWN
from queue_agent.wire.output import MetadataRule

__all__ = ["IN_PLACE", "Damaged", "cleaned", "holds_graph", "is_cleaned", "tail", "type_of"]


def type_of(head: bytes) -> str:
    """What a file is that begins so, of those that show themselves and those that are cleaned."""
    found = sniff(head)
    return svg.MEDIA_TYPE if found == UNKNOWN and svg.is_svg(head) else found


def _within(data: bytes) -> bytes:
    """A picture within a picture, without what stands beside it."""
    media_type = type_of(data[:HEAD])
    if not media_type.startswith("image/") or media_type not in _CLEANERS:
        raise Damaged(f"holds a picture ({media_type}) of which nobody here knows what else it is")
    return cleaned(data, media_type, "strip")


_CLEANERS: Final[dict[str, Callable[[bytes, MetadataRule], bytes]]] = {
    "audio/mp4": iso_media.cleaned,
    "audio/mpeg": id3.cleaned,
    "audio/ogg": ogg.cleaned,
    "audio/x-flac": flac.cleaned,
    "audio/x-wav": by_blanking(riff.blank),
    "image/apng": png.cleaned,
    "image/avif": iso_media.cleaned,
    "image/gif": gif.cleaned,
    "image/jpeg": jpeg.cleaned,
    "image/png": png.cleaned,
    svg.MEDIA_TYPE: svg.cleaner(_within),
    "image/tiff": tiff.cleaned,
    "image/webp": webp.cleaned,
    "image/x-icon": icon.cleaned,
    "model/gltf-binary": gltf.cleaned,
    "video/3gpp": iso_media.cleaned,
    "video/mp4": iso_media.cleaned,
    "video/quicktime": iso_media.cleaned,
    "video/webm": by_blanking(matroska.blank),
    "video/x-m4v": iso_media.cleaned,
    "video/x-matroska": by_blanking(matroska.blank),
    "video/x-msvideo": by_blanking(riff.blank),
}
IN_PLACE: Final[dict[str, Callable[[Buffer], None]]] = {
    "video/3gpp": iso_media.blank,
    "video/mp4": iso_media.blank,
    "video/quicktime": iso_media.blank,
    "video/webm": matroska.blank,
    "video/x-m4v": iso_media.blank,
    "video/x-matroska": matroska.blank,
    "video/x-msvideo": riff.blank,
}
"""What takes all out of files that may be large, where they lie; raises `Damaged`."""
_GRAPHS: Final = tuple(
    words.encode(encoding)
    for words in ('"class_type"', '"last_node_id"', '"class_type\\"', '"last_node_id\\"')
    for encoding in ("utf_8", "utf_16_be", "utf_16_le")
)
"""What ComfyUI's two forms of a workflow have in them, also as texts within texts, and as Exif's
comments are written."""


def is_cleaned(media_type: str) -> bool:
    """Whether it is known what files of the type hold beside the picture."""
    return media_type in _CLEANERS


def cleaned(data: bytes, media_type: str, rule: MetadataRule) -> bytes:
    """The file with what the rule leaves in it; marked as made by a model unless stripped.

    Raises:
        Damaged: its structure cannot be followed.
    """
    try:
        return _CLEANERS[media_type](data, rule)
    except (IndexError, ValueError, OverflowError) as error:
        raise Damaged(f"is damaged ({media_type})") from error


def tail(media_type: str) -> bytes:
    """What marks a file that was cleaned where it lies, put after its end."""
    return iso_media.MARK_BOX if IN_PLACE[media_type] is iso_media.blank else b""


def holds_graph(content: bytes | mmap, media_type: str) -> bool:
    """Whether a ComfyUI workflow can be read from the file.

    Raises:
        Damaged: its structure cannot be followed.
    """
    is_png = isinstance(content, bytes) and media_type in {"image/png", "image/apng"}
    if is_png and png.holds_graph(bytes(content)):
        return True
    return any(content.find(graph) >= 0 for graph in _GRAPHS)
