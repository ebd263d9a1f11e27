"""From the names in a request to those that the server has.

1.10.1 takes most names only as it spells them, and another thing without a word in the place of
what it does not know: DPM++ 2M for samplers, Automatic for schedules, nothing for LoRAs, styles
and VAEs (`tests/recordings`). So names are looked up in the server's lists; where it has no such
list, what came back is compared.
"""

import re
from typing import Final

from pydantic import JsonValue

from queue_agent.wire.errors import Rejected
from queue_agent.wire.samplers import DEFAULT_SAMPLER, SCHEDULES, find_sampler, find_schedule
from queue_agent_runtimes.webui.fields import JsonObject
from queue_agent_runtimes.webui.forks import (
    other_name_of_sampler,
    other_name_of_upscaler,
    settle_clip_layers,
    settle_modules,
    sigmas_of,
)
from queue_agent_runtimes.webui.lists import ServerLists, spelling

NETWORK: Final = re.compile(r"<(lora|lyco|hypernet):([^:>]+)")
"""A network within a prompt; its strength follows."""
_SAME: Final = frozenset({"", "none", "use same checkpoint", "use same sampler"})
_SAME_SCHEDULE: Final = frozenset({"", "automatic", "use same scheduler"})
_VAES: Final = ("Automatic", "None")
_RESTORERS: Final = {"gfpgan_visibility": "GFPGAN", "codeformer_visibility": "CodeFormer"}


async def settle_generation(request: JsonObject, lists: ServerLists) -> tuple[str, ...]:
    """Put the server's names into a request of txt2img or img2img; warnings, in words.

    Raises:
        Rejected: it has no such thing (type ``unknown_model`` for files, else
            ``invalid_content``).
        Unavailable: the server was needed, and failed.
    """
    warnings: list[str] = []
    sampler = "sampler_name" if request.get("sampler_name") else "sampler_index"
    for field, schedule in ((sampler, "scheduler"), ("hr_sampler_name", "hr_scheduler")):
        warnings += await _settle_sampler(request, field, schedule, lists)
        warnings += await _settle_schedule(request, schedule, lists)
    for field in ("refiner_checkpoint", "hr_checkpoint_name"):
        await _settle_checkpoint(request, field, lists)
    for field in ("prompt", "hr_prompt"):
        await _settle_networks(request, field, lists)
    await _settle_styles(request, lists)
    await settle_modules(request, lists)
    await settle_clip_layers(request, lists)
    await _settle_options(request, lists)
    if request.get("enable_hr"):
        await _settle_upscaler(request, "hr_upscaler", lists, latent=True)
    await _check_script(request, lists)
    return tuple(warnings)


async def settle_upscaling(request: JsonObject, lists: ServerLists) -> None:
    """Put the server's names into a request of the extras; raises like `settle_generation`."""
    for field in ("upscaler_1", "upscaler_2"):
        await _settle_upscaler(request, field, lists)
    for field, restorer in _RESTORERS.items():
        if request.get(field) and not await lists.spelled("face-restorers", restorer, "name"):
            raise _unknown(f"{field}: the runtime has no face restorer {restorer}.")


async def find_checkpoint(name: str, lists: ServerLists) -> str:
    """A name of the checkpoint that the server understands; its folder is read anew if needed.

    Where there is no list, the name itself.

    Raises:
        Rejected: there is no such checkpoint (type ``unknown_model``).
    """
    listed = await lists.entries("sd-models")
    if listed is None:
        return name
    found = match_checkpoint(name, listed)
    if found is None:
        found = match_checkpoint(name, await lists.refreshed("sd-models") or [])
    if found is None:
        raise _unknown_file(f"The runtime has no checkpoint {name!r}.")
    return found


_CHECKSUM: Final = re.compile(r"\s*\[[^]]+]\s*$")


