"""What a video is: how long, of how many frames, how large, in which codec; and its first frame.

Found by PyAV (the extra ``video``) in a process of its own, `queue_agent.media.video_reader`:
hostile bytes may break or stall that one, upon which what the headers say stands, and no poster.
"""

import asyncio
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import BinaryIO, Final

import structlog

from queue_agent.media.asset import Asset
from queue_agent.media.facts import media_type_of
from queue_agent.media.video_facts import NO_FACTS, VideoFacts, sensible
from queue_agent.media.video_headers import has_headers, headers_of

log = structlog.get_logger()

POSTER_MEDIA_TYPE: Final = "image/jpeg"

_PROGRAM: Final = Path(__file__).with_name("video_reader.py")
_SECONDS: Final = 60.0
_MOST: Final = 2**20
"""Bytes that are read of what the program says."""
_FORMATS: Final = {
    "video/3gpp": "3gp",
    "video/mp4": "mp4",
    "video/mpeg": "mpeg",
    "video/ogg": "ogg",
    "video/quicktime": "mov",
    "video/webm": "webm",
    "video/x-flv": "flv",
    "video/x-m4v": "mp4",
    "video/x-matroska": "matroska",
    "video/x-msvideo": "avi",
}
"""FFmpeg's names; none of them leads to another file."""
_OF_THE_MACHINE: Final = ("LD_LIBRARY_PATH", "TMPDIR")
"""All that the program is given of the environment, which holds credentials."""


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
    form = _FORMATS.get(media_type)
    if form is None or not _can_read():
        return Video(facts)
    try:
        with _on_disk(asset) as video:
            return _heard(_asked(video, form), facts)
    except OSError as error:  # no room on disk, or for a process
        log.info("video not read", reason=str(error))
        return Video(facts)


def _asked(video: BinaryIO, form: str) -> bytes:
    """What the program says of the video until it ends, whatever ends it.

    Raises:
        OSError: it cannot be started.
    """
    kept = {name: os.environ[name] for name in _OF_THE_MACHINE if name in os.environ}
    with tempfile.TemporaryFile() as told:
        try:
            subprocess.run(  # noqa: S603  our own program, and a format of ours
                [sys.executable, "-I", str(_PROGRAM), form],
                stdin=video,
                stdout=told,
                stderr=subprocess.DEVNULL,
                timeout=_SECONDS,
                check=True,
                env=kept,
            )
        except subprocess.CalledProcessError as error:
            log.info("video not read to its end", reason=f"its reader ended: {error.returncode}")
        except subprocess.TimeoutExpired:
            log.info("video not read to its end", reason="its reader took too long")
        told.seek(0)
        return told.read(_MOST)


@contextmanager
def _on_disk(asset: Asset) -> Iterator[BinaryIO]:
    if not isinstance(asset.content, bytes):
        yield asset.content
        return
    with tempfile.TemporaryFile() as file:
        file.write(asset.content)
        file.flush()
        yield file


def _heard(told: bytes, facts: VideoFacts) -> Video:
    """What was said, and before that what the headers say."""
    line, _, poster = told.partition(b"\n")
    with suppress(ValueError, TypeError, RecursionError):
        said = json.loads(line)
        facts = sensible(facts.model_dump() | said)
    is_whole = media_type_of(poster) == POSTER_MEDIA_TYPE and poster.endswith(b"\xff\xd9")
    return Video(facts, poster if is_whole else None)


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
