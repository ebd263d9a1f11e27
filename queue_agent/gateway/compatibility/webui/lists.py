"""What there is to choose from, as the runtime's agents say; paths of its disk are not told.

A list that a runtime knows nothing of is empty: there is nothing to choose.
"""

import re
from typing import Final

from pydantic import JsonValue

from queue_agent.gateway.compatibility.webui.routing import OfferPart, new_router
from queue_agent.wire.offer import OfferedEmbedding, OfferedModel, OfferedScript

JsonObject = dict[str, JsonValue]

_REAL_ESRGAN: Final = "R-ESRGAN"
_HASH: Final = re.compile(r"\s*\[[^]]+]$")

router = new_router()


def title_of(model: OfferedModel) -> str:
    """As the Web UI lists it."""
    return model.title or model.name


@router.get("/sd-models")
async def sd_models(offer: OfferPart) -> list[JsonObject]:
    """Checkpoints."""
    return [
        {
            "title": title_of(model),
            "model_name": model.name,
            "hash": model.hash,
            "sha256": model.sha256,
            "filename": _HASH.sub("", title_of(model)),
            "config": None,
        }
        for model in offer.models or ()
    ]


@router.get("/samplers")
async def samplers(offer: OfferPart) -> list[JsonObject]:
    """Samplers."""
    return [
        {"name": one.name, "aliases": [*one.aliases], "options": {**one.options}}
        for one in offer.samplers or ()
    ]


@router.get("/schedulers")
async def schedulers(offer: OfferPart) -> list[JsonObject]:
    """Noise schedules."""
    return [
        {
            "name": one.name,
            "label": one.label or one.name,
            "aliases": [*one.aliases] or None,
            "default_rho": -1.0,
            "need_inner_model": False,
        }
        for one in offer.schedules or ()
    ]


@router.get("/upscalers")
async def upscalers(offer: OfferPart) -> list[JsonObject]:
    """Upscalers."""
    return [
        {
            "name": one.name,
            "model_name": one.model,
            "model_path": None,
            "model_url": None,
            "scale": one.scale,
        }
        for one in offer.upscalers or ()
    ]


@router.get("/realesrgan-models")
async def realesrgan_models(offer: OfferPart) -> list[JsonObject]:
    """Those of the upscalers that are of this kind."""
    return [
        {"name": one.name, "path": None, "scale": None if one.scale is None else round(one.scale)}
        for one in offer.upscalers or ()
        if one.name.startswith(_REAL_ESRGAN)
    ]


@router.get("/latent-upscale-modes")
async def latent_upscale_modes(offer: OfferPart) -> list[JsonObject]:
    """Ways to enlarge latents."""
    return [{"name": name} for name in offer.latent_upscalers or ()]


@router.get("/loras")
async def loras(offer: OfferPart) -> list[JsonObject]:
    """LoRAs."""
    return [
        {"name": one.name, "alias": one.alias or one.name, "path": "", "metadata": {}}
        for one in offer.loras or ()
    ]


@router.get("/sd-vae")
async def sd_vae(offer: OfferPart) -> list[JsonObject]:
    """VAEs."""
    return [{"model_name": name, "filename": name} for name in offer.vaes or ()]


@router.get("/embeddings")
async def embeddings(offer: OfferPart) -> dict[str, JsonObject]:
    """Textual inversions: those that go with the loaded checkpoint, and the others."""
    known = offer.embeddings or ()
    return {
        "loaded": {one.name: _embedding(one) for one in known if one.usable},
        "skipped": {one.name: _embedding(one) for one in known if not one.usable},
    }


@router.get("/hypernetworks")
async def hypernetworks(offer: OfferPart) -> list[JsonObject]:
    """Hypernetworks."""
    return [{"name": name, "path": None} for name in offer.hypernetworks or ()]


@router.get("/face-restorers")
async def face_restorers(offer: OfferPart) -> list[JsonObject]:
    """Face restorers."""
    return [{"name": name, "cmd_dir": None} for name in offer.face_restorers or ()]


@router.get("/prompt-styles")
async def prompt_styles(offer: OfferPart) -> list[JsonObject]:
    """Styles."""
    return [
        {"name": one.name, "prompt": one.prompt, "negative_prompt": one.negative_prompt}
        for one in offer.styles or ()
    ]


@router.get("/scripts")
async def scripts(offer: OfferPart) -> dict[str, list[str]]:
    """Names of scripts."""
    known = offer.scripts or ()
    return {
        page: [script.name for script in known if script.of == page]
        for page in ("txt2img", "img2img")
    }


@router.get("/script-info")
async def script_info(offer: OfferPart) -> list[JsonObject]:
    """Scripts with their arguments, of those that have a description."""
    return [_script(one) for one in offer.scripts or () if one.always_on is not None]


def _embedding(one: OfferedEmbedding) -> JsonObject:
    return {
        "step": None,
        "sd_checkpoint": None,
        "sd_checkpoint_name": None,
        "shape": one.shape,
        "vectors": one.vectors,
    }


def _script(one: OfferedScript) -> JsonObject:
    return {
        "name": one.name,
        "is_alwayson": one.always_on,
        "is_img2img": one.of == "img2img",
        "args": [*one.args],
    }