def match_checkpoint(name: str, listed: list[JsonObject]) -> str | None:
    """The server's own rules: one of a checkpoint's names, else a part of a title.

    Newer versions use only full names within a request, so that a part becomes its title.
    """
    titles = []
    for entry in listed:
        title = str(entry.get("title", ""))
        names = {title, _CHECKSUM.sub("", title)}
        names |= {str(entry.get(key)) for key in ("model_name", "hash", "sha256")}
        if name in names:
            return name
        titles.append(title)
    parts = [title for title in titles if _CHECKSUM.sub("", name) in title]
    return min(parts, key=len, default=None)


async def _settle_sampler(
    request: JsonObject, field: str, schedule: str, lists: ServerLists
) -> list[str]:
    wanted = request.get(field)
    if not isinstance(wanted, str) or wanted.casefold() in _SAME:
        return []
    known = find_sampler(wanted)
    listed = await lists.entries("samplers")
    name = known.webui if known is not None and known.webui else wanted
    if listed is None:
        request[field] = name
        return []
    found = await lists.spelled("samplers", name, "name")
    if found is None and (other := other_name_of_sampler(name)) is not None:
        found = spelling(other, listed, ("name",))
    if found is None and known is None:
        found = await _split_sampler(request, wanted, schedule, lists)
    if found is None and known is not None:
        request.pop(field)
        default = DEFAULT_SAMPLER.webui
        return [f"{field}: the runtime has no sampler {wanted!r}; {default} was taken"]
    if found is None:
        raise _unknown(f"{field}: the runtime has no sampler {wanted!r}.")
    request[field] = found
    return []


async def _split_sampler(
    request: JsonObject, wanted: str, schedule: str, lists: ServerLists
) -> str | None:
    """The sampler of an old name that holds its schedule, which goes into a field of its own."""
    listed = await lists.entries("schedulers")
    pairs: list[tuple[JsonValue, JsonValue]] = (
        [(known.webui, known.comfyui) for known in SCHEDULES]
        if listed is None
        else [(entry.get("label"), entry.get("name")) for entry in listed]
    )
    for pair in pairs:
        for label in pair:
            if not isinstance(label, str) or not wanted.casefold().endswith(f" {label.casefold()}"):
                continue
            name = wanted[: -len(label) - 1]
            known = find_sampler(name)
            name = known.webui if known is not None and known.webui else name
            found = spelling(name, await lists.entries("samplers") or [], ("name",))
            if found is not None:
                request.setdefault(schedule, label)
                return found
    return None


async def _settle_schedule(request: JsonObject, field: str, lists: ServerLists) -> list[str]:
    wanted = request.get(field)
    if not isinstance(wanted, str) or wanted.casefold() in _SAME_SCHEDULE:
        return []
    known = find_schedule(wanted)
    name = known.webui if known is not None else wanted
    if await lists.entries("schedulers") is None:
        await _join_schedule(request, field, name, lists)
        return []
    found = await lists.spelled("schedulers", name, "label", "name")
    if found is None and known is not None:
        request.pop(field)
        return [f"{field}: the runtime has no schedule {wanted!r}; its own was taken"]
    if found is None:
        raise _unknown(f"{field}: the runtime has no schedule {wanted!r}.")
    request[field] = found
    return []


async def _join_schedule(
    request: JsonObject, field: str, schedule: str, lists: ServerLists
) -> None:
    """Up to 1.8, a schedule is a part of the sampler's name; SD.Next has a field of its own."""
    sampler = {"scheduler": "sampler_name", "hr_scheduler": "hr_sampler_name"}[field]
    request[field] = schedule
    name, samplers = request.get(sampler), await lists.entries("samplers") or []
    name = name or DEFAULT_SAMPLER.webui
    found = spelling(f"{name} {schedule}", samplers, ("name",))
    if found is not None:
        request[sampler] = found
        request.pop(field)
    elif (sigmas := sigmas_of(schedule, name, samplers)) and field == "scheduler":
        request.setdefault("schedulers_sigma", sigmas)
        request.pop(field)


async def _settle_checkpoint(request: JsonObject, field: str, lists: ServerLists) -> None:
    wanted = request.get(field)
    if isinstance(wanted, str) and wanted.casefold() not in _SAME:
        request[field] = await find_checkpoint(wanted, lists)


