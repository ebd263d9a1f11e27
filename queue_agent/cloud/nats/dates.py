"""The servers' time, from their answers about streams and consumers, which bear it as ``ts``.

Publications and deliveries do not: https://github.com/nats-io/jsm.go/tree/main/schemas
"""

import time
from datetime import datetime
from typing import Any

from nats.aio.client import Client
from nats.js import JetStreamContext

from queue_agent.cloud.clock import CloudClock


class DatedJetStream(JetStreamContext):
    """Tells a clock of each answer that is dated."""

    def __init__(self, client: Client, clock: CloudClock, *, timeout: float) -> None:
        super().__init__(client, timeout=timeout)
        self._clock = clock

    async def _api_request(
        self,
        req_subject: str,
        req: bytes = b"",
        timeout: float = 5.0,  # noqa: ASYNC109  as the library has it
    ) -> dict[str, Any]:
        asked = time.monotonic()
        answer: dict[str, Any] = await super()._api_request(req_subject, req, timeout)
        if date := answer.get("ts"):
            moment = datetime.fromisoformat(date).timestamp()
            self._clock.answered(moment, asked=asked, now=time.monotonic(), within=0.0)
        return answer
