"""Telling, in the bucket, what the runtime offers: workflows by name, and what its server has."""

import asyncio
from dataclasses import dataclass, field
from typing import Final

import structlog

from queue_agent.cloud import Bucket
from queue_agent.runtime import Runtime
from queue_agent.telemetry.outages import Outages
from queue_agent.wire.errors import QueueAgentError, Unavailable
from queue_agent.wire.layout import offer_key
from queue_agent.wire.offer import Offer
from queue_agent.wire.output import FORMATS
from queue_agent.worker.surprises import no_surprises

log = structlog.get_logger()

_EVERY: Final = 300.0
"""Seconds between two questions to the runtime: models come and go."""
_PAUSES: Final = (2.0, 10.0, 60.0)
"""Seconds before other attempts where runtime or bucket fail; nothing but a list hangs on it."""


@dataclass
class Offering:
    """Keeps what is told of the runtime of one name true; several agents of it tell the same.

    Where nothing can be asked or written, that is logged, and jobs are done all the same.
    """

    bucket: Bucket
    name: str
    runtime: Runtime
    started: asyncio.Event
    """Set by whoever finds that the runtime is ready for the first time, or once more."""
    previews: bool = False
    """Whether the operator lets jobs have previews."""
    _told: bytes = field(default=b"", init=False)
    _outages: Outages = field(default_factory=Outages, init=False)

    async def keep(self) -> None:
        """Tell once the runtime is ready, whenever it has started anew, and what changes."""
        await self.started.wait()
        failures = 0
        while True:
            self.started.clear()
            failures = 0 if await self._tell() else failures + 1
            pause = _PAUSES[failures - 1] if 0 < failures <= len(_PAUSES) else _EVERY
            try:
                async with asyncio.timeout(pause):
                    await self.started.wait()
            except TimeoutError:
                continue

    async def _tell(self) -> bool:
        """Write what is offered, if that is news; False if it was not possible and may be soon."""
        try:
            with no_surprises():
                data = (await self._offer()).to_json()
            if data != self._told:
                await self.bucket.write(offer_key(self.name), data, media_type="application/json")
                self._told = data
        except QueueAgentError as error:
            if due := self._outages.failed(error.type):
                log.warning(
                    "offer is not told", reason=error.message, type=error.type, **due._asdict()
                )
            return not isinstance(error, Unavailable)
        if over := self._outages.works():
            log.info("offer is told", **over._asdict())
        return True

    async def _offer(self) -> Offer:
        known = await self.runtime.capabilities()
        shown = self.previews and self.runtime.shows_previews and known.previews is not False
        return Offer(
            **dict(known.model_copy(update={"previews": shown or None})),
            runtime=self.name,
            adapter=self.runtime.name,
            task_types=tuple(sorted(self.runtime.task_types)),
            workflows=tuple(self.runtime.workflows()),
            output_formats=FORMATS,
        )
