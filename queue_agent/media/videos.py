"""What a video is: how long, of how many frames, how large, in which codec; and its first frame.

Found by PyAV (the extra ``video``) in a process of its own: hostile bytes may break or stall
that one, upon which what the headers say stands, and no poster.
"""

import asyncio
import importlib.util
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from typing import BinaryIO, Final

import structlog

from queue_agent.media.asset import Asset
from queue_agent.media.confined import Bounds, ConfinedProcess, WorkerLost
from queue_agent.media.facts import media_type_of
from queue_agent.media.video_facts import NO_FACTS, VideoFacts, sensible
from queue_agent.media.video_headers import has_headers, headers_of
from queue_agent.media.video_reader import FORMATS, facts_in, poster_of

log = structlog.get_logger()

POSTER_MEDIA_TYPE: Final = "image/jpeg"

_BOUNDS: Final = Bounds(memory=256 * 2**20, seconds=60.0, room=2**20)
"""The agent has 512 MiB with its own. A frame of 4K in H.264 fits, 16 of 8K do not."""


@dataclass(frozen=True)
class Video:
    """A video as far as it could be read."""

    facts: VideoFacts = NO_FACTS
    poster: bytes | None = None
    """Its first frame, a JPEG of 1,280 pixels a side at most."""


async def read_video(asset: Asset, media_type: str) -> Video:
    """Look into a video of that type; nothing is known of one that cannot be read."""
    return await asyncio.to_thread(_read, asset, media_type)


def _read(asset: Asset, media_type: str) -> Video:
    facts = NO_FACTS
    if has_headers(media_type):
        with asset.open() as file:
            told = headers_of(file, media_type)
        if told is None:
            return Video()
        facts = told
    form = FORMATS.get(media_type)
    if form is None or not _can_read():
        return Video(facts)
    try:
        with _on_disk(asset) as video:
            return _asked(video, form, facts)
    except OSError as error:  # no room on disk, or for a process
        log.info("video not read", reason=str(error))
        return Video(facts)


def _asked(video: BinaryIO, form: str, facts: VideoFacts) -> Video:
    """What a process says of the video, and before that what the headers say.

    Raises:
        OSError: it cannot be started.
    """
    place, found = video.fileno(), Video(facts)
    with ConfinedProcess(_BOUNDS, files=(place,)) as process:
        try:
            told = process.do(facts_in, place, form)
            found = Video(sensible(facts.model_dump() | told))
            poster = process.do(poster_of, place, form)
        except WorkerLost as lost:
            log.info("video not read to its end", reason=f"it {lost}")
            return found
    is_whole = poster is not None and media_type_of(poster) == POSTER_MEDIA_TYPE
    return replace(found, poster=poster if is_whole else None)


@contextmanager
def _on_disk(asset: Asset) -> Iterator[BinaryIO]:
    if not isinstance(asset.content, bytes):
        yield asset.content
        return
    with tempfile.TemporaryFile() as file:
        file.write(asset.content)
        file.flush()
        yield file


@cache
def _can_read() -> bool:
    """Whether there is PyAV; that there is none is said once."""
    found = importlib.util.find_spec("av") is not None
    if not found:
        log.warning(
            "videos get no poster",
            remedy="Install PyAV (sd-queue-agent[video]), which also counts frames and reads more "
            "formats than MP4 and WebM.",
        )
    return found
