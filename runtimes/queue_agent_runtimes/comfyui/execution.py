"""One prompt from its submission, or from where an earlier attempt left it, to its end."""

import asyncio
import uuid
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Final

import structlog
from pydantic import JsonValue

from queue_agent.runtime import Prepared, ProgressCallback, Spools, not_yet_submitted, submitted
from queue_agent.wire.errors import QueueAgentError, Rejected, RuntimeStuck, Unavailable
from queue_agent_runtimes.comfyui import watch
from queue_agent_runtimes.comfyui.api import ComfyUIApi
from queue_agent_runtimes.comfyui.events import PREVIEW, Event, EventStream
from queue_agent_runtimes.comfyui.failures import (
    OUT_OF_MEMORY,
    describe_node_errors,
    failure_of,
    words_of_a_block,
)
from queue_agent_runtimes.comfyui.node_times import NodeTimes
from queue_agent_runtimes.comfyui.outputs import MISSING, Found
from queue_agent_runtimes.comfyui.progress import ProgressTracker
from queue_agent_runtimes.comfyui.sent_images import SentImages
from queue_agent_runtimes.comfyui.watch import RunIsSilent, Watch
from queue_agent_runtimes.comfyui.workflow import INVALID_WORKFLOW, Graph, with_input

Json = dict[str, JsonValue]

_MARK: Final = "queue_agent_again"
_MOST_BLOCKS: Final = 20
"""Nodes that did not run, of which publishers are told."""
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
    images: int = 0
    """Fewer than so many mean that the run went wrong."""


def with_changed_nodes(prepared: ComfyUIPrepared, nodes: Collection[str]) -> ComfyUIPrepared:
    """The same, in which these nodes are not the ones that the server remembers.

    What it remembers of a node goes by all its inputs, and those that its class does not know are
    not handed to it.
    """
    mark = uuid.uuid4().hex
    graph = {
        node_id: with_input(node, _MARK, mark) if node_id in nodes else node
        for node_id, node in prepared.graph.items()
    }
    return replace(prepared, graph=graph, request={**prepared.request, "prompt": {**graph}})


@dataclass(frozen=True)
class Finished:
    """A prompt that succeeded."""

    prompt_id: str
    entry: Json
    warnings: tuple[str, ...] = ()
    statistics: Json = field(default_factory=dict)
    images: tuple[Found, ...] = ()
    """Those that came over the WebSocket; the others are named in the entry."""


