"""Telling, in the bucket, what the runtime offers beside its task types."""

import asyncio
from typing import Final

import structlog

from queue_agent.cloud import Bucket
from queue_agent.runtime import Runtime
from queue_agent.wire.errors import QueueAgentError, Unavailable
from queue_agent.wire.layout import offer_key
from queue_agent.wire.offer import Offer

log = structlog.get_logger()

_PAUSES: Final = (2.0, 10.0, 60.0, 300.0)
"""Seconds before other attempts; nothing but a list hangs on it."""


async def tell_offer(bucket: Bucket, name: str, runtime: Runtime) -> None:
    """Write what the runtime of that name offers, if it has workflows that jobs ask for by name.

    Where it cannot be written, that is logged, and jobs are done all the same.
    """
    workflows = tuple(runtime.workflows())
    if not workflows:
        return
    offer = Offer(runtime=name, task_types=tuple(sorted(runtime.task_types)), workflows=workflows)
    data = offer.model_dump_json().encode()
    for pause in (*_PAUSES, None):
        try:
            await bucket.write(offer_key(name), data, media_type="application/json")
        except QueueAgentError as error:
            if pause is None or not isinstance(error, Unavailable):
                log.warning("workflows are not listed", reason=error.message, type=error.type)
                return
            await asyncio.sleep(pause)
        else:
            return
