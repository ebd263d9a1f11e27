"""The Web UI's folders of models: what jobs name of them, and what the server sees in them."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from pydantic import JsonValue

from queue_agent.runtime import ModelFile
from queue_agent.runtime.http import RuntimeClient
from queue_agent_runtimes.webui.answer import error_of

_CHECKSUM: Final = re.compile(r"\s*\[[^]]+]\s*$")
_LORA_TAG: Final = re.compile(r"<lora:([^:<>]+)[:>]")
_NO_SUCH_ROUTE: Final = frozenset({404, 405})
_CHECKPOINTS: Final = "Stable-diffusion"
_LORAS: Final = "Lora"
_VAES: Final = "VAE"


@dataclass(frozen=True)
class _Kind:
    """How the API calls a kind of models."""

    listed: tuple[str, ...]
    """By the first of these routes that there is; Forge has VAEs among its modules."""
    path: str
    """The field of a list's entry that says where the file is."""
    refresh: str


_KINDS: Final[Mapping[str, _Kind]] = {
    _CHECKPOINTS: _Kind(("sd-models",), "filename", "refresh-checkpoints"),
    _LORAS: _Kind(("loras",), "path", "refresh-loras"),
    _VAES: _Kind(("sd-vae", "sd-modules"), "filename", "refresh-vae"),
}
MODEL_FOLDERS: Final = frozenset(_KINDS)
_OF_OTHERS: Final[Mapping[str, str]] = {
    "checkpoints": _CHECKPOINTS,
    "loras": _LORAS,
    "vae": _VAES,
}
"""What ComfyUI calls the same: portable jobs bring their models to any runtime."""


def canonical(models: Iterable[ModelFile]) -> Iterator[ModelFile]:
    """The same with the Web UI's names of their folders."""
    for model in models:
        yield replace(model, folder=_OF_OTHERS.get(model.folder, model.folder))


def models_in(content: Mapping[str, JsonValue]) -> Iterator[ModelFile]:
    """What a job names: its checkpoint, VAE and LoRAs, with or without extensions."""
    settings = content.get("override_settings")
    named = settings if isinstance(settings, Mapping) else {}
    checkpoint = content.get("model") or named.get("sd_model_checkpoint")
    if isinstance(checkpoint, str) and checkpoint:
        yield ModelFile(_CHECKSUM.sub("", checkpoint).replace("\\", "/"), _CHECKPOINTS)
    vae = named.get("sd_vae")
    if isinstance(vae, str) and vae not in {"", "Automatic", "None"}:
        yield ModelFile(vae.replace("\\", "/"), _VAES)
    loras = content.get("loras")
    for lora in loras if isinstance(loras, list) else []:
        if isinstance(lora, Mapping) and isinstance(name := lora.get("name"), str):
            yield ModelFile(name.replace("\\", "/"), _LORAS)
    for field in ("prompt", "hr_prompt"):
        if isinstance(prompt := content.get(field), str):
            yield from (ModelFile(name, _LORAS) for name in _LORA_TAG.findall(prompt))


def loras_in(content: Mapping[str, JsonValue]) -> Iterator[str]:
    """The names of the LoRAs that a job names."""
    return (model.name for model in models_in(content) if model.folder == _LORAS)


class ModelLists:
    """Those of one server."""

    def __init__(self, http: RuntimeClient) -> None:
        self._http = http

    async def has(self, model: ModelFile) -> bool:
        """Whether the server lists a file of that name, as it has seen its folders last."""
        kind = _KINDS.get(model.folder)
        listed = await self._listed(kind.listed) if kind else None
        if kind is None or listed is None:
            return False
        paths = (
            str(entry.get(kind.path)).replace("\\", "/")
            for entry in (listed if isinstance(listed, list) else [])
            if isinstance(entry, dict)
        )
        return any(f"/{path}".endswith(f"/{model.name}") for path in paths)

    async def _listed(self, routes: Sequence[str]) -> JsonValue:
        """What the first route answers that there is; None where there is none."""
        for route in routes:
            answer = await self._http.send("GET", f"/sdapi/v1/{route}")
            if answer.status in _NO_SUCH_ROUTE:
                continue
            if not answer.ok:
                raise error_of(answer)
            return answer.json()
        return None

    async def refresh(self, models: Sequence[ModelFile]) -> None:
        """Have the server look into the folders of these again."""
        for folder in sorted({model.folder for model in models} & _KINDS.keys()):
            answer = await self._http.send("POST", f"/sdapi/v1/{_KINDS[folder].refresh}")
            if not answer.ok and answer.status not in _NO_SUCH_ROUTE:
                raise error_of(answer)