async def _settle_networks(request: JsonObject, field: str, lists: ServerLists) -> None:
    prompt = request.get(field)
    if not isinstance(prompt, str):
        return
    for kind, name in dict.fromkeys(NETWORK.findall(prompt)):
        names, what = ("hypernetworks", "hypernetwork") if kind == "hypernet" else ("loras", "LoRA")
        found = await lists.spelled(names, name, "name", "alias")
        if found is None:
            raise _unknown_file(f"{field}: the runtime has no {what} {name!r}.")
        prompt = re.sub(rf"<{kind}:{re.escape(name)}(?=[:>])", _literal(f"<{kind}:{found}"), prompt)
    request[field] = prompt


def _literal(text: str) -> str:
    """A replacement in which nothing stands for something else."""
    return text.replace("\\", r"\\")


async def _settle_styles(request: JsonObject, lists: ServerLists) -> None:
    styles = request.get("styles")
    if not isinstance(styles, list) or not all(isinstance(one, str) for one in styles):
        return
    settled: list[JsonValue] = []
    for wanted in filter(None, map(str, styles)):
        found = await lists.spelled("prompt-styles", wanted, "name")
        if found is None:
            raise _unknown(f"styles: the runtime has no style {wanted!r}.")
        settled.append(found)
    request["styles"] = settled


async def _settle_options(request: JsonObject, lists: ServerLists) -> None:
    """The files and things that `override_settings` name."""
    settings = request.get("override_settings")
    if not isinstance(settings, dict):
        return
    vae, restorer = settings.get("sd_vae"), settings.get("face_restoration_model")
    if isinstance(vae, str):
        found = next((name for name in _VAES if name.casefold() == vae.casefold()), None)
        found = found or await lists.spelled("sd-vae", vae, "model_name")
        if found is None:
            raise _unknown_file(f"override_settings.sd_vae: the runtime has no VAE {vae!r}.")
        settings["sd_vae"] = found
    if isinstance(restorer, str) and restorer:
        found = await lists.spelled("face-restorers", restorer, "name")
        if found is None:
            where = "override_settings.face_restoration_model"
            raise _unknown(f"{where}: the runtime has no face restorer {restorer!r}.")
        settings["face_restoration_model"] = found


async def _settle_upscaler(
    request: JsonObject, field: str, lists: ServerLists, *, latent: bool = False
) -> None:
    wanted = request.get(field)
    if not isinstance(wanted, str) or not wanted:
        return
    if latent and await lists.entries("latent-upscale-modes") is not None:
        found = await lists.spelled("latent-upscale-modes", wanted, "name")
        if found is not None:
            request[field] = found
            return
    found = await lists.spelled("upscalers", wanted, "name")
    if found is None:
        other, listed = other_name_of_upscaler(wanted), await lists.entries("upscalers")
        found = spelling(other, listed or (), ("name",))
    if found is None:
        raise _unknown_file(f"{field}: the runtime has no upscaler {wanted!r}.")
    request[field] = found


async def _check_script(request: JsonObject, lists: ServerLists) -> None:
    """A script takes its arguments by their places: too few shift those of others.

    SD.Next passes over those that it does not have.
    """
    name, given = request.get("script_name"), request.get("script_args")
    if not isinstance(name, str) or not name:
        return
    of_images = "init_images" in request
    names = await lists.scripts(of_images=of_images)
    if names is not None and name.casefold() not in (one.casefold() for one in names):
        raise _unknown(f"script_name: the runtime has no script {name!r}.")
    for entry in await lists.entries("script-info") or []:
        arguments = entry.get("args")
        if (
            str(entry.get("name")).casefold() == name.casefold()
            and entry.get("is_alwayson") is False
            and entry.get("is_img2img") is of_images
            and isinstance(arguments, list)
        ):
            count = len(given) if isinstance(given, list) else 0
            if count != len(arguments):
                raise _unknown(
                    f"script_args: the script {name!r} takes {len(arguments)} arguments, "
                    f"not {count}."
                )


def _unknown(words: str) -> Rejected:
    return Rejected(words, type="invalid_content")


def _unknown_file(words: str) -> Rejected:
    return Rejected(words, type="unknown_model")
