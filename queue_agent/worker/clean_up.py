"""What jobs leave on the runtime is removed, and no job hangs on it."""

import asyncio
from typing import Final

import structlog

from queue_agent.runtime import Runtime
from queue_agent.wire.errors import QueueAgentError
from queue_agent.wire.job import Job
from queue_agent.worker.surprises import no_surprises

log = structlog.get_logger()

_LONGEST: Final = 5.0
"""Seconds that a job's end waits for it."""


async def clean_up(runtime: Runtime, job: Job, *, again: bool) -> None:
    """Have the runtime remove what the job has left there; never fails."""
    try:
        async with asyncio.timeout(_LONGEST):
            with no_surprises():
                await runtime.clean_up(job, again=again)
    except (QueueAgentError, TimeoutError) as error:
        log.warning("left on the runtime", reason=str(error) or "it took too long")
