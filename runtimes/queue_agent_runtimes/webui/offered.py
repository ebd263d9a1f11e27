"""What a Web UI says that it has: one list a route, each of which older ones and forks may lack."""

from collections.abc import Callable
from typing import Final, Literal, TypeVar

from pydantic import BaseModel, JsonValue, ValidationError

from queue_agent.runtime import (
    Capabilities,
    OfferedEmbedding,
    OfferedLora,
    OfferedModel,
    OfferedSampler,
    OfferedSchedule,
    OfferedScript,
    OfferedSizes,
    OfferedStyle,
    OfferedUpscaler,
)
from queue_agent.runtime.http import RuntimeClient
from queue_agent_runtimes.webui.fields import JsonObject

P = TypeVar("P", bound=BaseModel)

_SIZES: Final = OfferedSizes(smallest=8, multiple_of=8)
"""Sides are floored to multiples of 8; how large they may be is the memory's to say."""


async def capabilities_of(http: RuntimeClient) -> Capabilities:
    """What the server lists.

    Raises:
        Unavailable: it does not answer, or with what is no JSON.
    """

    async def ask(name: str) -> JsonValue:
        answer = await http.send("GET", f"/sdapi/v1/{name}")
        return answer.json() if answer.ok else None

    options = await ask("options")
    present = options.get("sd_model_checkpoint") if isinstance(options, dict) else None
    return Capabilities(
        models=_each(OfferedModel, await ask("sd-models"), lambda given: _model(given, present)),
        samplers=_each(OfferedSampler, await ask("samplers"), _as_it_is),
        schedules=_each(OfferedSchedule, await ask("schedulers"), _as_it_is),
        loras=_each(OfferedLora, await ask("loras"), _as_it_is),
        upscalers=_each(OfferedUpscaler, await ask("upscalers"), _upscaler),
        latent_upscalers=_names(await ask("latent-upscale-modes")),
        vaes=_names(await ask("sd-vae") or await ask("sd-modules"), "model_name"),
        styles=_each(OfferedStyle, await ask("prompt-styles"), _as_it_is),
        embeddings=_embeddings(await ask("embeddings")),
        hypernetworks=_names(await ask("hypernetworks")),
        face_restorers=_names(await ask("face-restorers")),
        scripts=_scripts(await ask("scripts"), await ask("script-info")),
        sizes=_SIZES,
    )


def _each(
    kind: type[P], listed: JsonValue, read: Callable[[JsonObject], JsonObject]
) -> tuple[P, ...] | None:
    """The entries that make sense; None where there is no list."""
    if not isinstance(listed, list):
        return None
    found = []
    for entry in listed:
        try:
            given = read(entry) if isinstance(entry, dict) else {}
            found.append(kind.model_validate({k: v for k, v in given.items() if v is not None}))
        except ValidationError:
            continue
    return tuple(found)


def _as_it_is(entry: JsonObject) -> JsonObject:
    return entry


def _model(entry: JsonObject, present: JsonValue) -> JsonObject:
    return {
        "name": entry.get("model_name"),
        "title": entry.get("title"),
        "hash": entry.get("hash"),
        "sha256": entry.get("sha256"),
        "loaded": present in {entry.get("title"), entry.get("model_name")} if present else None,
    }


def _upscaler(entry: JsonObject) -> JsonObject:
    return {**entry, "model": entry.get("model_name")}


def _names(listed: JsonValue, key: str = "name") -> tuple[str, ...] | None:
    if not isinstance(listed, list):
        return None
    names = [entry.get(key) for entry in listed if isinstance(entry, dict)]
    return tuple(name for name in names if isinstance(name, str))


def _embeddings(answer: JsonValue) -> tuple[OfferedEmbedding, ...] | None:
    """Those that go with the checkpoint, and those that do not."""
    if not isinstance(answer, dict):
        return None
    entries: list[JsonValue] = [
        {**entry, "name": name, "usable": key == "loaded"}
        for key in ("loaded", "skipped")
        if isinstance(group := answer.get(key), dict)
        for name, entry in group.items()
        if isinstance(entry, dict)
    ]
    return _each(OfferedEmbedding, entries, _as_it_is)


def _scripts(named: JsonValue, described: JsonValue) -> tuple[OfferedScript, ...] | None:
    """Those of both lists: some have no description."""
    if not isinstance(named, dict):
        return None
    known: dict[tuple[str, JsonValue], JsonObject] = {}
    for entry in described if isinstance(described, list) else []:
        if isinstance(entry, dict):
            known[_page(entry.get("is_img2img") is True), entry.get("name")] = entry
    entries: list[JsonValue] = []
    for page in (_page(False), _page(True)):
        names = named.get(page)
        for name in names if isinstance(names, list) else []:
            entry = known.get((page, name), {}) if isinstance(name, str) else {}
            entries.append(
                {
                    "name": name,
                    "of": page,
                    "always_on": entry.get("is_alwayson"),
                    "args": entry.get("args"),
                }
            )
    return _each(OfferedScript, entries, _as_it_is)


def _page(is_img2img: bool) -> Literal["txt2img", "img2img"]:
    return "img2img" if is_img2img else "txt2img"
