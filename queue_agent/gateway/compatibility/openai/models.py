"""The models that requests may name: https://platform.openai.com/docs/api-reference/models."""

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field

from queue_agent.gateway.bodies import CleanRoute
from queue_agent.gateway.compatibility.openai import names
from queue_agent.gateway.dependencies import CallerPart, GatewayPart
from queue_agent.gateway.problems import OpenAIError, documented

router = APIRouter(route_class=CleanRoute, tags=["OpenAI"], responses=documented(OpenAIError))


class ModelView(BaseModel):
    """A model as OpenAI's server shows it."""

    id: str
    object: Literal["model"] = "model"
    created: int = Field(default=0, description="Seconds since the epoch; not known: 0.")
    owned_by: str = Field(description="The runtime.")


class ModelList(BaseModel):
    """All of them."""

    object: Literal["list"] = "list"
    data: list[ModelView]


@router.get("/v1/models")
async def list_models(gateway: GatewayPart, _: CallerPart) -> ModelList:
    """Runtimes, aliases, and the checkpoints that agents tell of."""
    found = [_view(model) async for model in names.models(gateway)]
    return ModelList(data=found)


@router.get("/v1/models/{model:path}")
async def show_model(model: str, gateway: GatewayPart, _: CallerPart) -> ModelView:
    """One of them."""
    return _view(await names.model(gateway, model))


def _view(model: names.NamedModel) -> ModelView:
    return ModelView(id=model.id, owned_by=model.runtime)
