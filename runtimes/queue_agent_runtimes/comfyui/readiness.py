"""Whether the server can take jobs, and what is asked of it after each of its starts."""

import asyncio
from collections.abc import Mapping
from typing import Final

import structlog
from pydantic import JsonValue

from queue_agent.runtime import Readiness
from queue_agent.runtime.http import readiness_of
from queue_agent.wire.errors import QueueAgentError
from queue_agent_runtimes.comfyui.api import ComfyUIApi, WhereAbouts
from queue_agent_runtimes.comfyui.editor import Conversions
from queue_agent_runtimes.comfyui.file_inputs import FileInputs
from queue_agent_runtimes.comfyui.job_workflows import JobWorkflows

_LISTING: Final = 1.0
"""Seconds for which readiness waits for the list of classes."""
_log = structlog.get_logger(__name__)


class ServerReadiness:
    """Of one server, which may come back with other classes after each time it is away."""

    def __init__(self, api: ComfyUIApi, conversions: Conversions, workflows: JobWorkflows) -> None:
        self._api = api
        self._conversions = conversions
        self._workflows = workflows
        self._introduced = False
        self.file_inputs = FileInputs()
        """Which inputs of the server's classes take files, as far as it was asked."""
        self._learning: asyncio.Future[None] | None = None
        """The question which those are, asked of this start of the server."""
        self._learned = False
        self._unlisted = ""
        """Why the server did not list them."""
        self._stranded: str | None = None
        self._stranded_in: WhereAbouts | None = None

    def note_stranded(self, prompt_id: str) -> None:
        """The prompt waits in the queue of a server whose worker stands still, or runs for ever.

        It is left there to see by it whether the server works again, and is removed then.
        """
        self._stranded, self._stranded_in = prompt_id, None

    async def ready(self) -> bool | Readiness:
        """By `/system_stats`; the first answer's version and devices are logged."""
        try:
            stats = await self._api.system_stats()
            if self._stranded is not None:
                return await self._standstill(self._stranded)
        except QueueAgentError as error:
            self._conversions.forget()
            await self.aclose()
            return readiness_of(error)
        if not self._introduced:
            self._introduced = True
            version, devices = _introduction(stats)
            _log.info("comfyui_found", version=version, devices=devices)
        return await self._has_learned()

    async def aclose(self) -> None:
        """Ask no more, until `ready` is called again."""
        if self._learning is not None:
            self._learning.cancel()
            await asyncio.wait({self._learning})
            self._learning = None

    async def _has_learned(self) -> bool | Readiness:
        """A server of thousands of classes lists them for longer than readiness may take."""
        if self._learning is None:
            self._learning = asyncio.ensure_future(self._learn())
        await asyncio.wait({self._learning}, timeout=_LISTING)
        if self._learning.done():
            if self._learned or not self._workflows.needs_classes:
                return True
            self._learning = None  # asked again: without an answer there are jobs that cannot run
            words = f"ComfyUI does not list the classes that workflows need. {self._unlisted}"
            return Readiness("starting", words.strip())
        return Readiness("starting", "ComfyUI is listing its node classes.")

    async def _learn(self) -> None:
        self._learned = False
        try:
            object_info = await self._api.object_info()
        except QueueAgentError as error:
            self._unlisted = error.message
            log = _log.debug if self._workflows.needs_classes else _log.warning  # else readiness is
            log("comfyui_classes_unknown", reason=error.message)
        else:
            self.file_inputs = await asyncio.to_thread(FileInputs.of, object_info)
            await self._workflows.learn(object_info)
            self._learned = True

    async def _standstill(self, prompt_id: str) -> Readiness:
        place = await self._api.whereabouts(prompt_id)
        self._stranded_in = self._stranded_in or place
        if place == self._stranded_in == "stranded":
            return Readiness("stuck", "ComfyUI has a prompt waiting and works on none.")
        if place == self._stranded_in == "running":
            return Readiness("stuck", "ComfyUI goes on with a prompt that it was told to stop.")
        await self._api.stop(prompt_id)
        self._stranded = None
        return Readiness()


def _introduction(stats: Mapping[str, JsonValue]) -> tuple[str, list[str]]:
    system, devices = stats.get("system"), stats.get("devices")
    version = system.get("comfyui_version") if isinstance(system, dict) else None
    names = [
        str(device.get("name"))
        for device in (devices if isinstance(devices, list) else [])
        if isinstance(device, dict)
    ]
    return str(version or "unknown"), names
