"""What forks want in other words than 1.10.1, told apart by what they list.

Forge has modules, which are VAEs and text encoders, in the place of VAEs, and lists them. SD.Next
lists its samplers with the options of diffusers' schedulers, and has fields of the request for what
1.10.1 has schedules and options for.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Final

from pydantic import JsonValue

from queue_agent.wire.errors import Rejected
from queue_agent.wire.samplers import SAMPLERS, find_sampler
from queue_agent_runtimes.webui.fields import JsonObject
from queue_agent_runtimes.webui.lists import ServerLists

_MODULES: Final = "sd-modules"
_ADDITIONAL: Final = "forge_additional_modules"
_SAME_MODULES: Final = "Use same choices"
_OF_NO_FILE: Final = frozenset({"automatic", "none"})

_SIGMAS: Final[Mapping[str, tuple[str, str]]] = {
    "karras": ("use_karras_sigmas", "karras"),
    "exponential": ("use_exponential_sigmas", "exponential"),
    "beta": ("use_beta_sigmas", "betas"),
}
"""Schedules of SD.Next: the option of a sampler that knows it, and its value."""
_SAMPLERS: Final[Mapping[str, str]] = {
    "LMS": "LMSD",
    "DPM2": "KDPM2",
    "DPM2 a": "KDPM2 a",
    "PLMS": "PNDM",
}
_SAMPLERS_OF_THE_WEB_UI: Final = {theirs: name for name, theirs in _SAMPLERS.items()}
_LATENT: Final[Mapping[str, str]] = {
    "latent": "Latent Bilinear",
    "latent (antialiased)": "Latent Bilinear antialias",
    "latent (bicubic)": "Latent Bicubic",
    "latent (bicubic antialiased)": "Latent Bicubic antialias",
    "latent (nearest)": "Latent Nearest",
    "latent (nearest-exact)": "Latent Nearest exact",
}


async def settle_modules(request: JsonObject, lists: ServerLists) -> None:
    """Forge: a VAE becomes one of the modules, whose names are looked up.

    Its API cannot enlarge (`enable_hr`) unless the modules for that are named.

    Raises:
        Rejected: it has no such module (type ``unknown_model``).
        Unavailable: the server was needed, and failed.
    """
    given = request.get("override_settings")
    settings = given if isinstance(given, dict) else {}
    concerned = {"sd_vae", _ADDITIONAL} & settings.keys() or request.get("enable_hr")
    if not concerned or await lists.entries(_MODULES) is None:
        return
    if _ADDITIONAL in settings:
        settings[_ADDITIONAL] = await _modules(settings[_ADDITIONAL], _ADDITIONAL, lists)
    vae = settings.pop("sd_vae", None)
    if isinstance(vae, str) and vae.casefold() not in _OF_NO_FILE:
        others = settings.get(_ADDITIONAL, [])
        if isinstance(others, list):
            settings[_ADDITIONAL] = [*others, await _module(vae, "sd_vae", lists)]
    if request.get("enable_hr"):
        wanted = request.get("hr_additional_modules", [_SAME_MODULES])
        request["hr_additional_modules"] = await _modules(wanted, "hr_additional_modules", lists)


async def _modules(wanted: JsonValue, field: str, lists: ServerLists) -> JsonValue:
    """The list with names as the server has them; what is no list is for it to refuse."""
    if not isinstance(wanted, list):
        return wanted
    return [
        name if not isinstance(name, str) or name == _SAME_MODULES
        else await _module(name, field, lists)
        for name in wanted
    ]  # fmt: skip


async def _module(wanted: str, field: str, lists: ServerLists) -> str:
    """Forge takes paths, too, of which only the last part counts."""
    found = await lists.spelled(_MODULES, re.split(r"[\\/]", wanted)[-1], "model_name")
    if found is None:
        words = f"{field}: the runtime has no VAE or text encoder {wanted!r}."
        raise Rejected(words, type="unknown_model")
    return found


def speaks_of_diffusers(samplers: Iterable[JsonObject] | None) -> bool:
    """Whether the list of samplers is SD.Next's."""
    options = [entry.get("options") for entry in samplers or ()]
    return any(isinstance(one, dict) and "timestep_spacing" in one for one in options)


def sigmas_of(schedule: str, sampler: JsonValue, samplers: Iterable[JsonObject]) -> str | None:
    """SD.Next's value of `schedulers_sigma` for a schedule, where the sampler knows it."""
    option, value = _SIGMAS.get(schedule.casefold(), ("", ""))
    for entry in samplers:
        options = entry.get("options")
        if entry.get("name") == sampler and isinstance(options, dict) and option in options:
            return value
    return None


def is_other_sampler(asked: str, used_class: str | None) -> bool:
    """Whether SD.Next says a class of diffusers that is another sampler's.

    It takes the model's own where a sampler does not go with that, and repeats the name asked for.
    """
    known = find_sampler(_SAMPLERS_OF_THE_WEB_UI.get(asked, asked))
    classes = {sampler.diffusers for sampler in SAMPLERS}
    if known is None or known.diffusers is None or used_class not in classes - {None}:
        return False
    return _family(known.diffusers) != _family(str(used_class))


def _family(name: str) -> str:
    """The solvers of DPM differ by options, which are not told."""
    return re.sub("Multistep|Singlestep", "", name) if name.startswith("DPMSolver") else name


async def settle_clip_layers(request: JsonObject, lists: ServerLists) -> None:
    """SD.Next has a field for the option that it lists and does not heed."""
    settings = request.get("override_settings")
    if not isinstance(settings, dict) or "CLIP_stop_at_last_layers" not in settings:
        return
    if speaks_of_diffusers(await lists.entries("samplers")):
        request.setdefault("clip_skip", settings.pop("CLIP_stop_at_last_layers"))


def other_name_of_sampler(name: str) -> str | None:
    """What SD.Next calls one of 1.10.1's samplers, where it is not the same."""
    return _SAMPLERS.get(name)


def other_name_of_upscaler(name: str) -> str:
    """What SD.Next calls one of 1.10.1's upscalers that are no models."""
    return _LATENT.get(name.casefold(), f"Resize {name}")
