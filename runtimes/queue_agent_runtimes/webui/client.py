"""The Web UI's questions and orders, beside the generation itself."""

import time
from dataclasses import dataclass, field
from typing import Final

from pydantic import JsonValue

from queue_agent.runtime import Readiness
from queue_agent.runtime.http import READY, readiness_of
from queue_agent.wire.errors import QueueAgentError
from queue_agent_runtimes.webui.answer import error_of
from queue_agent_runtimes.webui.fields import JsonObject
from queue_agent_runtimes.webui.previews import LivePreviews
from queue_agent_runtimes.webui.start import StartAwareClient

_PROGRESS: Final = "/sdapi/v1/progress"
_WITHOUT_IMAGE: Final = {"skip_current_image": "true"}
_NEVER_RAN: Final = "0"
"""The time stamp of the last job where there was none since the server started."""
_OF_GENERATIONS: Final = ("scripts_", "task(", "Batch ")
"""How the state names what is no extras job."""


@dataclass(frozen=True)
class Sight:
    """A run under way."""

    fraction: float
    """From 0 to 1."""
    preview: bytes | None = field(default=None, repr=False)
    """What it looks like, if that was asked for and is news."""


class WebUIClient:
    """Asks and orders; errors are `Rejected` or `Unavailable`."""

    def __init__(self, http: StartAwareClient) -> None:
        self._http = http
        self._has_task_route = True
        self.knows_tasks = False
        """Whether it was seen to know one of our tasks. Up to 1.7, and in SD.Next, `force_task_id`
        is not heard of, and every id is as unknown as one that has not begun."""

    def forget(self) -> None:
        """Another version may be there next."""
        self._has_task_route, self.knows_tasks = True, False

    async def readiness(self) -> Readiness:
        """Whether the API is there and accepts our credentials; a start is not disturbed."""
        if (reason := await self._http.starting()) is not None:
            return reason
        try:
            answer = await self._http.send("GET", _PROGRESS, params=_WITHOUT_IMAGE, timeout=READY)
            if not answer.ok:
                error = error_of(answer)
                if error.type == "runtime_api_missing" and self._http.starts_still():
                    return Readiness("starting", "it answers, and its API is not there yet")
                return readiness_of(answer if answer.is_page else error)
            answer.json_object()
        except QueueAgentError as error:
            return readiness_of(error)
        return Readiness()

    async def is_fresh(self) -> bool:
        """Whether it has worked on nothing since it started."""
        state = _state(await self._report())
        return state.get("job_timestamp") == _NEVER_RAN and not state.get("job_count")

    async def sight(
        self, task: str | None, *, just_sent: bool = False, previews: LivePreviews | None = None
    ) -> Sight | None:
        """How far the task has come; None unless it is the one that runs.

        Extras have no task. Where the server cannot tell, what runs is taken for ours: none other
        of ours is there. One that was `just_sent` may not have been heard of yet. The server is
        asked for images only where there are `previews` to take them.
        """
        if task is not None:
            report = await self._task_report(task, previews)
            if report is not None and any(
                report.get(name) is True for name in ("active", "queued", "completed")
            ):
                self.knows_tasks = True
                active = report.get("active") is True
                return _sight(report, previews) if active else None
            if self.knows_tasks or (report is not None and just_sent):
                return None
        report = await self._report(with_image=previews is not None)
        state = _state(report)
        if not state.get("job_count"):
            return None
        if task is None and str(state.get("job", "")).startswith(_OF_GENERATIONS):
            return None  # ours is encoded, or waits for its turn
        return _sight(report, previews)

    async def was_stopped(self) -> bool:
        """Whether what runs, or ran last, was told to stop or to skip."""
        state = _state(await self._report())
        return bool(state.get("interrupted") or state.get("skipped"))

    async def is_over(self, task: str | None) -> bool:
        """Whether the server says that it has finished this task."""
        report = await self._task_report(task) if task is not None else None
        return report is not None and report.get("completed") is True

    async def was_hit(self, task: str | None) -> bool:
        """Whether the last interrupt may have hit this task; the next generation forgets it."""
        if task is not None:
            report = await self._task_report(task)
            if report is not None and report.get("queued") is True:
                return False
        return bool(_state(await self._report()).get("interrupted"))

    async def interrupt(self) -> None:
        """Stop whatever runs now at its next step."""
        answer = await self._http.send("POST", "/sdapi/v1/interrupt")
        if not answer.ok:
            raise error_of(answer)

    async def _task_report(
        self, task: str, previews: LivePreviews | None = None
    ) -> JsonObject | None:
        """What the server says of one task; None where it has no such route."""
        if not self._has_task_route:
            return None
        asked: JsonObject = {"id_task": task, "live_preview": previews is not None}
        if previews is not None:
            asked["id_live_preview"] = previews.last_id
        answer = await self._http.send("POST", "/internal/progress", json=asked)
        if answer.ok:
            return answer.json_object()
        if answer.status not in {404, 405}:
            raise error_of(answer)
        self._has_task_route = False  # e.g. started with --nowebui
        return None

    async def _report(self, *, with_image: bool = False) -> JsonObject:
        params = None if with_image else _WITHOUT_IMAGE
        answer = await self._http.send("GET", _PROGRESS, params=params)
        if not answer.ok:
            raise error_of(answer)
        return answer.json_object()


def _sight(report: JsonObject, previews: LivePreviews | None) -> Sight:
    image = None
    if previews is not None:
        image = previews.take(report, time.monotonic())
    return Sight(_number(report.get("progress")), image)


def _state(report: JsonObject) -> JsonObject:
    state = report.get("state")
    return state if isinstance(state, dict) else {}


def _number(value: JsonValue) -> float:
    return float(min(max(value, 0), 1)) if isinstance(value, int | float) else 0.0
