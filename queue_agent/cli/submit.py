"""`queue-agent submit`: publish one job, and follow it to its end if asked."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from queue_agent.client import Client, SubmittedJob
from queue_agent.estimates.estimator import with_estimate
from queue_agent.wire.estimate import Basis, JobEstimate, Spread
from queue_agent.wire.job import Job
from queue_agent.wire.notification import Notification

_BASIS: Final[Mapping[Basis, str]] = {
    "model": "by runs of the same model",
    "runtime": "by runs of other models, since none of this one was seen",
    "setting": "a guess, since no run was seen yet",
}


async def submit(
    client: Client, job: Job, *, estimate: bool = False, as_json: bool = False
) -> None:
    """Publish the job; print its id, or its metadata as a JSON line."""
    errors = Console(stderr=True, soft_wrap=True)
    await _tell_of_pause(client, job, errors)
    submitted = await client.submit(job, estimate=estimate)
    if estimate:
        told = submitted.estimate
        _tell(errors, told)
        if told is not None:
            job = with_estimate(job, told)
    print(job.metadata.model_dump_json(exclude_none=True) if as_json else job.id)


async def _tell_of_pause(client: Client, job: Job, console: Console) -> None:
    """Say that the job will wait; raises as `Client.held_back`."""
    if (pause := await client.held_back(job)) is not None:
        console.print(f"Paused, so that the job waits: {pause}.", markup=False)


async def submit_and_wait(
    client: Client,
    job: Job,
    output: Path | None,
    *,
    patience: float,
    estimate: bool = False,
    as_json: bool = False,
) -> int:
    """Publish and follow the job, print its notification, save the images; the exit code.

    0: completed, 1: ended otherwise, 3: not ended within so many seconds, as of `status`.
    """
    console = Console(stderr=True)
    await _tell_of_pause(client, job, console)
    async with client.notifications(job_id=job.id) as notifications:
        submitted = await client.submit(job, estimate=estimate)
        if estimate:
            _tell(console, submitted.estimate)
        whose = f"an agent of {job.metadata.runtime}" if job.metadata.runtime else "an agent"
        console.print(f"Waiting up to {patience:g} s for {whose} to tell the end of {job.id}.")
        try:
            async with asyncio.timeout(patience):
                final = await follow(notifications, console, submitted)
        except TimeoutError:
            console.print(
                f"{job.id} has not ended within {patience:g} s; it goes on without us. Is an agent "
                f"running, and is its queue subscribed? Later: queue-agent status {job.id}"
            )
            return 3
    if as_json:
        print(final.to_json())
    else:
        Console().print_json(final.to_json())
    if output is not None:
        for path in await client.save(final, output):
            console.print(f"saved [bold]{path}[/bold]")
    return 0 if final.status == "completed" else 1


def _tell(console: Console, estimate: JobEstimate | None) -> None:
    for line in estimate_lines(estimate):
        console.print(line, highlight=False)


def estimate_lines(estimate: JobEstimate | None) -> Iterator[str]:
    """For people: what is expected, and between what it lies in eight cases of ten."""
    if estimate is None:
        yield "No estimate: the bucket does not answer."
        return
    if estimate.start is None or estimate.end is None:
        yield "Its start is not known: name the queue (QUEUE_AGENT_QUEUE_URL) to have it estimated."
    else:
        yield f"Starts in {_seconds(estimate.start)}, ends in {_seconds(estimate.end)}."
    cost = ""
    if estimate.cost is not None:
        spread = estimate.cost
        low, expected, high = (f"{it:.3g}" for it in (spread.low, spread.expected, spread.high))
        cost = f", which cost {expected} ({low} to {high})"
    yield f"GPU: {_seconds(estimate.gpu_seconds)}{cost}; {_BASIS[estimate.basis]}."


def _seconds(spread: Spread) -> str:
    low, expected, high = (
        f"{value:.1f}" if value < 100 else f"{value:,.0f}"
        for value in (spread.low, spread.expected, spread.high)
    )
    return f"{expected} s ({low} to {high})"


async def follow(
    notifications: AsyncIterator[Notification], console: Console, job: SubmittedJob
) -> Notification:
    """Show a progress bar until the job's final notification, which is returned.

    That of another content under the same id is none.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:.0f} %"))
    with Progress(*columns, TimeElapsedColumn(), console=console) as bar:
        task = bar.add_task(job.id, total=1.0)
        shown = None
        async for notification in notifications:
            if job.ended_by(notification):
                bar.update(task, completed=1.0 if notification.result else None)
                return notification
            if notification.status == "running":
                bar.update(task, completed=notification.progress or 0.0)
                preview = notification.preview
                if preview is not None and preview != shown:
                    console.print(f"preview {preview.number}: {preview.url}")
                    shown = preview
    raise RuntimeError("the notifications ended")
