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
    not_yet_submitted,
)
from queue_agent.runtime.http import WORK, Body, Response
from queue_agent.wire.errors import QueueAgentError, Rejected, Unavailable
from queue_agent.wire.job import Job
from queue_agent_runtimes.webui.answer import error_of, output_of
from queue_agent_runtimes.webui.client import WebUIClient
from queue_agent_runtimes.webui.fields import JsonObject
from queue_agent_runtimes.webui.lists import ServerLists
from queue_agent_runtimes.webui.models import MODEL_FOLDERS, ModelLists, canonical, models_in
from queue_agent_runtimes.webui.naming import (
    find_checkpoint,
    settle_generation,
    settle_upscaling,
)
from queue_agent_runtimes.webui.offered import capabilities_of
from queue_agent_runtimes.webui.options import ServerOptions, names_changed_by
from queue_agent_runtimes.webui.request import (
    GENERATIONS,
    ROUTES,
    body_of,
    references,
    translate,
    with_checkpoint,
    with_defaults,
)
from queue_agent_runtimes.webui.start import StartAwareClient

POLL_SECONDS: Final = 0.5
"""Between two questions about a run's progress."""
CLOSE_POLL_SECONDS: Final = 0.2
"""… of one that another waits behind: once that has begun, nothing tells of an interrupt."""
GRACE_SECONDS: Final = 1.0
"""After a job was sent, until that its task is not known means that tasks are not."""
SURE_READINGS: Final = 3
"""Of a run's progress, from which its pace is known."""
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


@dataclass
class _Pace:
    """How fast a run gets ahead."""

    readings: int = 0
    first: tuple[float, float] = (0.0, 0.0)
    """The moment, and how far the run had come."""
    last: tuple[float, float] = (0.0, 0.0)

    def note(self, asked: float, answered: float, fraction: float) -> None:
        """Once it has begun to sample; answers that took long make it rather too fast."""
        if fraction > 0 and fraction > self.last[1]:
            self.first = self.first if self.readings else (answered, fraction)
            self.last = asked, fraction
            self.readings += 1

    def ended_early(self, now: float) -> bool:
        """Whether a run that is over can hardly have come half of its way."""
        if self.readings < SURE_READINGS:
            return False
        elapsed, gained = self.last[0] - self.first[0], self.last[1] - self.first[1]
        if elapsed <= 0:
            return False
        return self.last[1] + gained / elapsed * (now - self.last[0]) < 0.5


