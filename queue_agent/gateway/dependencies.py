"""What routes need of a request: who asks, a body that is clean JSON, the parts of the gateway."""

import hashlib
import re
from dataclasses import dataclass
from typing import Annotated, Any, Final

from fastapi import Depends, Header, Request, Security
from fastapi.security import APIKeyHeader, HTTPBearer
from pydantic import JsonValue
from starlette.requests import HTTPConnection

from queue_agent.cloud import Bucket
from queue_agent.gateway.bodies import says_json
from queue_agent.gateway.keys import Caller, KeyRing, credential
from queue_agent.gateway.limits import RateLimit
from queue_agent.gateway.offers import Offers
from queue_agent.gateway.service import JobService
from queue_agent.gateway.statistics import Statistics
from queue_agent.settings.gateway import GatewaySettings
from queue_agent.wire.problems import Problem
from queue_agent.wire.submission import job_body

_TRACEPARENT: Final = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


@dataclass(frozen=True)
class Gateway:
    """The parts that routes use."""

    settings: GatewaySettings
    service: JobService
    statistics: Statistics
    keys: KeyRing
    rates: RateLimit
    offers: Offers
    bucket: Bucket
    """Of the results, and of what gateways keep."""

    def admit(self, connection: HTTPConnection) -> Caller:
        """Who asks, if they may.

        Raises:
            Problem: 401 or 429.
        """
        caller = self.keys.caller(credential(connection.headers))
        self.rates.count(caller)
        return caller


def gateway_of(connection: HTTPConnection) -> Gateway:
    """The gateway that serves the connection."""
    found: Gateway = connection.app.state.gateway
    return found


_BEARER = Security(HTTPBearer(auto_error=False, description="The API key."))
_HEADER = Security(APIKeyHeader(name="X-Api-Key", auto_error=False))


def caller_of(connection: HTTPConnection) -> Caller:
    """Who was admitted (`queue_agent.gateway.admission`)."""
    found: Caller = connection.state.caller
    return found


async def _caller(request: Request, _bearer: Any = _BEARER, _header: Any = _HEADER) -> Caller:
    return caller_of(request)


async def _own_id(
    who: Annotated[Caller, Depends(_caller)],
    idempotency_key: Annotated[str | None, Header(max_length=255)] = None,
) -> str | None:
    if idempotency_key is None:
        return None
    return hashlib.sha256(f"{who.name}\n{idempotency_key}".encode()).hexdigest()[:32]


async def _trace(traceparent: Annotated[str | None, Header()] = None) -> str | None:
    return traceparent if _TRACEPARENT.fullmatch(traceparent or "") else None


GatewayPart = Annotated[Gateway, Depends(gateway_of)]
CallerPart = Annotated[Caller, Depends(_caller)]
OwnId = Annotated[str | None, Depends(_own_id)]
"""The id of a job that is asked for with an `Idempotency-Key`: the same key, the same id."""
Traceparent = Annotated[str | None, Depends(_trace)]
"""The trace that the job continues; one that is malformed is ignored, as the standard says:
https://www.w3.org/TR/trace-context/"""


async def _job_body(request: Request, _who: CallerPart) -> dict[str, JsonValue]:
    """Read here, not by the framework, so that all doors refuse the same by the same words.

    Whoever sends JSON says so: a web page of others could send a form without asking first.
    """
    if not says_json(request):
        raise Problem(
            415, "unsupported_media_type", "The body must come as Content-Type: application/json."
        )
    return job_body(await request.json())


JobBody = Annotated[dict[str, JsonValue], Depends(_job_body)]
"""The object with a job's `metadata` and `content` in the request's body."""