class Execution:
    """The run of one prepared job."""

    def __init__(
        self,
        api: ComfyUIApi,
        prepared: ComfyUIPrepared,
        progress: ProgressCallback,
        spools: Spools,
    ) -> None:
        self._api = api
        self.prepared = prepared
        self._progress = progress
        self._tracker = ProgressTracker(prepared.graph)
        self._times = NodeTimes(prepared.graph, asyncio.get_running_loop().time)
        self._images = SentImages(prepared.graph, spools)
        self._dropped: tuple[str, ...] = ()
        self._blocked: dict[str, None] = {}
        self.prompt_id = prepared.prompt_id
        """As the server knows it: old ones give prompts their own."""
        self.entries: list[Json] = []
        """What the history said of it, each time that it ended."""

    async def finish(self) -> Finished:
        """Have the prompt executed and wait for its end; once more if memory ran out.

        Raises:
            Rejected: the server refuses the workflow, or a node raised an exception.
            RuntimeAway: the server was away before it had the prompt.
            RunLost: it went away afterwards, or knows the prompt no more.
            Unavailable: anything else that went wrong.
        """
        previews = self.prepared.job.wants_previews
        async with self._api.events(self.prepared.prompt_id, previews=previews) as stream:
            try:
                entry = await self._entry(stream)
            except asyncio.CancelledError:
                await self._stop(stream.prompt_id)
                raise
            finally:
                self.prompt_id = stream.prompt_id
            warnings = (*self._dropped, *self._blocked)
            statistics = self._times.told(entry)
            images = tuple(self._images.found)
            return Finished(stream.prompt_id, entry, warnings, statistics, images)

    async def _entry(self, stream: EventStream) -> Json:
        with not_yet_submitted():
            entry = await self._earlier_success(stream)
            if entry is not None:
                self.entries.append(entry)
                return entry
            joined = await self._api.whereabouts(stream.prompt_id) != "unknown"
        if not joined:
            await self._submit(stream)
        with submitted():
            entry = await (self._wait_for_earlier(stream) if joined else self._wait(stream))
            failure = self._failure(stream, entry)
            if failure is not None and (joined or failure.type in {OUT_OF_MEMORY, MISSING}):
                entry = await self._once_more(stream, failure)
                failure = self._failure(stream, entry)
        if failure is not None:
            raise failure
        return entry

    async def _once_more(self, stream: EventStream, failure: QueueAgentError) -> Json:
        """After memory ran out, where images that were sent found nobody, or where it was an
        earlier attempt that failed before our eyes."""
        _log.info("prompt_submitted_again", prompt_id=stream.prompt_id, reason=failure.message)
        if failure.type == OUT_OF_MEMORY:
            await self._api.free_memory()
        await self._api.forget(stream.prompt_id)
        await stream.reconnect()
        await self._submit(stream)
        return await self._wait(stream)

    def _failure(self, stream: EventStream, entry: Json) -> QueueAgentError | None:
        failure = failure_of(entry)
        if failure is None and self._images.awaited and not stream.is_whole:
            return Unavailable(
                "The connection over which ComfyUI sends images was away for a while; what it "
                "sent meanwhile is gone.",
                type=MISSING,
            )
        return failure

    async def _earlier_success(self, stream: EventStream) -> Json | None:
        """What an earlier attempt at the same job achieved; its failure is cleared away.

        So is a success whose images were sent, to nobody who still has them. To do it again costs
        little while the server remembers what the other nodes made.
        """
        entry = await self._api.history(stream.prompt_id)
        if entry is not None and (
            failure_of(entry) is not None or self._images.awaited or not entry.get("outputs")
        ):
            await self._api.forget(stream.prompt_id)
            return None
        return entry

    async def _wait_for_earlier(self, stream: EventStream) -> Json:
        """For a prompt that an earlier process of ours submitted, on a server that may since have
        lost its worker: then it runs for ever, and only its silence tells."""
        with suppress(RunIsSilent):
            return await self._wait(stream, silence=watch.SILENT)
        _log.warning("earlier_prompt_is_silent", prompt_id=stream.prompt_id)
        await self._stop(stream.prompt_id)
        try:
            return await self._wait(stream, silence=watch.SILENT_STILL)
        except RunIsSilent as silent:
            raise RuntimeStuck(
                "ComfyUI goes on with a prompt of before the agent's start, without a word, though "
                "it was told to stop: its worker is dead or hangs."
            ) from silent

    async def _wait(self, stream: EventStream, *, silence: float | None = None) -> Json:
        of_images = self._images.awaited
        watching = Watch(self._api, stream, self._report, silence=silence, of_images=of_images)
        entry = await watching.entry()
        self.entries.append(entry)
        return entry

    async def _report(self, event: Event) -> None:
        self._times.update(event)
        await self._images.update(event)
        if event.tells_of_a_block and len(self._blocked) < _MOST_BLOCKS:
            self._blocked[words_of_a_block(event.data)] = None
        progress = self._tracker.update(event)
        if progress is not None:
            self._progress(progress)
        if event.type == PREVIEW and self._tracker.is_under_way:
            self._progress(self._tracker.with_preview(event.image))

    async def _submit(self, stream: EventStream) -> None:
        """Shielded: a prompt that the server has taken must be known, to be stopped."""
        self._images.forget()
        self._times.forget()
        self._blocked.clear()
        stream.begin()
        submission = asyncio.ensure_future(
            self._api.submit(stream.prompt_id, self.prepared.request)
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
        if dropped and self.prepared.strict:
            await self._stop(stream.prompt_id)
            raise Rejected(
                "A part of the workflow is invalid: " + "; ".join(dropped),
                type=INVALID_WORKFLOW,
                details={"node_errors": accepted.node_errors},
            )
        self._dropped = tuple(f"ComfyUI left out: {words}" for words in dropped)

    async def _stop(self, prompt_id: str) -> None:
        try:
            async with asyncio.timeout(_STOPPING):
                await self._api.stop(prompt_id)
        except (QueueAgentError, TimeoutError) as error:
            _log.warning("runtime_not_stopped", prompt_id=prompt_id, reason=str(error))
