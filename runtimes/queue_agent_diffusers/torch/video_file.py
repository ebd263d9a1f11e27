"""Frames as an MP4 file: H.264, as every browser plays it."""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import av
from PIL import Image

from queue_agent_diffusers.engine.requests import VideoFile

_QUALITY: Final = "18"
"""CRF: hardly to be told from the frames themselves."""


def write_video(frames: Sequence[Image.Image], fps: int) -> VideoFile:
    """The frames, at least one and of one size of even sides, as a video on disk.

    Raises:
        OSError: there is no room for it.
    """
    frame_of: Any = av.VideoFrame.from_image
    width, height = frames[0].size
    with tempfile.TemporaryDirectory(prefix="video-") as folder:
        path = Path(folder, "video.mp4")
        # The index comes first, so that it is played before all of it is there.
        with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as made:
            options = {"crf": _QUALITY, "preset": "medium"}
            stream: Any = made.add_stream("libx264", rate=fps, options=options)
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            for image in frames:
                made.mux(stream.encode(frame_of(image)))
            made.mux(stream.encode(None))
        return VideoFile(os.open(path, os.O_RDONLY), len(frames), fps, width, height)
