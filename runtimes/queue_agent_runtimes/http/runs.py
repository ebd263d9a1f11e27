"""A run on the server: sent and answered, or accepted and polled; stopped where it is cancelled."""

import asyncio
import math
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Final

from pydantic import JsonValue

from queue_agent.runtime import Artifact, Prepared, Progress, ProgressCallback, Spools, submitted
from queue_agent.runtime.http import ANSWER_LIMIT, DOWNLOAD, WORK
from queue_agent.tasks import background
from queue_agent.wire.errors import (
    QueueAgentError,
    Rejected,
    RunLost,
    RuntimeAway,
    RuntimeSick,
    Unavailable,
)
from queue_agent_runtimes.http.bodies import HttpRequest, request_of
from queue_agent_runtimes.http.declaration import Declaration, HttpCall, Polling, ProgressReport
from queue_agent_runtimes.http.exchange import HttpExchange
from queue_agent_runtimes.http.failures import error_in
from queue_agent_runtimes.http.json_paths import found_at, is_equal
from queue_agent_runtimes.http.outputs import OutputReader
from queue_agent_runtimes.http.template import Rendered

__all__ = ["Outcome", "PreparedCall", "RisingProgress", "ServerRuns"]

STOP_TIMEOUT: Final = 5.0
"""Seconds that the server has to take note of a cancellation."""
POLL_FAILURES: Final = 3
"""Questions for a run, or for its files, that may go unanswered, one after another, before it is
given up."""
_SAME_AGAIN: Final = frozenset({"answer_too_large", "disk_full", "output_forbidden"})
"""Types of failures that another question for the files would only meet again."""
_SMALL: Final = 16 * 2**20
_LONGEST_ID: Final = 500

Values = Mapping[str, Rendered]
Outcome = tuple[tuple[Artifact, ...], JsonValue]
"""The files, and what the server said with them."""


@dataclass(frozen=True)
class PreparedCall(Prepared):
    """A job with the values of its parameters."""

    values: Values = field(default_factory=dict, repr=False)
    seed: int | None = None


@dataclass
class _GivenUp:
    """A run that was cancelled and that the server may still work on."""

    prepared: PreparedCall
    values: Values


class RisingProgress:
    """Reports of a run's progress that never fall."""

    def __init__(self, progress: ProgressCallback) -> None:
        self._progress = progress
        self._reached = 0.0

    def __call__(self, fraction: float | None) -> None:
        if fraction is not None and (fraction > self._reached or fraction == 1.0):
            self._reached = fraction
            self._progress(Progress(fraction))


