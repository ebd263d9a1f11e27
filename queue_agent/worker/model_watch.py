"""Knowing what the runtime has loaded, and having it load the next model while it works."""

from dataclasses import dataclass, field

import structlog

from queue_agent.runtime import Runtime
from queue_agent.runtime.model_use import ModelUse
from queue_agent.wire.errors import QueueAgentError
from queue_agent.worker.slots import Slots
from queue_agent.worker.surprises import no_surprises

log = structlog.get_logger()


@dataclass
class ModelWatch:
    """Of one runtime. No job hangs on it: what is not known costs a switch at most."""

    runtime: Runtime
    slots: Slots
    _preloaded: ModelUse | None = field(default=None, init=False)
    """What the runtime was last asked to load ahead."""

    async def watch(self) -> None:
        """Ask whenever what was known may not hold any more; have the next model loaded."""
        while True:
            self.slots.changed.clear()
            await self._ask()
            await self._preload()
            await self.slots.changed.wait()

    async def _ask(self) -> None:
        scheduler = self.slots.scheduler
        if not scheduler.in_doubt or self.slots.closed.is_set():
            return
        scheduler.in_doubt = False
        try:
            with no_surprises():
                loaded = await self.runtime.loaded()
        except QueueAgentError as error:
            scheduler.in_doubt = True
            log.debug("loaded models unknown", reason=error.message)
            return
        if loaded is not None:
            self.slots.seen_loaded(loaded)

    async def _preload(self) -> None:
        if not self.runtime.preloads or not self.slots.at_runtime:
            return
        use = self.slots.next_use()
        if use is None or use == self._preloaded:
            return
        self._preloaded = use
        try:
            with no_surprises():
                await self.runtime.preload(use)
        except QueueAgentError as error:
            log.info("not loaded ahead", models=sorted(use.models), reason=error.message)
            return
        log.debug("loaded ahead", models=sorted(use.models))
        self.slots.scheduler.loads_ahead = True
