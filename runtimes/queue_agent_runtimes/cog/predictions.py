"""Predictions at one server: sent, followed and stopped.

``PUT /predictions/{id}`` answers when the prediction is over; 409 while all places are taken; 202
with what is known so far while one of that id is under way. So a second PUT of the same id shows
how far it is. It must start nothing where the first is over, so its input is one that no model
takes: an array. The server stops a prediction by ``/cancel``, which answers 404 when none of that
id is under way, and one whose connection closes. It loses either that comes before the model's
code has begun, and then goes on to the end; so the connection is kept while it is told again.
"""

import asyncio
import contextlib
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from pydantic import JsonValue
from pydantic_core import to_json

from queue_agent.runtime import (
    Asset,
    Prepared,
    Progress,
    ProgressCallback,
    Spools,
    not_yet_submitted,
)
from queue_agent.runtime.http import (
    WORK,
    Base64,
    Body,
    Part,
    RuntimeClient,
    error_from,
)
from queue_agent.wire.errors import QueueAgentError, RuntimeAway, RuntimeSick, Unavailable
from queue_agent.wire.job import Job
from queue_agent_runtimes.cog.failures import refused
from queue_agent_runtimes.cog.health import BUSY, ModelHealth
from queue_agent_runtimes.cog.logs import progress_of
from queue_agent_runtimes.cog.places import Place

POLL_SECONDS: Final = 0.5
SHORTEST_POLL_SECONDS: Final = 0.05
"""A place is free a moment after the answer of the prediction that had it."""
_UNDER_WAY: Final = 202
_BUSY: Final = 409
_MOST_REFUSALS: Final[Mapping[int, int]] = {_UNDER_WAY: 3, _BUSY: 100}
"""By status. Others may be quicker each time, but whoever is never let in has found no server of
cog's; and each of the first kind may have made what nobody can fetch."""
STOP_SECONDS: Final = 5.0
"""For how long it is told to stop before the connection is closed; then `still_runs` does."""
FIRST_REPEAT_SECONDS: Final = 0.1
"""Then twice as long each time: what is raised again breaks off what the model's code tidies up."""
_SMALL: Final = 4 * 2**20
_NO_INPUT: Final[JsonValue] = {"input": []}

Json = dict[str, JsonValue]


@dataclass(frozen=True)
class CogPrepared(Prepared):
    """A model's input, and the files that go into it."""

    files: Mapping[Place, Asset] = field(default_factory=dict, repr=False)


