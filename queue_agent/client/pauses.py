"""What operators have paused, as far as a publisher may see it."""

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Final

from queue_agent.cloud import Bucket
from queue_agent.cloud.pauses import PausesMarker, paused_runtimes
from queue_agent.runtime.model_use import ModelUse
from queue_agent.wire.errors import QueueAgentError, Rejected
from queue_agent.wire.job import Job
from queue_agent.wire.work import model_named

log = logging.getLogger(__name__)

_PATIENCE: Final = 2.0
"""Seconds that looking may take."""


async def held_back(bucket: Bucket, job: Job, now: float) -> str | None:
    """Why agents do not work on such a job now, in words; None: they do, or it cannot be seen.

    Raises:
        Rejected: of the type ``tenant_paused``: its tenant is.
    """
    marker = PausesMarker(bucket, job.metadata.runtime or "")
    try:
        async with asyncio.timeout(_PATIENCE):
            pauses = await marker.look()
    except (QueueAgentError, TimeoutError) as error:
        log.debug("pauses are not seen: %s", error)
        return None
    tenant, model = job.metadata.tenant, model_named(job)
    names = ModelUse.named([model] if model else ()).models

    def needs(name: str) -> bool:
        return not names.isdisjoint(ModelUse.named([name]).models)

    pause = pauses.concerning(now, (tenant,) if tenant else (), needs)
    if pause is not None and pause.tenant is not None:
        raise Rejected(
            f"At {job.metadata.runtime} is paused: {pause}. The job was not published.",
            type="tenant_paused",
        )
    return None if pause is None else str(pause)


async def paused_now(bucket: Bucket, now: float) -> AsyncIterator[str]:
    """What is paused, in a line each; nothing where it cannot be seen."""
    try:
        async with asyncio.timeout(_PATIENCE):
            found = [one async for one in paused_runtimes(bucket)]
    except (QueueAgentError, TimeoutError) as error:
        log.debug("pauses are not seen: %s", error)
        return
    for runtime, pauses in found:
        for pause in pauses.on(now):
            yield f"{runtime}: {pause}"