@dataclass(eq=False)
class _Call:
    """A generation request under way."""

    prepared: WebUIPrepared
    answer: asyncio.Task[_Answer]
    task: str | None
    """The id by which the server may know it; extras have none."""
    sent_at: float
    """By the loop's clock."""
    alone: bool
    """Whether no other may be there at the same time."""
    pace: _Pace = field(default_factory=_Pace)
    disturbed: bool = False
    """Whether an interrupt may have hit it that was meant for another call, or was not ours."""


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
        self._http = StartAwareClient(options, self.default_url, self._was_away)
        self._client = WebUIClient(self._http)
        self._models = ModelLists(self._http)
        self._lists = ServerLists(self._http)
        self._options = ServerOptions(self._http)
        self._calls: list[_Call] = []
        """In the order they were sent."""
        self._changed = asyncio.Event()
        """Tells that a call has ended, or is one whose task the server knows."""
        self._watchers: set[asyncio.Task[None]] = set()
        self._interrupting = asyncio.Lock()
        self._interrupts = 0
        """How many were our own."""

    def _was_away(self) -> None:
        """All that was known of the server may be different."""
        for known in (self._client, self._lists, self._options):
            known.forget()

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
        request, warnings = translated.request, translated.warnings
        if job.task_type in GENERATIONS:
            warnings += await settle_generation(request, self._lists)
            settings = request.get("override_settings")
            await self._options.check(settings if isinstance(settings, dict) else {})
            request = with_defaults(request, of_images=job.task_type == "image-to-image")
        else:
            await settle_upscaling(request, self._lists)
        if translated.checkpoint:
            title = await find_checkpoint(translated.checkpoint, self._lists)
            request = with_checkpoint(request, title)
        return WebUIPrepared(job, request, warnings, translated.route, assets)

    async def run(self, prepared: Prepared, progress: ProgressCallback) -> Output:
        """Generate.

        Raises:
            Unavailable: also when an interrupt meant for another job, or of somebody at the Web
                UI's page, may have hit this one (type ``interrupted``).
        """
        if not isinstance(prepared, WebUIPrepared):
            raise TypeError("run() takes what prepare() of the same adapter gave")
        with not_yet_submitted():
            await self._keep_options(prepared.request)
        call = await self._start(prepared)
        rising = _Rising(progress)
        try:
            async with asyncio.TaskGroup() as beside:
                relay = beside.create_task(self._follow(call, rising))
                await asyncio.wait({call.answer})
                relay.cancel()
            await self._look_back(call)
        except asyncio.CancelledError:
            call.answer.add_done_callback(_discard)
            await self._stop(call)
            raise
        finally:
            self._leave(call)
        answer = call.answer.result()
        with answer.spools:
            output = await self._output(call, answer)
            answer.spools.keep(output.artifacts)
        rising.report(1.0)
        return output

    async def _look_back(self, call: _Call) -> None:
        """See whether somebody else has stopped a run that is over.

        The server tells until the next one begins; of one that another waited behind, only that it
        was over much too early.
        """
        if len(self._calls) > 1:
            call.disturbed |= call.pace.ended_early(asyncio.get_running_loop().time())
            return
        with contextlib.suppress(QueueAgentError):  # the answer is here, and counts
            call.disturbed |= await self._client.was_stopped()

    async def _output(self, call: _Call, answer: _Answer) -> Output:
        request = call.prepared.request
        if answer.status is not None:
            raise error_of(answer.status, request)
        async with self._interrupting:  # until it is known whom an interrupt hit
            disturbed = call.disturbed
        if disturbed:
            words = "The run was interrupted, and not for its own sake."
            raise Unavailable(words, type="interrupted")
        return await output_of(answer.value, request, call.prepared.warnings)

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

    async def _keep_options(self, request: JsonObject) -> None:
        """See to it that the server is left with the options that it had."""
        names = names_changed_by(request)
        if names:
            if await self._client.is_fresh():
                self._options.forget()
            await self._options.keep(names)

    async def _start(self, prepared: WebUIPrepared) -> _Call:
        """Send the request once what is there can be told apart from it."""
        request = prepared.request
        is_generation = prepared.job.task_type in GENERATIONS
        # an infotext is compared with the options of the moment, which may be another job's
        alone = not is_generation or bool(request.get("infotext"))
        while not self._may_join(alone=alone):
            await self._changed.wait()
        task = None
        if is_generation:
            task = f"task({uuid.uuid4().hex})"
            request = {**request, "force_task_id": task}
        body = body_of(request, prepared.assets)
        answer = asyncio.create_task(self._ask(prepared.route, body))
        now = asyncio.get_running_loop().time()
        call = _Call(prepared, answer, task, now, alone)
        self._calls.append(call)
        return call

    def _may_join(self, *, alone: bool) -> bool:
        """Whether a call may be sent beside those that are under way.

        Whom an interrupt would hit can be told of tasks only. What has none, extras and all jobs
        of versions that know none, has the server for itself.
        """
        together = self._client.knows_tasks and not alone
        return not self._calls or (together and not any(call.alone for call in self._calls))

    def _leave(self, call: _Call) -> None:
        """Give the call's place away, at once or when it is answered."""
        if not call.answer.done():
            call.answer.add_done_callback(lambda _: self._leave(call))
            return
        self._calls.remove(call)
        self._wake()

    def _wake(self) -> None:
        """Let those that wait for their turn look again."""
        self._changed.set()
        self._changed = asyncio.Event()

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
        knew = self._client.knows_tasks
        just_sent = asyncio.get_running_loop().time() < call.sent_at + GRACE_SECONDS
        fraction = await self._client.fraction(call.task, just_sent=just_sent)
        if self._client.knows_tasks and not knew:
            self._wake()
        return fraction

    async def _follow(self, call: _Call, progress: "_Rising") -> None:
        """Report progress, and see whether somebody else stops the run."""
        while True:
            is_followed = self._calls[-1:] != [call]
            await asyncio.sleep(CLOSE_POLL_SECONDS if is_followed else POLL_SECONDS)
            clock, interrupts = asyncio.get_running_loop().time, self._interrupts
            asked = clock()
            with contextlib.suppress(QueueAgentError):  # the call itself tells what is wrong
                fraction = await self._fraction(call)
                if fraction is not None:
                    progress.report(fraction)
                    call.pace.note(asked, clock(), fraction)
                    stopped = await self._client.was_stopped()
                    call.disturbed |= stopped and interrupts == self._interrupts

    async def _stop(self, call: _Call) -> None:
        """Stop the work of a cancelled run, now if it runs, else as soon as its turn comes."""
        watcher = asyncio.create_task(self._watch(call))
        self._watchers.add(watcher)
        watcher.add_done_callback(self._watchers.discard)
        if self._calls[:1] == [call]:
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
            self._interrupts += 1
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
