"""The generation requests under way at one server: their order, progress and interruption.

The Web UI works on one request at a time; others wait inside their HTTP calls, behind a lock.
It does not notice that a waiting client has left and would work on the request later, so a call
that is given up while it waits is watched until its turn comes, and interrupted then.
"""

import asyncio
import contextlib
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

from queue_agent.runtime import Assets, Prepared, Spools
from queue_agent.runtime.http import WORK, Body, Response, RuntimeClient
from queue_agent.wire.errors import QueueAgentError, Unavailable
from queue_agent_runtimes.webui.client import Sight, WebUIClient
from queue_agent_runtimes.webui.fields import JsonObject
from queue_agent_runtimes.webui.previews import LivePreviews
from queue_agent_runtimes.webui.request import GENERATIONS, body_of

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
class CallAnswer:
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
class GenerationCall:
    """A generation request under way."""

    prepared: WebUIPrepared
    answer: asyncio.Task[CallAnswer]
    task: str | None
    """The id by which the server may know it; extras have none."""
    sent_at: float
    """By the loop's clock."""
    alone: bool
    """Whether no other may be there at the same time."""
    interrupts: int
    """How many of our own there had been when it was sent."""
    previews: LivePreviews | None = None
    """None: nobody asks for images of the work under way."""
    pace: _Pace = field(default_factory=_Pace)
    disturbed: bool = False
    """Whether an interrupt may have hit it that was meant for another call, or was not ours."""


