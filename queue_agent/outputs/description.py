"""What an artifact is, found in one look that also finds whether it is whole."""

import asyncio
import hashlib
from dataclasses import dataclass, replace
from typing import BinaryIO, Final

from queue_agent.media.asset import IN_MEMORY, Asset
from queue_agent.media.facts import BrokenImage, Facts, TooManyPixels, facts_of, kind_of
from queue_agent.media.signatures import HEAD, sniff
from queue_agent.media.video_facts import NO_FACTS, VideoFacts
from queue_agent.media.videos import Video, read_video
from queue_agent.media.wholeness import is_cut_off
from queue_agent.wire.errors import Unavailable
from queue_agent.wire.media_types import UNKNOWN

_PIECE: Final = 2**20
_UNSIGNED: Final = frozenset({"image/svg+xml"})
"""Images that have no signature, so that nothing tells them from what is none."""
_SIGNED: Final = frozenset(
    {
        "audio/flac",
        "audio/ogg",
        "audio/wav",
        "audio/x-flac",
        "audio/x-wav",
        "model/gltf-binary",
        "video/webm",
        "video/x-matroska",
    }
)
"""Others that always have theirs; what has none is a server's words under a file's name, say."""


@dataclass(frozen=True)
class Description:
    """What subscribers are told of an artifact."""

    size: int
    """In bytes."""
    sha256: str
    """In hexadecimal digits."""
    width: int | None = None
    """In pixels, of images whose header is read, and of videos."""
    height: int | None = None
    video: VideoFacts = NO_FACTS
    poster: bytes | None = None
    """A video's first frame, a JPEG."""

    def with_video(self, video: Video) -> "Description":
        facts = video.facts
        return replace(
            self, width=facts.width, height=facts.height, video=facts, poster=video.poster
        )


async def describe(asset: Asset, name: str) -> Description:
    """Look an artifact through; a large one in a thread of its own, a video in a process.

    Raises:
        Unavailable: it is cut off or damaged, or no image where it should be one (type
            ``invalid_answer``); the message begins with its name.
    """
    if asset.size <= IN_MEMORY:
        facts, seen = _describe(asset, name)
    else:
        facts, seen = await asyncio.to_thread(_describe, asset, name)
    if facts.kind != "video":
        return seen
    return seen.with_video(await read_video(asset, facts.media_type))


def _describe(asset: Asset, name: str) -> tuple[Facts, Description]:
    with asset.open() as file:
        found = sniff(file.read(HEAD))
        if complaint := _complaint(asset, file, found):
            raise Unavailable(f"{name} {complaint}.", type="invalid_answer")
        facts = _facts(asset, found, name)
        return facts, Description(asset.size, _sha256(asset, file), facts.width, facts.height)


def _complaint(asset: Asset, file: BinaryIO, found: str) -> str:
    told = asset.media_type
    if not asset.size:
        return "is empty"
    if kind_of(told) == "image" and kind_of(found) != "image" and told not in _UNSIGNED:
        return f"is no {told}"
    if told in _SIGNED and found == UNKNOWN:
        return f"is no {told}"
    media_type = told if found == UNKNOWN else found
    return f"is cut off or damaged ({media_type})" if is_cut_off(file, media_type) else ""


def _facts(asset: Asset, media_type: str, name: str) -> Facts:
    try:
        return facts_of(asset)
    except BrokenImage as error:
        raise Unavailable(f"{name} {error}.", type="invalid_answer") from error
    except TooManyPixels:
        return Facts(media_type)


def _sha256(asset: Asset, file: BinaryIO) -> str:
    if isinstance(asset.content, bytes):  # which a file would copy
        return hashlib.sha256(asset.content).hexdigest()
    digest = hashlib.sha256()
    file.seek(0)
    while piece := file.read(_PIECE):
        digest.update(piece)
    return digest.hexdigest()
