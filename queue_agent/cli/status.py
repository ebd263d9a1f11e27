"""`queue-agent status` and `list`: how jobs ended, or how far one is."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from rich.console import Console

from queue_agent.client import Client
from queue_agent.client.traces import Trace
from queue_agent.wire.errors import Unavailable
from queue_agent.wire.notification import Notification
from queue_agent.wire.result import Result

COMPLETED, ENDED_OTHERWISE, NOT_ENDED, UNKNOWN = 0, 1, 3, 4

_PATIENCE: Final = 5.0
_TOLD: Final[Mapping[Trace, str]] = {
    Trace.UNDER_WAY: "{id} has not ended: an agent works on it.",
    Trace.CANCELLED: "{id} has not ended; it was asked to be given up.",
    Trace.NONE: "Nothing is known of {id} below {prefix}/: it waits for an agent or has just "
    "begun, or nobody submitted a job with this id and prefix.",
}


async def status(
    client: Client, job_id: str, *, prefix: str, output: Path | None, listens: bool
) -> int:
    """Print the result's notification, save the images where asked; the exit code.

    Of a job that has not ended the latest progress is printed, if it is told while it is listened
    for.
    """
    errors = Console(stderr=True, soft_wrap=True)
    job = client.job(job_id, prefix=prefix)
    result = await job.find()
    if result is None:
        running = await _progress(client, job_id) if listens else None
        if running is not None:
            Console().print_json(running.to_json())
            errors.print(f"{job_id} has not ended: {running.progress or 0:.0%}.")
            return NOT_ENDED
        if listens:
            result = await job.find()  # it may have ended meanwhile
    if result is None:
        trace = await job.trace()
        errors.print(_TOLD[trace].format(id=job_id, prefix=prefix), markup=False)
        for paused in await client.paused():
            errors.print(f"Paused: {paused}.", markup=False)
        return UNKNOWN if trace is Trace.NONE else NOT_ENDED
    Console().print_json(result.notification().to_json())
    if output is not None:
        for path in await client.save(result, output):
            errors.print(f"saved [bold]{path}[/bold]")
    return COMPLETED if result.result else ENDED_OTHERWISE


async def show_latest(client: Client, *, prefix: str, limit: int, as_json: bool) -> None:
    """Print a line for each of the latest results."""
    shown = 0
    async for result in client.results(prefix=prefix, limit=limit):
        shown += 1
        print(result.notification().to_json() if as_json else line_of(result), flush=True)
    if not shown:
        Console(stderr=True).print(f"No job with the prefix {prefix} has ended.", markup=False)


def line_of(result: Result) -> str:
    """Id, status, runtime, and images or the reason why there are none; tabs between."""
    count = len(result.images) or len(result.image_url)
    told = result.error.message if result.error else f"{count} image{'' if count == 1 else 's'}"
    columns = (result.id, result.status, result.runtime, told)
    return "\t".join(_printable(column) for column in columns)


def _printable(text: str) -> str:
    """In a line, without what would steer the terminal."""
    return "".join(sign if sign.isprintable() else "\ufffd" for sign in " ".join(text.split()))


async def _progress(client: Client, job_id: str) -> Notification | None:
    """The next that is told of the job while it runs."""
    try:
        async with (
            client.notifications(job_id=job_id) as notifications,
            asyncio.timeout(_PATIENCE),
        ):
            async for notification in notifications:
                return notification if notification.status == "running" else None
    except (TimeoutError, Unavailable):  # without the right to listen, too
        return None
    return None
