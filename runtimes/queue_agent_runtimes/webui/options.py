"""The server's options, which no job may leave other than it found them.

A job's `override_settings` are restored after it by `process_images` of the Web UI, unless the job
says else, and only those that were set: what a server that never saved a `config.json` has by
default alone, as each new pod's, stays as the job left it, for all later jobs. So the options that
a job can change are set before it to what they are (`tests/recordings`, fresh_config.json).
"""

import asyncio
from collections.abc import Collection, Iterable
from typing import Final

from pydantic import JsonValue

from queue_agent.runtime.http import WORK, RuntimeClient
from queue_agent.wire.errors import Rejected
from queue_agent_runtimes.webui.answer import error_of
from queue_agent_runtimes.webui.fields import JsonObject

CHECKPOINT: Final = "sd_model_checkpoint"
_KEPT: Final = "sd_checkpoints_limit"
"""How many checkpoints are kept, on the device or in memory; versions before 1.6 and forks keep
one, whatever they call it."""
_OPTIONS: Final = "/sdapi/v1/options"
_SET_BY_WORDS: Final = frozenset(
    {
        "CLIP_stop_at_last_layers",
        "always_discard_next_to_last_sigma",
        "beta_dist_alpha",
        "beta_dist_beta",
        "emphasis",
        "eta_ancestral",
        "eta_ddim",
        "eta_noise_seed_delta",
        "face_restoration",
        "fp8_storage",
        "hires_fix_refiner_pass",
        "img2img_extra_noise",
        "initial_noise_multiplier",
        "inpainting_mask_weight",
        "k_sched_type",
        "pad_cond_uncond",
        "pad_cond_uncond_v0",
        "randn_source",
        "refiner_switch_by_sample_steps",
        "rho",
        "s_churn",
        "s_min_uncond",
        "s_min_uncond_all",
        "s_noise",
        "s_tmax",
        "s_tmin",
        "sd_noise_schedule",
        "sd_vae",
        "sd_vae_decode_method",
        "sd_vae_encode_method",
        "sgm_noise_multiplier",
        "sigma_max",
        "sigma_min",
        "skip_early_cond",
        "tiling",
        "token_merging_ratio",
        "token_merging_ratio_hr",
        "uni_pc_lower_order_final",
        "uni_pc_order",
        "uni_pc_skip_type",
        "uni_pc_variant",
        "use_downcasted_alpha_bar",
        "use_old_scheduling",
    }
)
"""What 1.10.1 overrides for an `infotext`, and its scripts (X/Y/Z plot) for themselves."""
ALL_OF_THEM: Final = 100
"""Fewer options than these are those that were set, as SD.Next lists them: others may be known."""
_OTHER_THAN_NULL: Final = "None"
"""Set before a null, since an option that is null by default counts as set once it was not."""
MODULES: Final = "forge_additional_modules"
"""Of Forge, where none of them counts as set only once there were others, which it must know."""


def names_changed_by(request: JsonObject) -> frozenset[str]:
    """The options that a request may change, but for the checkpoint, which the server has set."""
    settings = request.get("override_settings")
    names = frozenset(settings) if isinstance(settings, dict) else frozenset()
    if request.get("infotext") or request.get("script_name"):
        names |= _SET_BY_WORDS
    return names - {CHECKPOINT}


class ServerOptions:
    """What is known of the server's options since it was last away."""

    def __init__(self, http: RuntimeClient) -> None:
        self._http = http
        self._last: JsonObject | None = None
        """As they were when they were last asked, of which only names and types are used."""
        self._set: set[str] = set()
        self._setting = asyncio.Lock()

    def forget(self) -> None:
        """The server was started anew, or may have been."""
        self._last = None
        self._set.clear()

    async def checkpoints_kept(self) -> int:
        """How many it has loaded at the same time, at most.

        Raises:
            Unavailable: the server does not answer.
        """
        kept = (await self._ask() or {}).get(_KEPT)
        return max(1, int(kept)) if isinstance(kept, int | float) else 1

    async def check(self, settings: JsonObject) -> None:
        """Refuse overrides of options that there are not, or by values of other types.

        Raises:
            Rejected: with each of them in words (type ``invalid_content``).
            Unavailable: the server was needed, and failed.
        """
        if not settings:
            return
        if self._last is None or settings.keys() - self._last.keys():
            self._last = await self._ask()
        if self._last is None or len(self._last) < ALL_OF_THEM:
            return
        faults = [*_faults(settings, self._last)]
        if faults:
            raise Rejected("; ".join(faults), type="invalid_content")

    async def keep(self, names: Collection[str], settings: JsonObject) -> None:
        """See to it that the server restores these options after a job with these settings.

        What it does meanwhile is waited for, where the server waits for it with its models.

        Raises:
            Unavailable: the server was needed, and failed.
        """
        async with self._setting:
            wanted = set(names) - self._set
            if not wanted:
                return
            now = await self._ask()
            if now is None:
                return
            known = {name: _as_set(now[name]) for name in wanted if name in now}
            if not known.get(MODULES, True) and not settings.get(MODULES):
                wanted.remove(MODULES)
            others: JsonObject = {
                name: _OTHER_THAN_NULL for name, value in known.items() if value is None
            }
            if MODULES in wanted and known.get(MODULES) == []:
                others[MODULES] = settings[MODULES]
            for values in filter(None, (others, known)):
                await self._tell(values)
            self._set |= wanted

    async def _ask(self) -> JsonObject | None:
        """All options; None where there is no such route."""
        answer = await self._http.send("GET", _OPTIONS)
        if answer.status in {404, 405}:
            return None
        if not answer.ok:
            raise error_of(answer)
        return answer.json_object()

    async def _tell(self, values: JsonObject) -> None:
        answer = await self._http.send("POST", _OPTIONS, json=values, timeout=WORK)
        if not answer.ok:
            raise error_of(answer)


def _as_set(value: JsonValue) -> JsonValue:
    """Whole numbers as such: the server shows those that it uses as places in lists as floats."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _faults(settings: JsonObject, known: JsonObject) -> Iterable[str]:
    for name, value in settings.items():
        if name not in known:
            yield f"override_settings: the runtime has no option {name!r}"
            continue
        expected, given = _kind(known[name]), _kind(value)
        if expected and given and expected != given and name != CHECKPOINT:
            yield f"override_settings.{name}: must be {expected}, not {given}"


def _kind(value: JsonValue) -> str:
    """In words; empty where an option's type does not show."""
    if isinstance(value, bool | int | float):
        return "a number or a yes or no"
    if isinstance(value, str):
        return "text"
    return "a list" if isinstance(value, list) else ""
