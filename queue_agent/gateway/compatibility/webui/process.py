"""What a Web UI tells of its own process, and is told to do with it."""

from typing import Final

from fastapi import Response
from pydantic import JsonValue

from queue_agent.gateway.compatibility.synchronous import warning_headers
from queue_agent.gateway.compatibility.webui.routing import RuntimePart, new_router
from queue_agent.gateway.dependencies import CallerPart, GatewayPart
from queue_agent.wire.problems import Problem

_NOT_HERE: Final = {"error": "unavailable"}
_READ_AGAIN: Final = "The runtime's agents list what is new within five minutes."

router = new_router()


@router.get("/memory")
async def memory(_: CallerPart) -> dict[str, JsonValue]:
    """That no process stands behind this one alone, whose memory could be told."""
    return {"ram": {**_NOT_HERE}, "cuda": {**_NOT_HERE}}


@router.get("/cmd-flags")
async def cmd_flags(_: CallerPart) -> dict[str, JsonValue]:
    """Those flags of a Web UI that say something of a gateway."""
    return {"api": True, "nowebui": True, "api_server_stop": False, "freeze_settings": True}


@router.post("/refresh-checkpoints")
@router.post("/refresh-vae")
@router.post("/refresh-loras")
@router.post("/refresh-embeddings")
async def refresh(
    gateway: GatewayPart, runtime: RuntimePart, _: CallerPart, response: Response
) -> None:
    """Read anew what the agents say; they look for new files by themselves."""
    gateway.offers.forget(runtime)
    response.headers.update(warning_headers([_READ_AGAIN]))


@router.post("/unload-checkpoint")
@router.post("/reload-checkpoint")
async def unload(_: CallerPart) -> None:
    """Refused: what a runtime has loaded concerns all who use it."""
    raise Problem(
        403,
        "not_for_one_caller",
        "What the runtime has loaded is for its agents to say: others use it, too.",
    )
