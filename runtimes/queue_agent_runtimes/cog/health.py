"""Whether a cog server can work, by ``/health-check``, and what its model takes."""

from collections.abc import Mapping
from typing import Final

from pydantic import JsonValue

from queue_agent.runtime import Readiness
from queue_agent.runtime.failures import is_beyond_repair
from queue_agent.runtime.http import READY, RuntimeClient, error_from, readiness_of
from queue_agent.wire.errors import QueueAgentError
from queue_agent.wire.shortening import shortened
from queue_agent_runtimes.cog.schema import ModelSchema

BUSY: Final = "BUSY"
_WORKS: Final = frozenset({"READY", BUSY})
_FOR_GOOD: Final[Mapping[str, str]] = {
    "DEFUNCT": "The model has failed beyond repair",
    "SETUP_FAILED": "The model's setup failed",
}
_LOST_PROCESS: Final = "Healthcheck error"
"""How the server's words begin where it cannot ask the model's process any more."""
_SMALL: Final = 4 * 2**20


class ModelHealth:
    """Asks the server; keeps the schema of its model for as long as it is the same process."""

    def __init__(self, client: RuntimeClient) -> None:
        self._client = client
        self.status = ""
        """The server's own word, when it was last asked."""
        self.schema: ModelSchema | None = None
        """None: it was not asked for yet."""
        self._started: JsonValue = None

    async def ask(self) -> Readiness:
        """Whether a prediction sent now would be made; never raises."""
        try:
            answer = await self._client.send("GET", "/health-check", timeout=READY, limit=_SMALL)
            if not (readiness := readiness_of(answer)):
                return readiness
            seen = answer.json_object()
            readiness = self._read(seen)
            if readiness:
                await self._learn(seen)
        except QueueAgentError as error:
            self.status = ""
            return readiness_of(error)
        return readiness

    async def known_schema(self) -> ModelSchema:
        """What the model takes.

        Raises:
            Unavailable: it is not known yet, and the server does not say.
        """
        if self.schema is None:
            self.schema = await self._fetch()
        return self.schema

    def _read(self, seen: Mapping[str, JsonValue]) -> Readiness:
        status = seen.get("status")
        self.status = status if isinstance(status, str) else ""
        if self.status in _WORKS:
            return Readiness()
        setup = _object(seen.get("setup"))
        if self.status in _FOR_GOOD:
            return Readiness("sick", f"{_FOR_GOOD[self.status]}: {_last_line(setup.get('logs'))}")
        if self.status == "UNHEALTHY":
            words = shortened(str(seen.get("user_healthcheck_error") or "no reason given"))
            broken = words.startswith(_LOST_PROCESS) or is_beyond_repair(words)
            return Readiness("sick" if broken else "away", f"The model is unhealthy: {words}")
        if self.status in {"STARTING", "UNKNOWN"}:
            return Readiness("starting", "The model is being set up")
        return Readiness("misconfigured", "The address answers no health check of cog's")

    async def _learn(self, seen: Mapping[str, JsonValue]) -> None:
        started = _object(seen.get("setup")).get("started_at")
        if self.schema is None or started != self._started:
            self.schema = await self._fetch()
            self._started = started

    async def _fetch(self) -> ModelSchema:
        answer = await self._client.send("GET", "/openapi.json", limit=_SMALL)
        if answer.ok:
            return ModelSchema.parse(answer.json_object())
        if answer.status in {404, 503}:  # an image that was built without one
            return ModelSchema()
        raise error_from(answer, faults_of_the_job=())


def _object(value: JsonValue) -> Mapping[str, JsonValue]:
    return value if isinstance(value, dict) else {}


def _last_line(logs: JsonValue) -> str:
    lines = logs.strip().splitlines() if isinstance(logs, str) else []
    return shortened(lines[-1]) if lines else "the logs say nothing"
