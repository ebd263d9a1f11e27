"""A client that leaves a server alone while it starts.

1.10.1 opens its port before it is complete, and adds middleware afterwards: a request within that
time, 48 to 519 ms, ends its process ("Cannot add middleware after an application has started"). In
recorded starts that was up to 5.5 s after the port had opened (`tests/recordings`, startup.json).
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Final

from pydantic import JsonValue

from queue_agent.runtime import Readiness, RuntimeOptions
from queue_agent.runtime.http import (
    ANSWER_LIMIT,
    ASK,
    Body,
    Form,
    RuntimeClient,
    StreamedResponse,
    Timeout,
)
from queue_agent.wire.errors import RunLost, RuntimeAway

SHORTEST_PAUSE_SECONDS: Final = 3.0
"""Between the moment at which a port that was closed is open and the first request."""
PAUSE_SHARE: Final = 0.2
"""… and as a share of the time for which it was seen closed: slow machines start slowly."""
LONGEST_PAUSE_SECONDS: Final = 60.0
GIVEN_UP_SECONDS: Final = 600.0
"""After so long without an API it is not thought to start any more."""
CONNECT_SECONDS: Final = 1.5


class StartAwareClient(RuntimeClient):
    """Knocks at a port that was closed without a word until it opens, then waits before it asks.

    A server that is found at once is taken for one that runs. `on_absence` hears of each time
    that the server was found away.
    """

    def __init__(
        self, options: RuntimeOptions, default_url: str, on_absence: Callable[[], None]
    ) -> None:
        super().__init__(options, default_url)
        self._on_absence = on_absence
        self._absent = True
        """Whether the last that was heard of it is nothing: it is knocked at before it is asked."""
        self._closed_since: float | None = None
        """Since when the port was seen closed, or its server incomplete; by the loop's clock."""
        self._opened_at: float | None = None
        self._pause = 0.0
        self._asked_from = 0.0
        """The moment from which it may be asked."""

    async def starting(self) -> Readiness | None:
        """Why the server must not be asked now; None where it may be."""
        if not self._absent:
            return None
        closed, now = await self._knock(), asyncio.get_running_loop().time()
        if closed:
            self._found_closed(now)
            return Readiness("away", closed)
        if self._closed_since is None:
            return None
        if self._opened_at is None:
            self._opened_at = now
            self._wait(now, PAUSE_SHARE * (now - self._closed_since))
        if now < self._asked_from:
            return Readiness(
                "starting", "The runtime is left alone until it runs: its port is open"
            )
        return None

    def starts_still(self) -> bool:
        """Whether an answer without an API is that of a start: it is left alone for longer then."""
        now = asyncio.get_running_loop().time()
        if self._opened_at is None or now - self._opened_at > GIVEN_UP_SECONDS:
            return False
        self._absent = True
        self._wait(now, 2 * self._pause)
        return True

    def _runs(self) -> None:
        self._absent, self._closed_since, self._opened_at = False, None, None

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        path: str,
        *,
        json: JsonValue = None,
        body: Form | Body | None = None,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: Timeout = ASK,  # noqa: ASYNC109  aiohttp's own, per phase
        limit: int = ANSWER_LIMIT,
    ) -> AsyncIterator[StreamedResponse]:
        """As of any runtime's client; a server that starts counts as away (`RuntimeAway`)."""
        if (reason := await self.starting()) is not None:
            raise RuntimeAway(f"{reason.reason}.")
        try:
            async with super().stream(
                method,
                path,
                json=json,
                body=body,
                params=params,
                headers=headers,
                timeout=timeout,
                limit=limit,
            ) as answer:
                if answer.ok or self._closed_since is None:
                    self._runs()
                yield answer
        except (RuntimeAway, RunLost):
            self._absent = True
            self._on_absence()
            raise

    async def _knock(self) -> str | None:
        """Why nobody can be reached at the port; None where somebody listens. Nothing is said."""
        url = self.url("/")
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                _, writer = await asyncio.open_connection(url.host, url.port)
        except TimeoutError:
            return f"The runtime cannot be reached: no connection within {CONNECT_SECONDS:g} s"
        except socket.gaierror as error:
            return f"The runtime's host {url.host} is not found: {error}"
        except OSError as error:
            return f"The runtime cannot be reached: {error}"
        writer.close()
        return None

    def _found_closed(self, now: float) -> None:
        if self._closed_since is None or self._opened_at is not None:
            self._closed_since, self._opened_at = now, None
            self._on_absence()

    def _wait(self, now: float, seconds: float) -> None:
        self._pause = min(max(seconds, SHORTEST_PAUSE_SECONDS), LONGEST_PAUSE_SECONDS)
        self._asked_from = now + self._pause
