"""How far this machine's clock is from the cloud's, for the operator."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import structlog

from queue_agent.telemetry.metrics import Metrics

log = structlog.get_logger()

TOLERATED: Final = 5.0
"""Seconds of difference that nobody needs to hear of; the cloud tells its time in whole ones."""


@dataclass
class ClockWatch:
    """Measures every `interval` seconds; warns when the difference begins, and when it changes."""

    now: Callable[[], float]
    """The cloud's time, in seconds since the epoch."""
    metrics: Metrics = field(default_factory=Metrics)
    wall: Callable[[], float] = time.time
    interval: float = 10.0
    _said: float = field(default=0.0, init=False)

    async def watch(self) -> None:
        """Measure, until cancelled."""
        while True:
            self.look()
            await asyncio.sleep(self.interval)

    def look(self) -> None:
        """Measure once."""
        offset = self.now() - self.wall()
        self.metrics.clock_offset(offset)
        if abs(offset) <= TOLERATED:
            if self._said:
                log.info("clock agrees with the cloud's again", offset=round(offset, 1))
                self._said = 0.0
        elif abs(offset - self._said) > TOLERATED:
            log.warning(
                "clock differs from the cloud's",
                offset=round(offset, 1),
                before=round(self._said, 1),
                remedy="Let the node keep time (chrony, systemd-timesyncd). Jobs expire by the "
                "cloud's clock; at some minutes of difference the cloud refuses all requests.",
            )
            self._said = offset