class GenerationCalls:
    """Sends them, follows them and stops them; each is under way until it is answered."""

    def __init__(self, http: RuntimeClient, client: WebUIClient) -> None:
        self._http = http
        self._client = client
        self._under_way: list[GenerationCall] = []
        """In the order they were sent."""
        self._changed = asyncio.Event()
        """Tells that a call has ended, or is one whose task the server knows."""
        self._watchers: set[asyncio.Task[None]] = set()
        self._interrupting = asyncio.Lock()
        self._interrupts = 0
        """How many were our own."""

    async def make(self, prepared: WebUIPrepared, report: Callable[[Sight], None]) -> CallAnswer:
        """Send the request and wait for its answer, whose files are the caller's then.

        `report` is told how far it has come. Cancelled, the server's work on it is stopped.

        Raises:
            Unavailable: also when an interrupt meant for another call, or of somebody at the Web
                UI's page, may have hit this one (type ``interrupted``).
        """
        call = await self._start(prepared)
        try:
            async with asyncio.TaskGroup() as beside:
                relay = beside.create_task(self._follow(call, report))
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
            if answer.status is None and await self._was_disturbed(call):
                words = "The run was interrupted, and not for its own sake."
                raise Unavailable(words, type="interrupted")
            return replace(answer, spools=answer.spools.moved())

    def has(self, prepared: Prepared) -> bool:
        """Whether the call of it is unanswered."""
        return any(call.prepared is prepared for call in self._under_way)

    async def aclose(self) -> None:
        """End what is under way; what was given up is watched for a few seconds more."""
        if self._watchers:
            await asyncio.wait(set(self._watchers), timeout=STOP_SECONDS)
        tasks = [*self._watchers, *(call.answer for call in self._under_way)]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _was_disturbed(self, call: GenerationCall) -> bool:
        async with self._interrupting:  # until it is known whom an interrupt hit
            return call.disturbed

    async def _start(self, prepared: WebUIPrepared) -> GenerationCall:
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
        watched = is_generation and prepared.job.wants_previews
        previews = LivePreviews() if watched else None
        call = GenerationCall(prepared, answer, task, now, alone, self._interrupts, previews)
        self._under_way.append(call)
        return call

    def _may_join(self, *, alone: bool) -> bool:
        """Whether a call may be sent beside those that are under way.

        Whom an interrupt would hit can be told of tasks only. What has none, extras and all jobs
        of versions that know none, has the server for itself.
        """
        together = self._client.knows_tasks and not alone
        return not self._under_way or (together and not any(call.alone for call in self._under_way))

    def _leave(self, call: GenerationCall) -> None:
        """Give the call's place away, at once or when it is answered."""
        if not call.answer.done():
            call.answer.add_done_callback(lambda _: self._leave(call))
            return
        self._under_way.remove(call)
        self._wake()

    def _wake(self) -> None:
        """Let those that wait for their turn look again."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def _ask(self, route: str, body: Body) -> CallAnswer:
        async with self._http.stream("POST", route, body=body, timeout=WORK) as answer:
            with Spools() as spools:
                if not answer.ok:
                    return CallAnswer(await answer.read(), {}, spools)
                value = await answer.json_object(spools)
                kept = spools.moved()
        return CallAnswer(None, value, kept)

    async def _sight(self, call: GenerationCall, *, look: bool = False) -> Sight | None:
        """How far the call has come; None unless it is the one that the server works on."""
        knew = self._client.knows_tasks
        just_sent = asyncio.get_running_loop().time() < call.sent_at + GRACE_SECONDS
        previews = call.previews if look else None
        sight = await self._client.sight(call.task, just_sent=just_sent, previews=previews)
        if self._client.knows_tasks and not knew:
            self._wake()
        return sight

    async def _follow(self, call: GenerationCall, report: Callable[[Sight], None]) -> None:
        """Report progress, and see whether somebody else stops the run."""
        while True:
            is_followed = self._under_way[-1:] != [call]
            await asyncio.sleep(CLOSE_POLL_SECONDS if is_followed else POLL_SECONDS)
            clock, interrupts = asyncio.get_running_loop().time, self._interrupts
            asked = clock()
            with contextlib.suppress(QueueAgentError):  # the call itself tells what is wrong
                sight = await self._sight(call, look=True)
                if sight is not None:
                    report(sight)
                    call.pace.note(asked, clock(), sight.fraction)
                    stopped = await self._client.was_stopped()
                    call.disturbed |= stopped and interrupts == self._interrupts

    async def _stop(self, call: GenerationCall) -> None:
        """Stop the work of a cancelled run, now if it runs, else as soon as its turn comes."""
        watcher = asyncio.create_task(self._watch(call))
        self._watchers.add(watcher)
        watcher.add_done_callback(self._watchers.discard)
        if self._under_way[:1] == [call]:
            await asyncio.wait({watcher}, timeout=STOP_SECONDS)

    async def _watch(self, call: GenerationCall) -> None:
        while not call.answer.done():
            with contextlib.suppress(QueueAgentError):  # not reachable: there is nothing to stop
                if await self._sight(call) is not None:
                    await self._interrupt(call)
            await asyncio.wait({call.answer}, timeout=WATCH_SECONDS)
        if not call.answer.cancelled():
            call.answer.exception()  # nobody is left to hear of it

    async def _interrupt(self, call: GenerationCall) -> None:
        """Interrupt a call; others are in doubt if it had ended before the interrupt came.

        The Web UI can only be told to stop whatever runs. It does so no more with those that are
        over and whose answers are on their way.
        """
        others = [
            other
            for other in self._under_way
            if other is not call and not await self._client.is_over(other.task)
        ]
        async with self._interrupting:
            self._interrupts += 1
            await self._client.interrupt()
            if await self._sight(call) is None:
                for other in others:
                    other.disturbed |= await self._client.was_hit(other.task)

    async def _look_back(self, call: GenerationCall) -> None:
        """See whether somebody else has stopped a run that is over.

        The server tells until the next one begins; of one that another waited behind, or while
        which there was an interrupt of our own, only that it was over much too early.
        """
        if len(self._under_way) > 1 or self._interrupts != call.interrupts:
            call.disturbed |= call.pace.ended_early(asyncio.get_running_loop().time())
            return
        with contextlib.suppress(QueueAgentError):  # the answer is here, and counts
            call.disturbed |= await self._client.was_stopped()


def _discard(answer: asyncio.Task[CallAnswer]) -> None:
    """Close the files of an answer that nobody waits for any more."""
    if not answer.cancelled() and answer.exception() is None:
        answer.result().spools.close()
