"""Jobs' traces on the server: kept while they may be of use, and then removed."""

import asyncio
import hashlib
from contextlib import suppress
from pathlib import Path
from typing import Final
from weakref import WeakValueDictionary

import structlog
from cachetools import LRUCache

from queue_agent.runtime import Prepared
from queue_agent.runtime.shared_folder import SharedFolder
from queue_agent.wire.errors import QueueAgentError, SettingsError, Unavailable
from queue_agent.wire.job import Job
from queue_agent_runtimes.comfyui.api import ComfyUIApi
from queue_agent_runtimes.comfyui.left_files import SWEEP, LeftFiles, Traces

_REMEMBERED: Final = 1024
"""Jobs of which it is known what they left, though their end was not seen."""
_log = structlog.get_logger(__name__)


class CleanUp:
    """What the jobs of this agent leave on one server.

    Entries of the history are removed over HTTP, files only where the server's folders are shared.

    Raises:
        SettingsError: `files` is no folder.
    """

    def __init__(self, api: ComfyUIApi, files: Path | None) -> None:
        if files is not None and not files.is_dir():
            raise SettingsError(f"QUEUE_AGENT_RUNTIME_FILES: {files} is no folder")
        self._api = api
        self._files = None if files is None else LeftFiles(SharedFolder(files))
        self._traces: LRUCache[str, Traces] = LRUCache(_REMEMBERED)
        self._held: WeakValueDictionary[str, Prepared] = WeakValueDictionary()
        """By the job's tag, what was prepared, for as long as anybody has it."""
        self._sweeping: asyncio.Task[None] | None = None
        self._sweep_at = float("-inf")

    def traces(self, job: Job) -> Traces:
        """What a job has left, to be added to."""
        tag = _tag(job)
        if tag not in self._traces:
            self._traces[tag] = Traces(tag)
        return self._traces[tag]

    def hold(self, prepared: Prepared) -> None:
        """Take the job for one under way as long as somebody has what was prepared."""
        self._held[_tag(prepared.job)] = prepared

    async def after(self, job: Job, *, again: bool) -> None:
        """Remove a job's traces, unless its next attempt can use them.

        Raises:
            Unavailable: a file could not be removed.
        """
        traces = self.traces(job)
        if again and traces.awaited:
            return
        self._traces.pop(traces.tag, None)
        for prompt_id in traces.prompts:
            await self.forget(prompt_id)
        if self._files is not None:
            try:
                await asyncio.to_thread(self._files.remove, traces)
            except OSError as error:
                raise _not_removed(error) from error

    async def forget(self, prompt_id: str) -> None:
        """Remove a prompt from the server's history, if that can be done now."""
        with suppress(QueueAgentError):
            await self._api.forget(prompt_id)

    def tend(self) -> None:
        """Have what was left behind looked for, now and then."""
        now = asyncio.get_running_loop().time()
        if self._files is not None and now >= self._sweep_at:
            self._sweep_at = now + SWEEP
            self._sweeping = asyncio.create_task(self._sweep(self._files))

    async def aclose(self) -> None:
        if self._sweeping is not None:
            self._sweeping.cancel()
            await asyncio.wait({self._sweeping})

    async def _sweep(self, files: LeftFiles) -> None:
        try:
            await asyncio.to_thread(files.sweep, set(self._held))
        except OSError as error:
            _log.warning("files_not_removed", reason=_not_removed(error).message)


def _tag(job: Job) -> str:
    """What tells a job's files from those of others, whatever it calls itself; always as long."""
    return hashlib.sha256(f"{job.id}/{job.digest}".encode()).hexdigest()[:16]


def _not_removed(error: OSError) -> Unavailable:
    return Unavailable(f"Files that ComfyUI has written cannot be removed: {error.strerror}.")
