"""The one setting that each caller has: the checkpoint of jobs that name none."""

from pydantic import BaseModel, JsonValue, ValidationError

from queue_agent.cloud import Bucket
from queue_agent.gateway.compatibility.webui.lists import JsonObject, title_of
from queue_agent.gateway.compatibility.webui.routing import OfferPart, RuntimePart, new_router
from queue_agent.gateway.dependencies import CallerPart, GatewayPart
from queue_agent.gateway.keys import Caller
from queue_agent.wire.errors import ObjectNotFound
from queue_agent.wire.layout import options_key
from queue_agent.wire.offer import Offer, OfferedModel
from queue_agent.wire.problems import Problem

CHECKPOINT = "sd_model_checkpoint"

router = new_router()


class CallerOptions(BaseModel):
    """What a caller set for one runtime, in the bucket, where all gateways read it."""

    sd_model_checkpoint: str | None = None

    @classmethod
    async def of(cls, bucket: Bucket, caller: Caller, runtime: str) -> "CallerOptions":
        try:
            return cls.model_validate_json(await bucket.read(options_key(caller.name, runtime)))
        except (ObjectNotFound, ValidationError):
            return cls()

    async def keep(self, bucket: Bucket, caller: Caller, runtime: str) -> None:
        key = options_key(caller.name, runtime)
        if self.sd_model_checkpoint is None:
            await bucket.delete(key)
            return
        await bucket.write(key, self.model_dump_json().encode(), media_type="application/json")


@router.get("/options")
async def get_options(
    gateway: GatewayPart, caller: CallerPart, runtime: RuntimePart, offer: OfferPart
) -> JsonObject:
    """The checkpoint that the caller set, else the one that is loaded."""
    chosen = (await CallerOptions.of(gateway.bucket, caller, runtime)).sd_model_checkpoint
    model = _find(offer, chosen) if chosen is not None else _present(offer)
    return {
        CHECKPOINT: chosen if model is None else title_of(model),
        "sd_checkpoint_hash": (model.sha256 if model else None) or "",
    }


@router.post("/options")
async def set_options(
    body: JsonObject,
    gateway: GatewayPart,
    caller: CallerPart,
    runtime: RuntimePart,
    offer: OfferPart,
) -> None:
    """Set the checkpoint of the caller's jobs that name none; null forgets it.

    Nothing else can be set: settings of a server concern all who use it.
    """
    others = sorted(body.keys() - {CHECKPOINT})
    if others:
        raise Problem(
            403,
            "not_for_one_caller",
            f"{', '.join(others)}: options of a runtime that others use, too, cannot be set; send "
            "them as override_settings of each request.",
        )
    if CHECKPOINT not in body:
        return
    chosen = _checked(offer, body[CHECKPOINT])
    await CallerOptions(sd_model_checkpoint=chosen).keep(gateway.bucket, caller, runtime)


def _checked(offer: Offer, name: JsonValue) -> str | None:
    """The checkpoint's title; refused in the Web UI's words where there is none of that name."""
    if name is None:
        return None
    if isinstance(name, str) and name:
        if (model := _find(offer, name)) is not None:
            return title_of(model)
        if offer.models is None:  # its jobs tell
            return name
    raise Problem(422, "RuntimeError", f"model {name!r} not found")


def _find(offer: Offer, name: str) -> OfferedModel | None:
    """By one of its whole names."""
    for model in offer.models or ():
        title = title_of(model)
        file = title.rpartition(" [")[0] or title
        if name in {model.name, title, file, model.hash, model.sha256}:
            return model
    return None


def _present(offer: Offer) -> OfferedModel | None:
    """The one that is loaded, as far as that is known."""
    models = offer.models or ()
    loaded = [model for model in models if model.loaded]
    return next(iter(loaded or models), None)
