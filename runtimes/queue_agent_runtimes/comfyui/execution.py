"""One prompt from its submission, or from where an earlier attempt left it, to its end."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

import structlog
from pydantic import JsonValue

from queue_agent.runtime import Prepared, ProgressCallback, not_yet_submitted, submitted
from queue_agent.wire.errors import QueueAgentError, Rejected
from queue_agent_runtimes.comfyui.api import ComfyUIApi
from queue_agent_runtimes.comfyui.events import Event, EventStream
from queue_agent_runtimes.comfyui.failures import OUT_OF_MEMORY, describe_node_errors, failure_of
from queue_agent_runtimes.comfyui.progress import ProgressTracker
from queue_agent_runtimes.comfyui.watch import Watch
from queue_agent_runtimes.comfyui.workflow import INVALID_WORKFLOW, Graph

Json = dict[str, JsonValue]

_STOPPING: Final = 5.0
"""Seconds that stopping a prompt may take when the run is cancelled."""
_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class ComfyUIPrepared(Prepared):
    """A job as a workflow; `request` is the body of `/prompt`."""

    graph: Graph = field(default_factory=dict, repr=False)
    prompt_id: str = ""
    seeds: Mapping[str, int] = field(default_factory=dict)
    """Seed of the images of a save node."""
    strict: bool = False
    """Whether a workflow that is only partly valid is refused."""
    include_temp: bool = False
    """Whether previews are wanted too."""


@dataclass(frozen=True)
class Finished:
    """A prompt that succeeded."""

    prompt_id: str
    entry: Json
    warnings: tuple[str, ...] = ()


class Execution:
    """The run of one prepared job."""

    def __init__(
        self, api: ComfyUIApi, prepared: ComfyUIPrepared, progress: ProgressCallback
    ) -> None:
        self._api = api
        self._prepared = prepared
        self._progress = progress
        self._tracker = ProgressTracker(prepared.graph)
        self._warnings: tuple[str, ...] = ()
        self.prompt_id = prepared.prompt_id
        """As the server knows it: old ones give prompts their own."""

    async def finish(self) -> Finished:
        """Have the prompt executed and wait for its end; once more if memory ran out.

        Raises:
            Rejected: the server refuses the workflow, or a node raised an exception.
            RuntimeAway: the server was away before it had the prompt.
            RunLost: it went away afterwards, or knows the prompt no more.
            Unavailable: anything else that went wrong.
        """
        async with self._api.events(self._prepared.prompt_id) as stream:
            try:
                entry = await self._entry(stream)
            except asyncio.CancelledError:
                await self._stop(stream.prompt_id)
                raise
            finally:
                self.prompt_id = stream.prompt_id
            return Finished(stream.prompt_id, entry, self._warnings)

    async def _entry(self, stream: EventStream) -> Json:
        with not_yet_submitted():
            entry = await self._earlier_success(stream)
            if entry is not None:
                return entry
            joined = await self._api.whereabouts(stream.prompt_id) != "unknown"
        if not joined:
            await self._submit(stream)
        with submitted():
            entry = await self._wait(stream)
            failure = failure_of(entry)
            if failure is not None and (joined or failure.type == OUT_OF_MEMORY):
                entry = await self._once_more(stream, failure)
                failure = failure_of(entry)
        if failure is not None:
            raise failure
        return entry

    async def _once_more(self, stream: EventStream, failure: QueueAgentError) -> Json:
        """After memory ran out, or where it was an earlier attempt that failed before our eyes."""
        _log.info("prompt_submitted_again", prompt_id=stream.prompt_id, reason=failure.message)
        if failure.type == OUT_OF_MEMORY:
            await self._api.free_memory()
        await self._api.forget(stream.prompt_id)
        await self._submit(stream)
        return await self._wait(stream)

    async def _earlier_success(self, stream: EventStream) -> Json | None:
        """What an earlier attempt at the same job achieved; its failure is cleared away."""
        entry = await self._api.history(stream.prompt_id)
        if entry is not None and failure_of(entry) is not None:
            await self._api.forget(stream.prompt_id)
            return None
        return entry

    async def _wait(self, stream: EventStream) -> Json:
        return await Watch(self._api, stream, self._report).entry()

    def _report(self, event: Event) -> None:
        progress = self._tracker.update(event)
        if progress is not None:
            self._progress(progress)

    async def _submit(self, stream: EventStream) -> None:
        """Shielded: a prompt that the server has taken must be known, to be stopped."""
        submission = asyncio.ensure_future(
            self._api.submit(stream.prompt_id, self._prepared.request)
        )
        try:
            accepted = await asyncio.shield(submission)
        except asyncio.CancelledError:
            with suppress(QueueAgentError, TimeoutError):
                async with asyncio.timeout(_STOPPING):
                    stream.prompt_id = (await submission).prompt_id
            raise
        stream.prompt_id = accepted.prompt_id
        dropped = list(describe_node_errors(accepted.node_errors))
        if dropped and self._prepared.strict:
            await self._stop(stream.prompt_id)
            raise Rejected(
                "A part of the workflow is invalid: " + "; ".join(dropped),
                type=INVALID_WORKFLOW,
                details={"node_errors": accepted.node_errors},
            )
        self._warnings = tuple(f"ComfyUI left out: {words}" for words in dropped)

    async def _stop(self, prompt_id: str) -> None:
        try:
            async with asyncio.timeout(_STOPPING):
                await self._api.stop(prompt_id)
        except (QueueAgentError, TimeoutError) as error:
            _log.warning("runtime_not_stopped", prompt_id=prompt_id, reason=str(error))
