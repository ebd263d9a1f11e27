"""AWS's time, from the ``Date`` headers of all answers, errors included."""

import time
from email.utils import parsedate_to_datetime
from typing import Any, Final

from queue_agent.cloud.clock import CloudClock

_SERVICES: Final = ("sqs", "sns", "s3")
"""The first that has answered is believed; a store of another maker may have a clock of its own."""
_ASKED: Final = "queue_agent_asked"


class Dates:
    """What the clients of one cloud hear of its time."""

    def __init__(self) -> None:
        self._clocks = {service: CloudClock() for service in _SERVICES}
        self._latest: dict[str, str] = {}

    def watch(self, client: Any, service: str) -> None:
        """Learn from the answers to a client of one of the three services."""
        if service not in self._clocks:
            return

        def answered(parsed: Any, context: Any, **_: object) -> None:
            date = parsed.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
            if date and date != self._latest.get(service):  # once a second is enough
                self._latest[service] = date
                self._answered(service, date, context.get(_ASKED))

        client.meta.events.register(f"before-call.{service}", _asked)
        client.meta.events.register(f"after-call.{service}", answered)

    def now(self) -> float:
        """Seconds since the epoch; this machine's where no answer was dated yet."""
        known = (clock for clock in self._clocks.values() if clock.knows)
        return next(known, self._clocks["sqs"]).now()

    def _answered(self, service: str, date: str, asked: float | None) -> None:
        try:
            second = parsedate_to_datetime(date).timestamp()
        except ValueError:
            return
        now = time.monotonic()
        self._clocks[service].answered(second, asked=now if asked is None else asked, now=now)


def _asked(context: Any, **_: object) -> None:
    context[_ASKED] = time.monotonic()
