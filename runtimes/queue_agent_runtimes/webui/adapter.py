"""The adapter itself: one HTTP call per job, with its progress and its interruption beside it.

The Web UI works on one request at a time; others wait inside their HTTP calls, behind a lock.
It does not notice that a waiting client has left and would work on the request later, so a run
that is cancelled while it waits is watched until its turn comes, and interrupted then.
"""

import asyncio
import contextlib
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Final

from queue_agent.runtime import (
    Assets,
    Capabilities,
    ModelFile,
    Output,
    Prepared,
    Progress,
    ProgressCallback,
    Readiness,
    Reference,
    Runtime,
    RuntimeOptions,
    Spools,
)
from queue_agent.runtime.http import WORK, Body, Response, RuntimeClient
from queue_agent.wire.errors import QueueAgentError, Rejected, Unavailable
from queue_agent.wire.job import Job
from queue_agent_runtimes.webui.answer import error_of, output_of
from queue_agent_runtimes.webui.client import WebUIClient
from queue_agent_runtimes.webui.models import MODEL_FOLDERS, ModelLists, canonical, models_in
from queue_agent_runtimes.webui.offered import capabilities_of
from queue_agent_runtimes.webui.request import (
    GENERATIONS,
    ROUTES,
    JsonObject,
    body_of,
    references,
    translate,
    with_checkpoint,
)

POLL_SECONDS: Final = 0.5
"""Between two questions about a run's progress."""
WATCH_SECONDS: Final = 0.1
"""Between two looks whether a cancelled run's turn has come."""
STOP_SECONDS: Final = 5.0
"""How long a cancelled run waits for its work to end before it leaves that to its watcher."""


@dataclass(frozen=True)
class WebUIPrepared(Prepared):
    """A job translated to a request of one of the four routes."""

    route: str = ""
    assets: Assets = field(default_factory=dict, repr=False)
    """For the references in the request, which are replaced while it is sent."""


@dataclass(frozen=True)
class _Answer:
    """What a generation request was answered, and the files that its images lie in."""

    status: Response | None
    """None unless it is no success."""
    value: JsonObject
    spools: Spools


@dataclass(eq=False)
class _Call:
    """A generation request under way."""

    prepared: WebUIPrepared
    answer: asyncio.Task[_Answer]
    task: str | None
    """The id by which the server knows it; extras have none."""
    disturbed: bool = False
    """Whether an interrupt meant for another call may have hit this one."""