class Predictions:
    """Those of one adapter."""

    def __init__(self, client: RuntimeClient, health: ModelHealth) -> None:
        self._client, self._health = client, health

    async def make(self, prepared: CogPrepared, progress: ProgressCallback, spools: Spools) -> Json:
        """The answer of the prediction, once it is over.

        While others have the server it waits for its turn, and while one of the same job is under
        way, left by an attempt that was broken off, for the end of that: the API gives its output
        to nobody else.

        Raises:
            QueueAgentError: the server refuses it, cannot work, or is gone.
        """
        path = _path(prepared.job)
        rising = _Rising(progress)
        refusals: Counter[int] = Counter()
        while True:
            sending = asyncio.create_task(self._sent(path, prepared, rising, spools))
            try:
                async with self._followed(path, rising):
                    await asyncio.wait({sending})
                answer = sending.result()
                if not isinstance(answer, int):
                    return answer
            except (RuntimeAway, RuntimeSick):
                raise
            except (asyncio.CancelledError, Unavailable):
                await asyncio.shield(self._stop(path, sending))
                raise
            finally:
                sending.cancel()  # where it was cancelled twice
            refusals[answer] += 1
            if refusals[answer] > _MOST_REFUSALS[answer]:
                raise Unavailable(
                    f"The runtime answers {answer} again, without an outcome, whenever it says "
                    "that it has a place.",
                    type="invalid_answer",
                )
            with not_yet_submitted():
                await self._turn(path, min(POLL_SECONDS, SHORTEST_POLL_SECONDS * refusals.total()))

    async def still_runs(self, prepared: CogPrepared) -> bool:
        """Whether the server has a prediction of the job; it is told to stop it once more.

        Raises:
            Unavailable: it does not say.
        """
        return await self._told_to_stop(_path(prepared.job))

    async def _stop(self, path: str, sending: "asyncio.Task[Json | int]") -> None:
        """Tell the server to stop until the prediction is over; at last close its connection."""
        pause = FIRST_REPEAT_SECONDS
        with contextlib.suppress(TimeoutError, QueueAgentError):
            async with asyncio.timeout(STOP_SECONDS):
                while await self._told_to_stop(path) or not sending.done():
                    if sending.done():
                        await asyncio.sleep(pause)
                    await asyncio.wait({sending}, timeout=pause)
                    pause *= 2
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)

    async def _told_to_stop(self, path: str) -> bool:
        """Whether there was anything to stop."""
        answer = await self._client.send("POST", f"{path}/cancel", limit=_SMALL)
        if answer.status not in {200, 404}:
            raise error_from(answer, faults_of_the_job=())
        answer.json_object()
        return answer.ok

    @contextlib.asynccontextmanager
    async def _followed(self, path: str, rising: "_Rising") -> AsyncIterator[None]:
        follower = asyncio.create_task(self._follow(path, rising))
        try:
            yield
        finally:
            follower.cancel()
            await asyncio.wait({follower})

    async def _sent(
        self, path: str, prepared: CogPrepared, rising: "_Rising", spools: Spools
    ) -> Json | int:
        """The prediction's answer; the status where the server has no place for it, or has it."""
        async with self._client.stream(
            "PUT", path, body=body_of(prepared.request, prepared.files), timeout=WORK
        ) as answer:
            if answer.status == 200:
                rising.report(Progress(0.0))
                said = await answer.json_object(spools)
                if said.get("id", name := path.rpartition("/")[2]) not in (name, None):
                    raise Unavailable(
                        "The runtime answers for another prediction.", type="invalid_answer"
                    )
                return said
            if answer.status in _MOST_REFUSALS:
                return answer.status
            raise refused(await answer.read())

    async def _turn(self, path: str, pause: float) -> None:
        """Wait until the server may have a place, and nothing of this job; first so many seconds.

        Raises:
            RuntimeSick: it has none ever again.
            RuntimeAway: it cannot work now.
        """
        while True:
            await asyncio.sleep(pause)
            pause = min(2 * pause, POLL_SECONDS)
            readiness = await self._health.ask()
            if readiness.state == "sick":
                raise RuntimeSick(readiness.reason)
            if not readiness:
                raise RuntimeAway(readiness.reason)
            if await self._state(path) is None and self._health.status != BUSY:
                return

    async def _follow(self, path: str, rising: "_Rising") -> None:
        """Report how far the prediction is, until cancelled."""
        while True:
            await asyncio.sleep(POLL_SECONDS)
            with contextlib.suppress(QueueAgentError):  # the prediction itself tells what is wrong
                if state := await self._state(path):
                    logs = state.get("logs")
                    rising.report(progress_of(logs if isinstance(logs, str) else ""))

    async def _state(self, path: str) -> Json | None:
        """What is known of the prediction under way; None where there is none."""
        answer = await self._client.send("PUT", path, json=_NO_INPUT, limit=_SMALL)
        return answer.json_object() if answer.status == _UNDER_WAY else None


class _Rising:
    """Passes on reports whose fraction has not fallen."""

    def __init__(self, progress: ProgressCallback) -> None:
        self._progress = progress
        self._last: Progress | None = None

    def report(self, seen: Progress | None) -> None:
        """A report; None of a prediction that has begun and says no more than that."""
        last = self._last.fraction if self._last else 0.0
        seen = seen or Progress(last)
        risen = Progress(max(last, seen.fraction), seen.step, seen.steps)
        if risen != self._last:
            self._last = risen
            self._progress(risen)


def body_of(request: Mapping[str, JsonValue], files: Mapping[Place, Asset]) -> Body:
    """The request with the files as data URLs, each read while it is sent.

    Their places are held open by marks that no publisher can have written, since they are made
    up when the text is known.
    """
    mark = secrets.token_hex(16)
    assets = list(files.values())
    marks = {path: f"{mark}-{number}-" for number, path in enumerate(files)}
    given = request.get("input")
    filled = {**request, "input": _filled(given if isinstance(given, dict) else {}, (), marks)}
    first, *others = to_json(filled).split(mark.encode())
    parts: list[Part] = [first]
    for piece in others:
        _, number, behind = piece.split(b"-", 2)
        asset = assets[int(number)]
        parts += [f"data:{asset.media_type};base64,".encode(), Base64(asset), behind]
    return Body(parts, "application/json")


def _filled(value: JsonValue, place: Place, marks: Mapping[Place, str]) -> JsonValue:
    if place in marks:
        return marks[place]
    if isinstance(value, dict):
        return {name: _filled(entry, (*place, name), marks) for name, entry in value.items()}
    if isinstance(value, list):
        return [_filled(entry, (*place, number), marks) for number, entry in enumerate(value)]
    return value


def _path(job: Job) -> str:
    """Where a job's prediction is: the same for each of its attempts, and for no other content."""
    return f"/predictions/{job.id}-{job.digest[:12]}"
