"""What was done of the bundled runtime's jobs, fetched from it and given to it."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

import structlog

from queue_agent.runtime import Checkpoint, Prepared
from queue_agent.runtime.http import ASK, READY, Body, RuntimeClient, error_from
from queue_agent.wire.errors import QueueAgentError, Unavailable

log = structlog.get_logger()

MEDIA_TYPE: Final = "application/octet-stream"
DONE: Final = "X-Checkpoint-Done"
"""The header that says how much is done in one."""
_LARGEST: Final = 1024 * 1024 * 1024
_DIGITS: Final = 10
_NOTHING: Final = frozenset({204, 404, 405})


class Checkpointing:
    """Of the runs under way of one server."""

    def __init__(self, client: RuntimeClient, limit: int | None) -> None:
        """`limit`: bytes of a checkpoint that are of use; None: any."""
        self._client = client
        self._limit = _LARGEST if limit is None else min(limit, _LARGEST)
        self._run_ids: dict[int, str] = {}
        """By the identity of what was prepared, which lives as long as the run."""

    @contextmanager
    def running(self, prepared: Prepared, run_id: str) -> Iterator[None]:
        """Within it, the run is under way by that id."""
        self._run_ids[id(prepared)] = run_id
        try:
            yield
        finally:
            self._run_ids.pop(id(prepared), None)

    async def hand_over(self, prepared: Prepared, run_id: str) -> None:
        """A run is about to be asked for, which goes on from its checkpoint, if that is of use."""
        if prepared.checkpoint is None:
            return
        with suppress(QueueAgentError):  # the run begins anew, or finds the server gone
            answer = await self._client.send(
                "PUT",
                f"/v1/jobs/{run_id}/checkpoint",
                body=Body([prepared.checkpoint], MEDIA_TYPE),
                timeout=ASK,
            )
            if not answer.ok:
                log.warning("checkpoint refused", status=answer.status)

    async def of(self, prepared: Prepared, *, stop: bool) -> Checkpoint | None:
        """What a run has done so far; see `Runtime.checkpoint`."""
        run_id = self._run_ids.get(id(prepared))
        if run_id is None:
            return None
        what = "suspend" if stop else "checkpoint"
        path = f"/v1/jobs/{run_id}/{what}?limit={self._limit}"  # which older servers do not heed
        method = "POST" if stop else "GET"
        answer = await self._client.send(method, path, timeout=ASK, limit=_LARGEST)
        if answer.status in _NOTHING:
            return None
        if not answer.ok:
            raise error_from(answer, faults_of_the_job=())
        done = answer.headers.get(DONE, "")
        if not (done.isascii() and done.isdecimal() and len(done) <= _DIGITS):
            raise Unavailable("The runtime does not say how much is done.", type="invalid_answer")
        return Checkpoint(answer.body, int(done))

    async def saved(self, prepared: Prepared, run_id: str) -> int:
        """How many steps a run did not take, thanks to its checkpoint."""
        if prepared.checkpoint is None:
            return 0
        try:
            answer = await self._client.send("GET", f"/v1/jobs/{run_id}", timeout=READY)
            steps = answer.json_object().get("resumed_steps") if answer.ok else 0
        except QueueAgentError:
            return 0
        return steps if isinstance(steps, int) else 0
