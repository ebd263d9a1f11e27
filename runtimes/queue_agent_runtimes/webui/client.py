"""The Web UI's questions and orders, beside the generation itself."""

import re
from typing import Final

from pydantic import JsonValue

from queue_agent.runtime import Readiness
from queue_agent.runtime.http import READY, RuntimeClient, readiness_of
from queue_agent.wire.errors import QueueAgentError, Rejected, Unavailable
from queue_agent_runtimes.webui.answer import error_of
from queue_agent_runtimes.webui.request import JsonObject

_PROGRESS: Final = "/sdapi/v1/progress"
_WITHOUT_IMAGE: Final = {"skip_current_image": "true"}
_CHECKSUM: Final = re.compile(r"\s*\[[^]]+]\s*$")


class WebUIClient:
    """Asks and orders; errors are `Rejected` or `Unavailable`."""

    def __init__(self, http: RuntimeClient) -> None:
        self._http = http
        self._knows_tasks = True

    async def readiness(self) -> Readiness:
        """Whether the API is there and accepts our credentials."""
        try:
            answer = await self._http.send("GET", _PROGRESS, params=_WITHOUT_IMAGE, timeout=READY)
            if not answer.ok:
                return readiness_of(answer if answer.is_page else error_of(answer))
            answer.json_object()
        except QueueAgentError as error:
            return readiness_of(error)
        return Readiness()

    async def fraction(self, task: str | None, *, first: bool) -> float | None:
        """How far the task has come, from 0 to 1; None unless it is the one that runs.

        Where the server does not name what runs (extras have no task id, old versions name
        nothing), it is taken for ours if `first` says that none of ours was sent before it.
        """
        if task is not None and (report := await self._task_report(task)) is not None:
            return _number(report.get("progress")) if report.get("active") is True else None
        report = await self._report()
        current = report.get("current_task")
        ours = current == task if isinstance(current, str) else first
        return _number(report.get("progress")) if ours and _flag(report, "job_count") else None

    async def was_hit(self, task: str | None) -> bool:
        """Whether the last interrupt may have hit this task; the next generation forgets it."""
        started = False
        if task is not None and (report := await self._task_report(task)) is not None:
            if report.get("queued") is True:
                return False
            started = True
        report = await self._report()
        return _flag(report, "interrupted") and (started or _flag(report, "job_count"))

    async def interrupt(self) -> None:
        """Stop whatever runs now at its next step."""
        answer = await self._http.send("POST", "/sdapi/v1/interrupt")
        if not answer.ok:
            raise error_of(answer)

    async def find_checkpoint(self, name: str) -> str:
        """A name of the checkpoint that the server understands; its folder is read anew if needed.

        Raises:
            Rejected: there is no such checkpoint (type ``unknown_model``).
        """
        found = _match(name, await self._checkpoints())
        if found is None:
            answer = await self._http.send("POST", "/sdapi/v1/refresh-checkpoints")
            if not answer.ok:
                raise error_of(answer)
            found = _match(name, await self._checkpoints())
        if found is None:
            raise Rejected(f"The runtime has no checkpoint {name!r}.", type="unknown_model")
        return found

    async def _checkpoints(self) -> list[JsonObject]:
        answer = await self._http.send("GET", "/sdapi/v1/sd-models")
        if not answer.ok:
            raise error_of(answer)
        listed = answer.json()
        if not isinstance(listed, list):
            raise Unavailable("The list of checkpoints is no list.", type="invalid_answer")
        return [entry for entry in listed if isinstance(entry, dict)]

    async def _task_report(self, task: str) -> JsonObject | None:
        """What the server says of one task; None where it cannot tell tasks apart."""
        if not self._knows_tasks:
            return None
        answer = await self._http.send(
            "POST", "/internal/progress", json={"id_task": task, "live_preview": False}
        )
        if answer.ok:
            return answer.json_object()
        if answer.status not in {404, 405}:
            raise error_of(answer)
        self._knows_tasks = False  # e.g. started with --nowebui
        return None

    async def _report(self) -> JsonObject:
        answer = await self._http.send("GET", _PROGRESS, params=_WITHOUT_IMAGE)
        if not answer.ok:
            raise error_of(answer)
        return answer.json_object()


def _match(name: str, listed: list[JsonObject]) -> str | None:
    """The server's own rules: one of a checkpoint's names, else a part of a title.

    Newer versions use only full names within a request, so that a part becomes its title.
    """
    titles = []
    for entry in listed:
        title = str(entry.get("title", ""))
        names = {title, _CHECKSUM.sub("", title)}
        names |= {str(entry.get(key)) for key in ("model_name", "hash", "sha256")}
        if name in names:
            return name
        titles.append(title)
    parts = [title for title in titles if _CHECKSUM.sub("", name) in title]
    return min(parts, key=len, default=None)


def _flag(report: JsonObject, name: str) -> bool:
    state = report.get("state")
    return isinstance(state, dict) and bool(state.get(name))


def _number(value: JsonValue) -> float:
    return float(min(max(value, 0), 1)) if isinstance(value, int | float) else 0.0