class ServerRuns:
    """The runs of one server."""

    def __init__(
        self,
        declaration: Declaration,
        exchange: HttpExchange,
        readers: Mapping[str, OutputReader],
    ) -> None:
        """`readers` are those of the kinds of jobs."""
        self._declaration = declaration
        self._exchange = exchange
        self._readers = readers
        self._given_up: list[_GivenUp] = []

    async def outcome(
        self, prepared: PreparedCall, values: Values, told: RisingProgress, spools: Spools
    ) -> Outcome:
        """The files, and what the server said with them."""
        polling = self._declaration.polling
        if polling is not None:
            return await self._polled(prepared, values, polling, told, spools)
        request = request_of(self._request(prepared), values)
        async with self._stopped_if_cancelled(values), self._followed(values, told):
            return await self._answered(prepared, request, values, spools, step="request")

    async def _answered(
        self,
        prepared: PreparedCall,
        request: HttpRequest,
        values: Values,
        spools: Spools,
        *,
        step: str,
    ) -> Outcome:
        reader = self._readers[prepared.job.task_type]
        async with self._exchange.answered(
            request, step=step, timeout=WORK, limit=ANSWER_LIMIT
        ) as answer:
            if reader.outputs.source == "body":
                return await reader.of_body(answer, spools, seed=prepared.seed), {}
            value = await self._exchange.json(answer, spools, step=step)
            status = answer.status
        if (error := error_in(value, status, self._declaration.errors)) is not None:
            raise error
        return await reader.of_answer(value, values, spools, seed=prepared.seed), value

    async def _polled(
        self,
        prepared: PreparedCall,
        values: Values,
        polling: Polling,
        told: RisingProgress,
        spools: Spools,
    ) -> Outcome:
        accepted = {**values, "id": await self._submitted(prepared, values, polling)}
        try:
            with submitted():
                value = await self._until_done(polling, accepted, told, spools)
                return await self._fetched(prepared, value, accepted, polling, spools)
        except asyncio.CancelledError:
            self._given_up.append(_GivenUp(prepared, accepted))
            await asyncio.shield(self._stop(accepted))
            raise

    async def _fetched(
        self,
        prepared: PreparedCall,
        value: JsonValue,
        values: Values,
        polling: Polling,
        spools: Spools,
    ) -> Outcome:
        """`_result`, asked for again where it does not come: to run it again would take longer."""
        failures = 0
        while True:
            try:
                with spools.attempt():
                    return await self._result(prepared, value, values, polling, spools)
            except (RuntimeAway, RuntimeSick):
                raise
            except Unavailable as error:
                failures += 1
                told = polling.result is None and error.type == "invalid_answer"
                if failures >= POLL_FAILURES or told or error.type in _SAME_AGAIN:
                    raise
                await asyncio.sleep(max(polling.interval, error.retry_after))

    async def _result(
        self,
        prepared: PreparedCall,
        value: JsonValue,
        values: Values,
        polling: Polling,
        spools: Spools,
    ) -> Outcome:
        """Of a run whose poll's answer, the value, says that it is done."""
        if polling.result is not None:
            request = request_of(polling.result, values)
            return await self._answered(prepared, request, values, spools, step="result")
        reader = self._readers[prepared.job.task_type]
        return await reader.of_answer(value, values, spools, seed=prepared.seed), value

    async def _submitted(
        self, prepared: PreparedCall, values: Values, polling: Polling
    ) -> str | int:
        """The id of the accepted run. One that is accepted while it is cancelled is stopped."""
        call = self._request(prepared)
        sending = asyncio.create_task(self._exchange.ask(call, values, step="request"))
        try:
            answer = await asyncio.shield(sending)
        except asyncio.CancelledError:
            await asyncio.shield(self._stop_unheard(sending, prepared, values, polling))
            raise
        finally:
            if not sending.done():
                sending.cancel()
        if (error := error_in(answer, 200, self._declaration.errors)) is not None:
            raise error
        return _id_in(answer, polling)

    async def _stop_unheard(
        self,
        sending: "asyncio.Task[JsonValue]",
        prepared: PreparedCall,
        values: Values,
        polling: Polling,
    ) -> None:
        with suppress(QueueAgentError, TimeoutError):
            async with asyncio.timeout(STOP_TIMEOUT):
                accepted = {**values, "id": _id_in(await sending, polling)}
            self._given_up.append(_GivenUp(prepared, accepted))
            await self._stop(accepted)

    async def _until_done(
        self, polling: Polling, values: Values, told: RisingProgress, spools: Spools
    ) -> JsonValue:
        """The answer of the poll that says done.

        Raises:
            QueueAgentError: it says that the run failed.
            RunLost: the server forgot it, or is gone.
        """
        unheard = 0
        while True:
            try:
                value = await self._poll(polling, values, spools)
                state = _state(value, polling)
                unheard = 0
            except (RunLost, RuntimeAway):
                raise
            except Unavailable as error:
                unheard += 1
                if unheard >= POLL_FAILURES:
                    await self._stop(values)
                    raise
                await asyncio.sleep(max(polling.interval, error.retry_after))
                continue
            if _is_among(state, polling.done):
                return value
            self._raise_if_failed(value, state, polling)
            if self._declaration.progress is not None and not self._declaration.progress.request:
                told(_fraction(value, self._declaration.progress))
            await asyncio.sleep(polling.interval)

    async def _poll(self, polling: Polling, values: Values, spools: Spools) -> JsonValue:
        """The answer to a poll, which may hold the files."""
        request = request_of(polling.request, values)
        try:
            async with self._exchange.answered(
                request, step="poll", timeout=DOWNLOAD, limit=ANSWER_LIMIT
            ) as answer:
                return await self._exchange.json(answer, spools, step="poll")
        except QueueAgentError as error:
            if error.details.get("status") in polling.forgotten:
                raise RunLost(
                    f"The runtime does not know the run any more: {error.message}",
                    details=error.details,
                ) from error
            raise

    def _raise_if_failed(self, value: JsonValue, state: JsonValue, polling: Polling) -> None:
        errors = self._declaration.errors
        failed: type[QueueAgentError] | None = None
        if _is_among(state, polling.refused):
            failed = Rejected
        elif _is_among(state, polling.failed):
            failed = Unavailable
        if (error := error_in(value, 200, errors, failed=failed)) is not None:
            raise error

    async def _runs(self, polling: Polling, values: Values) -> bool:
        try:
            with Spools() as spools:
                state = _state(await self._poll(polling, values, spools), polling)
        except (RunLost, Rejected):
            return False
        if _is_among(state, (*polling.done, *polling.failed, *polling.refused)):
            return False
        await self._stop(values)
        return True

    @asynccontextmanager
    async def _stopped_if_cancelled(self, values: Values) -> AsyncIterator[None]:
        try:
            yield
        except asyncio.CancelledError:
            await asyncio.shield(self._stop(values))
            raise

    async def _stop(self, values: Values) -> None:
        """Tell the server to stop a run; that it does not is no matter here."""
        call = self._declaration.cancel
        if call is None:
            return
        with suppress(QueueAgentError, TimeoutError):
            async with asyncio.timeout(STOP_TIMEOUT):
                await self._discarded(call, values)

    async def _discarded(self, call: HttpCall, values: Values) -> None:
        request = request_of(call, values)
        async with self._exchange.answered(
            request, step="cancel", timeout=WORK, limit=_SMALL
        ) as answer:
            await answer.read()

    @asynccontextmanager
    async def _followed(self, values: Values, told: RisingProgress) -> AsyncIterator[None]:
        """Around the wait for an answer, ask how far the run is where that is declared."""
        report = self._declaration.progress
        if report is None or report.request is None:
            yield
            return
        async with background(self._relay(report, report.request, values, told)):
            yield

    async def _relay(
        self, report: ProgressReport, call: HttpCall, values: Values, told: RisingProgress
    ) -> None:
        while True:
            await asyncio.sleep(report.interval)
            with suppress(QueueAgentError):
                told(_fraction(await self._exchange.ask(call, values, step="progress"), report))

    async def still_runs(self, prepared: Prepared) -> bool | None:
        """By the poll, where one is declared; stopped once more if it does."""
        polling = self._declaration.polling
        if polling is None:
            return None
        for entry in [*self._given_up]:
            if entry.prepared is prepared and not await self._runs(polling, entry.values):
                self._given_up.remove(entry)
        return any(entry.prepared is prepared for entry in self._given_up)

    def _request(self, prepared: PreparedCall) -> HttpCall:
        return self._declaration.tasks[prepared.job.task_type].request


def _id_in(answer: JsonValue, polling: Polling) -> str | int:
    for found in found_at(polling.id, answer)[:1]:
        if isinstance(found, int) and not isinstance(found, bool):
            return found
        if isinstance(found, str) and 0 < len(found) <= _LONGEST_ID:
            return found
    raise Unavailable(
        f"The runtime's answer has no id of the run at {polling.id}.", type="invalid_answer"
    )


def _state(answer: JsonValue, polling: Polling) -> JsonValue:
    found = found_at(polling.status, answer)
    if len(found) != 1 or isinstance(found[0], list | dict):
        raise Unavailable(
            f"The runtime's answer has no state of the run at {polling.status}.",
            type="invalid_answer",
        )
    return found[0]


def _is_among(state: JsonValue, values: Iterable[JsonValue]) -> bool:
    return any(is_equal(state, value) for value in values)


def _fraction(answer: JsonValue, report: ProgressReport) -> float | None:
    """How far a run is, short of its end; None: the answer does not say."""
    for found in found_at(report.path, answer)[:1]:
        if isinstance(found, int | float) and not isinstance(found, bool) and math.isfinite(found):
            return min(0.99, max(0.0, found / report.scale))
    return None
