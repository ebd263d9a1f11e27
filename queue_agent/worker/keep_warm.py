"""Running the warm-up again while nothing is to be done, so that the runtime unloads nothing."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from queue_agent.worker.health import RuntimeHealth
from queue_agent.worker.warm_up import WarmUp


@dataclass
class KeepWarm:
    """Of one runtime. A message that comes ends it, so that no job waits for it to end."""

    warm_up: WarmUp
    health: RuntimeHealth
    every: float
    """Seconds without a message after which it runs."""
    busy: asyncio.Event
    """Set while the agent has messages, …"""
    idle: asyncio.Event
    """… and this one when it has no more."""
    wanted: Callable[[], bool]
    """Whether it may run at all."""

    async def keep(self) -> None:
        """Run it as often as that, until cancelled, or until it fails for good."""
        while not self.warm_up.given_up:
            try:
                async with asyncio.timeout(self.every):
                    await self.busy.wait()
            except TimeoutError:
                if self.wanted() and (error := await self.warm_up.again(self.busy)) is not None:
                    self.health.failed(error)
            else:
                await self.idle.wait()
