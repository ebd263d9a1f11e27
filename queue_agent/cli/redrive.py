"""`queue-agent redrive`: another chance for dead letters."""

import fnmatch
from dataclasses import dataclass

from rich.console import Console

from queue_agent.client import Client
from queue_agent.wire.errors import Malformed
from queue_agent.wire.job import Job, parse_job


@dataclass(frozen=True)
class DeadLetterFilter:
    """Which dead letters; what is None does not matter."""

    job_id: str | None = None
    """A shell pattern."""
    runtime: str | None = None
    task_type: str | None = None

    def takes(self, payload: str) -> bool:
        """Whether this is one of them; what is no job is only taken by a choice of all."""
        if self == DeadLetterFilter():
            return True
        job = _read(payload)
        return job is not None and (
            (self.job_id is None or fnmatch.fnmatchcase(job.id, self.job_id))
            and self.runtime in {None, job.metadata.runtime}
            and self.task_type in {None, job.task_type}
        )


async def redrive(
    client: Client,
    *,
    queue: str,
    dead_letters: str,
    choice: DeadLetterFilter,
    limit: int | None,
    dry: bool,
) -> None:
    """Send the chosen ones back, or only show them; print their ids and how many they are."""
    count = 0

    def show(payload: str) -> bool:
        nonlocal count
        if choice.takes(payload) and count != limit:
            print(_name(payload))
            count += 1
        return False

    async for payload in client.redrive(
        dead_letters=dead_letters,
        queue=queue,
        wanted=show if dry else choice.takes,
        limit=None if dry else limit,
    ):
        print(_name(payload))
        count += 1
    done = "would be sent back" if dry else "sent back"
    Console(stderr=True).print(f"{count} {done}", style="dim")


def _name(payload: str) -> str:
    job = _read(payload)
    return job.id if job else "(no readable job)"


def _read(payload: str) -> Job | None:
    try:
        return parse_job(payload)
    except Malformed:
        return None
