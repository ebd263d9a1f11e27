"""What all of the Web UI's routes share."""

from typing import Annotated, Final

from fastapi import APIRouter, Depends

from queue_agent.gateway.bodies import CleanRoute
from queue_agent.gateway.compatibility.synchronous import RuntimeHeader
from queue_agent.gateway.dependencies import GatewayPart
from queue_agent.gateway.problems import WebUIError, documented
from queue_agent.wire.offer import Offer
from queue_agent.wire.problems import Problem
from queue_agent.wire.submission import UNKNOWN_RUNTIME

PREFIX: Final = "/sdapi/v1"


def new_router() -> APIRouter:
    return APIRouter(
        route_class=CleanRoute, prefix=PREFIX, tags=["Web UI"], responses=documented(WebUIError)
    )


async def _runtime(gateway: GatewayPart, runtime: RuntimeHeader = None) -> str:
    known = gateway.settings.queues
    name = runtime or next(iter(known))
    if name not in known:
        raise Problem(422, UNKNOWN_RUNTIME, f"X-Runtime: {name!r} is none of: {', '.join(known)}")
    return name


RuntimePart = Annotated[str, Depends(_runtime)]
"""The runtime that the request means."""


async def _offer(gateway: GatewayPart, runtime: RuntimePart) -> Offer:
    offer = await gateway.offers.of(runtime)
    if offer.adapter is None:
        raise Problem(
            503,
            "not_yet_known",
            f"No agent of {runtime} has said yet what it has.",
            headers={"Retry-After": "30"},
        )
    return offer


OfferPart = Annotated[Offer, Depends(_offer)]
"""What that runtime's agents say of it; the request is answered 503 until one has."""
