"""How 1.10.1 reads names, and what it makes of those that it does not know."""

import hashlib
import re
from typing import Final

from pydantic import JsonValue

from fakes.webui.disk import Checkpoint, Models
from fakes.webui.recorded import answer_to

_NETWORK: Final = re.compile(r"<(\w+):([^>:]+)(?::[^>]*)?>")


def sampler_and_schedule(name: str | None, schedule: str | None) -> tuple[str, str]:
    """The names of those that are taken: the first of each list for unknown ones.

    `sd_samplers.get_sampler_and_scheduler`, and what Automatic means for the sampler.
    """
    samplers = answer_to("lists", "samplers")
    schedules = answer_to("lists", "schedulers")
    found = next((one for one in schedules if schedule in (one["name"], one["label"])), None)
    wanted = name or samplers[0]["name"]
    for one in schedules:
        for spelled in (one["label"], one["name"], *(one["aliases"] or [])):
            if wanted.endswith(f" {spelled}"):
                found, wanted = one, wanted[: -len(spelled) - 1]
                break
    sampler = next((one for one in samplers if one["name"] == wanted), samplers[0])
    if found is None or found["label"] == "Automatic":
        own = sampler["options"].get("scheduler", "automatic")
        found = next(one for one in schedules if one["name"] == own)
    return sampler["name"], found["label"]


def networks(prompt: str, models: Models) -> tuple[str, str]:
    """The LoRAs of a prompt that are there, by name or alias: their files and their hashes."""
    files, hashes = [], []
    for _, name in _NETWORK.findall(prompt):
        known = next((one for one in models.loras if name in (one["name"], one["alias"])), None)
        if known is not None:
            files.append(str(known["path"]))
            hashes.append(f"{name}: {_hash_of(known)}")
    return "|".join(files), ", ".join(hashes)


def _hash_of(network: dict[str, JsonValue]) -> str:
    if network["name"] == "tiny-lora":
        return "8ce60921ab16"  # the recorded one's
    return hashlib.sha256(str(network["path"]).encode()).hexdigest()[:12]


def refiner(name: str, models: Models) -> Checkpoint:
    found = models.closest(name)
    if found is None:
        raise Exception(f"Could not find checkpoint with name {name}")  # noqa: TRY002
    return found


def styled(prompt: str, negative: str, names: list[str], models: Models) -> tuple[str, str]:
    """Both prompts with the styles that are there."""
    for name in names:
        style = next((one for one in models.disk.styles if one["name"] == name), None)
        if style is not None:
            prompt = _merged(prompt, style["prompt"])
            negative = _merged(negative, style["negative_prompt"])
    return prompt, negative


def _merged(prompt: str, style: JsonValue) -> str:
    text = str(style)
    if "{prompt}" in text:
        return text.replace("{prompt}", prompt)
    return ", ".join(filter(None, (prompt.strip(), text.strip())))


def infotext_fields(text: str) -> dict[str, str]:
    """`parse_generation_parameters`, as far as the fake uses it."""
    *lines, last = text.strip().split("\n")
    found = dict(re.findall(r"\s*(\w[\w \-/]+):\s*([^,]*)(?:,|$)", last))
    negative = next((line for line in lines if line.startswith("Negative prompt:")), None)
    if negative is not None:
        found["Negative prompt"] = negative.partition(":")[2].strip()
    return found