class WebUIRuntime(Runtime):
    """The AUTOMATIC1111 Stable Diffusion Web UI."""

    name: ClassVar[str] = "webui"
    task_types: ClassVar[frozenset[str]] = frozenset(ROUTES)
    default_url: ClassVar[str] = "http://127.0.0.1:7860"
    model_folders: ClassVar[frozenset[str]] = MODEL_FOLDERS
    concurrency: int = 1
    backlog: int = 1

    def __init__(self, options: RuntimeOptions) -> None:
        self._switch_models = options.switch_models
        self._http = RuntimeClient(options, self.default_url)
        self._client = WebUIClient(self._http)
        self._models = ModelLists(self._http)
        self._calls: list[_Call] = []
        """In the order they were sent."""
        self._watchers: set[asyncio.Task[None]] = set()
        self._interrupting = asyncio.Lock()

    async def ready(self) -> Readiness:
        return await self._client.readiness()

    def references(self, job: Job) -> Iterable[Reference]:
        return references(job)

    def model_files(self, job: Job) -> Iterable[ModelFile]:
        """Those of ``metadata.models``, and the checkpoint, VAE and LoRAs that the job names."""
        return canonical((*super().model_files(job), *models_in(job.content)))

    async def has_model(self, model: ModelFile) -> bool:
        """By the API's lists."""
        return await self._models.has(model)

    async def models_came(self, models: Sequence[ModelFile]) -> None:
        """By the routes that refresh them."""
        await self._models.refresh(models)

    async def prepare(self, job: Job, assets: Assets) -> WebUIPrepared:
        """Translate the job; a checkpoint that is not listed is looked for on the disk.

        Raises:
            Rejected: there is no such checkpoint (type ``unknown_model``), or a field is wrong.
        """
        if job.task_type not in self.task_types:
            raise Rejected(f"The Web UI has no task {job.task_type!r}.", type="unknown_task_type")
        translated = translate(job, assets, switch_models=self._switch_models)
        request = translated.request
        if translated.checkpoint:
            title = await self._client.find_checkpoint(translated.checkpoint)
            request = with_checkpoint(request, title)
        return WebUIPrepared(job, request, translated.warnings, translated.route, assets)

    async def run(self, prepared: Prepared, progress: ProgressCallback) -> Output:
        """Generate.

        Raises:
            Unavailable: also when an interrupt meant for another job may have hit this one
                (type ``interrupted``).
        """
        if not isinstance(prepared, WebUIPrepared):
            raise TypeError("run() takes what prepare() of the same adapter gave")
        call = self._start(prepared)
        rising = _Rising(progress)
        try:
            async with asyncio.TaskGroup() as beside:
                relay = beside.create_task(self._relay_progress(call, rising))
                await asyncio.wait({call.answer})
                relay.cancel()
        except asyncio.CancelledError:
            call.answer.add_done_callback(_discard)
            await self._stop(call)
            raise
        answer = call.answer.result()
        with answer.spools:
            async with self._interrupting:  # until it is known whom an interrupt hit
                disturbed = call.disturbed
            if disturbed:
                raise Unavailable("The run was interrupted with another one.", type="interrupted")
            if answer.status is not None:
                raise error_of(answer.status)
            output = await output_of(answer.value, prepared.request, prepared.warnings)
            answer.spools.keep(output.artifacts)
        rising.report(1.0)
        return output

    async def still_runs(self, prepared: Prepared) -> bool:
        """Whether its call is unanswered; until it is, its watcher interrupts it.

        A call that waits behind others is not answered either: the server works on it when its
        turn comes, until it is interrupted.
        """
        return any(call.prepared is prepared for call in self._calls)

    async def capabilities(self) -> Capabilities:
        """By the API's lists."""
        return await capabilities_of(self._http)

    async def aclose(self) -> None:
        """End what is under way and close the connections.

        A cancelled run that still waits for its turn is watched for a few seconds more; after
        that the Web UI will work on it.
        """
        if self._watchers:
            await asyncio.wait(set(self._watchers), timeout=STOP_SECONDS)
        tasks = [*self._watchers, *(call.answer for call in self._calls)]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._http.aclose()

    def _start(self, prepared: WebUIPrepared) -> _Call:
        request, task = prepared.request, None
        if prepared.job.task_type in GENERATIONS:
            task = f"task({uuid.uuid4().hex})"
            request = {**request, "force_task_id": task}
        body = body_of(request, prepared.assets)
        answer = asyncio.create_task(self._ask(prepared.route, body))
        call = _Call(prepared, answer, task)
        self._calls.append(call)
        answer.add_done_callback(lambda _: self._calls.remove(call))
        return call

    async def _ask(self, route: str, body: Body) -> _Answer:
        async with self._http.stream("POST", route, body=body, timeout=WORK) as answer:
            with Spools() as spools:
                if not answer.ok:
                    return _Answer(await answer.read(), {}, spools)
                value = await answer.json_object(spools)
                kept = spools.moved()
        return _Answer(None, value, kept)

    async def _fraction(self, call: _Call) -> float | None:
        """How far the call has come; None unless it is the one that the server works on."""
        return await self._client.fraction(call.task, first=self._is_first(call))

    def _is_first(self, call: _Call) -> bool:
        return next(iter(self._calls), None) is call

    async def _relay_progress(self, call: _Call, progress: "_Rising") -> None:
        while True:
            await asyncio.sleep(POLL_SECONDS)
            with contextlib.suppress(QueueAgentError):  # the call itself tells what is wrong
                fraction = await self._fraction(call)
                if fraction is not None:
                    progress.report(fraction)

    async def _stop(self, call: _Call) -> None:
        """Stop the work of a cancelled run, now if it runs, else as soon as its turn comes."""
        watcher = asyncio.create_task(self._watch(call))
        self._watchers.add(watcher)
        watcher.add_done_callback(self._watchers.discard)
        if self._is_first(call):
            await asyncio.wait({watcher}, timeout=STOP_SECONDS)

    async def _watch(self, call: _Call) -> None:
        while not call.answer.done():
            with contextlib.suppress(QueueAgentError):  # not reachable: there is nothing to stop
                if await self._fraction(call) is not None:
                    await self._interrupt(call)
            await asyncio.wait({call.answer}, timeout=WATCH_SECONDS)
        if not call.answer.cancelled():
            call.answer.exception()  # nobody is left to hear of it

    async def _interrupt(self, call: _Call) -> None:
        """Interrupt a call; others are in doubt if it had ended before the interrupt came.

        The Web UI can only be told to stop whatever runs.
        """
        others = [other for other in self._calls if other is not call]
        async with self._interrupting:
            await self._client.interrupt()
            if await self._fraction(call) is None:
                for other in others:
                    other.disturbed |= await self._client.was_hit(other.task)


def _discard(answer: asyncio.Task[_Answer]) -> None:
    """Close the files of an answer that nobody waits for any more."""
    if not answer.cancelled() and answer.exception() is None:
        answer.result().spools.close()


class _Rising:
    """Passes on fractions that are higher than those before."""

    def __init__(self, progress: ProgressCallback) -> None:
        self._progress = progress
        self._highest = -1.0

    def report(self, fraction: float) -> None:
        if fraction > self._highest:
            self._highest = fraction
            self._progress(Progress(fraction))
