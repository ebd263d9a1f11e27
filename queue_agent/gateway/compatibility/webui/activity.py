"""What the caller's jobs are at, and an end to them."""

import base64
from collections.abc import Sequence
from typing import Final

from pydantic import JsonValue

from queue_agent.gateway.compatibility.webui.routing import RuntimePart, new_router
from queue_agent.gateway.dependencies import CallerPart, Gateway, GatewayPart
from queue_agent.gateway.keys import Caller
from queue_agent.gateway.records import Record
from queue_agent.gateway.schemas import JobView
from queue_agent.tasks import together

JsonObject = dict[str, JsonValue]
Unfinished = Sequence[tuple[Record, JobView]]

_LEAST: Final = 0.01
"""What the Web UI says of a job that has just begun; 0 means that nothing runs."""
_STEPS: Final = 50
"""Of a job that says nothing of them."""

router = new_router()


@router.get("/progress")
async def progress(
    gateway: GatewayPart,
    caller: CallerPart,
    runtime: RuntimePart,
    skip_current_image: bool = False,
) -> JsonObject:
    """How far the caller's job is that runs, the oldest if there are several."""
    unfinished = await gateway.service.unfinished(caller, runtime)
    running = [(record, view) for record, view in unfinished if view.status != "queued"]
    waiting = [view for _, view in unfinished if view.status == "queued"]
    shown = running[0][1] if running else next(iter(waiting), None)
    fraction = max(_LEAST, shown.progress or 0.0) if running and shown else 0.0
    return {
        "progress": fraction,
        "eta_relative": _seconds_left(gateway, shown, fraction),
        "state": _state(shown, fraction, len(unfinished)),
        "current_image": None
        if skip_current_image or not running
        else await _current_image(gateway, *running[0]),
        "textinfo": f"In queue: {len(waiting)}" if waiting and not running else None,
    }


@router.post("/interrupt")
async def interrupt(gateway: GatewayPart, caller: CallerPart, runtime: RuntimePart) -> JsonObject:
    """Cancel the caller's jobs that run or, where none does, the one that has waited longest."""
    await _cancel(gateway, caller, runtime)
    return {}


@router.post("/skip")
async def skip(gateway: GatewayPart, caller: CallerPart, runtime: RuntimePart) -> None:
    """The same: a job of several batches cannot be made to go on with the next."""
    await _cancel(gateway, caller, runtime)


async def _current_image(gateway: Gateway, record: Record, view: JobView) -> str | None:
    """The image of the work under way in base64, as the Web UI gives it."""
    image = await gateway.service.preview(record) if view.preview else None
    return base64.b64encode(image).decode() if image is not None else None


async def _cancel(gateway: Gateway, caller: Caller, runtime: str) -> None:
    unfinished = await gateway.service.unfinished(caller, runtime)
    running = [record for record, view in unfinished if view.status != "queued"]
    chosen = running or [record for record, _ in unfinished[:1]]
    await together(gateway.service.cancel(record) for record in chosen)


def _state(shown: JobView | None, fraction: float, count: int) -> JsonObject:
    steps = 0
    if shown is not None:
        asked = shown.content.get("steps")
        steps = asked if isinstance(asked, int) else _STEPS
    cancelling = shown is not None and shown.status == "cancelling"
    return {
        "skipped": False,
        "interrupted": cancelling,
        "stopping_generation": cancelling,
        "job": f"task({shown.id})" if shown else "",
        "job_count": count,
        "job_timestamp": f"{shown.submitted_at:%Y%m%d%H%M%S}" if shown else "0",
        "job_no": 0,
        "sampling_step": min(steps, round(fraction * steps)),
        "sampling_steps": steps,
    }


def _seconds_left(gateway: Gateway, shown: JobView | None, fraction: float) -> float:
    """About; 0 where nothing runs or nobody knows, as the Web UI says it."""
    if shown is None:
        return 0.0
    if shown.queue is not None and shown.queue.estimated_seconds is not None:
        return shown.queue.estimated_seconds
    pace = gateway.statistics.seconds_per_job(shown.runtime)
    return 0.0 if pace is None else round(pace * (1 - fraction), 1)
