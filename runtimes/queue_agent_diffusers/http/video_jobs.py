"""The jobs for videos that a client may ask about, and the files of those that are completed."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Final

from queue_agent_diffusers.engine.jobs import EngineJob
from queue_agent_diffusers.engine.requests import VideoFile
from queue_agent_diffusers.errors import (
    InvalidRequest,
    JobNotFound,
    ServerError,
    StillStopping,
    VideoNotMade,
)
from queue_agent_diffusers.http.video_api import VideoRecord, fault_of, status_of

KEPT_FOR: Final = 3600.0
"""Seconds after its end for which a video can be fetched."""
MOST_KEPT: Final = 64
"""Jobs that have ended and are kept; of more, those that ended first are forgotten."""


class VideoJob:
    """One job, with what the engine does not keep of it."""

    def __init__(
        self,
        job: EngineJob,
        model: str,
        warnings: Sequence[str],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.job = job
        """Once it has ended, what is left of it: without the images that it was given."""
        self.ended: float | None = None
        self._model = model
        self._warnings = warnings
        self._clock = clock
        self._created = clock()
        self._videos: Sequence[VideoFile] = ()
        self._error: BaseException | None = None
        job.result.add_done_callback(lambda _: self._note_end(job))

    def _note_end(self, job: EngineJob) -> None:
        self._error = job.result.exception()
        if self._error is None:
            pictures = job.result.result()
            self._videos = pictures.videos
            self._warnings = [*self._warnings, *pictures.warnings]
        self.job = job.remembered()
        self.ended = self._clock()

    async def stop(self, timeout: float) -> None:  # noqa: ASYNC109  it is no fault of the caller's
        """Have the work on it end; raises `StillStopping` if it has not within so many seconds."""
        job = self.job
        if self.ended is None:
            job.cancel()
            with suppress(TimeoutError, ServerError):
                async with asyncio.timeout(timeout):
                    await asyncio.wrap_future(job.result)
        if not job.ended:
            raise StillStopping(f"The job {job.id!r} has not stopped yet.")

    def video(self, variant: str | None) -> VideoFile:
        """One of its files, by its number from 0; without a name the first.

        Raises:
            VideoNotMade: it has none.
            InvalidRequest: it has no such file.
        """
        if not self._videos:
            raise VideoNotMade(f"There is no video of the job {self.job.id!r}, or none yet.")
        number = 0 if variant in {None, "", "video"} else _whole(variant)
        if number is None or number >= len(self._videos):
            raise InvalidRequest(
                f"variant: there are {len(self._videos)} videos, numbered from 0, and no more.",
                param="variant",
            )
        return self._videos[number]

    @property
    def record(self) -> VideoRecord:
        """How it is now."""
        job = self.job
        made = next(iter(self._videos), None)
        return VideoRecord(
            id=job.id,
            status=status_of(job),
            progress=int(100 * job.progress),
            step=job.step,
            steps=job.steps,
            resumed_steps=job.resumed_steps,
            previews=job.previews,
            created_at=int(self._created),
            completed_at=None if self.ended is None else int(self.ended),
            expires_at=None if self.ended is None else int(self.ended + KEPT_FOR),
            model=self._model,
            prompt=job.request.prompt,
            seed=job.request.seed,
            size=f"{made.width}x{made.height}" if made else None,
            seconds=f"{made.seconds:g}" if made else None,
            frames=made.frames if made else None,
            fps=made.fps if made else None,
            num_outputs=job.request.count,
            warnings=[*self._warnings],
            error=fault_of(self._error),
        )


class VideoJobs:
    """All of them by their ids; used in the event loop only."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._jobs: OrderedDict[str, VideoJob] = OrderedDict()

    def __iter__(self) -> Iterator[VideoJob]:
        self._tidy()
        return iter(list(self._jobs.values()))

    def add(self, job: EngineJob, model: str, warnings: Sequence[str]) -> VideoJob:
        """Keep a job that was submitted."""
        kept = self._jobs[job.id] = VideoJob(job, model, warnings, self._clock)
        self._tidy()
        return kept

    def find(self, job_id: str) -> VideoJob:
        """The job of that id.

        Raises:
            JobNotFound: it is not known (any more).
        """
        self._tidy()
        try:
            return self._jobs[job_id]
        except KeyError:
            raise JobNotFound(f"No video {job_id!r} is known.") from None

    def forget(self, job_id: str) -> None:
        """Let go of a job and its files; harmless if it is not known."""
        self._jobs.pop(job_id, None)

    def _tidy(self) -> None:
        late = self._clock() - KEPT_FOR
        ended = sorted(
            (kept.ended, job_id) for job_id, kept in self._jobs.items() if kept.ended is not None
        )
        surplus = len(ended) - MOST_KEPT
        for number, (moment, job_id) in enumerate(ended):
            if number < surplus or moment < late:
                del self._jobs[job_id]


def _whole(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdecimal() and text.isascii() else None
