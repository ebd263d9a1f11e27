"""One table of sampler and noise schedule names in the words of three worlds.

`python -m queue_agent.wire.samplers` prints the table as `docs/reference/samplers.md` shows it.

Sources: `modules/sd_samplers_kdiffusion.py` and `modules/sd_schedulers.py` of the Web UI,
`comfy/samplers.py` of ComfyUI, and
https://huggingface.co/docs/diffusers/api/schedulers/overview of diffusers.
"""

import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeVar

from pydantic import JsonValue

__all__ = [
    "DEFAULT_SAMPLER",
    "SAMPLERS",
    "SCHEDULES",
    "Sampler",
    "SamplerChoice",
    "Schedule",
    "choose",
    "find_sampler",
    "find_schedule",
]

T = TypeVar("T")


@dataclass(frozen=True)
class Schedule:
    """How the noise falls from step to step; the Web UI's "Schedule type"."""

    webui: str
    comfyui: str | None
    diffusers: Mapping[str, JsonValue] | None
    """Options of a diffusers scheduler class; None where it has no such schedule.

    Not every class knows every option.
    """


@dataclass(frozen=True)
class Sampler:
    """How one step is computed; ComfyUI's `sampler_name`, a scheduler class in diffusers."""

    webui: str | None
    comfyui: str | None
    diffusers: str | None
    """Name of the scheduler class."""
    diffusers_options: Mapping[str, JsonValue] = field(default_factory=dict)
    automatic: str | None = None
    """The schedule that the Web UI takes for this sampler when none is asked for."""


SCHEDULES: Final = (
    Schedule("Normal", "normal", {"timestep_spacing": "linspace"}),
    Schedule("Uniform", "normal", {"timestep_spacing": "linspace"}),
    Schedule("Karras", "karras", {"use_karras_sigmas": True}),
    Schedule("Exponential", "exponential", {"use_exponential_sigmas": True}),
    Schedule("Polyexponential", "exponential", {"use_exponential_sigmas": True}),
    Schedule("SGM Uniform", "sgm_uniform", {"timestep_spacing": "trailing"}),
    Schedule("Simple", "simple", {"timestep_spacing": "trailing"}),
    Schedule("DDIM", "ddim_uniform", {"timestep_spacing": "leading"}),
    Schedule("Beta", "beta", {"use_beta_sigmas": True}),
    Schedule("KL Optimal", "kl_optimal", None),
    Schedule("Align Your Steps", None, None),
)

_MULTISTEP: Final = "DPMSolverMultistepScheduler"
_SDE: Final[Mapping[str, JsonValue]] = {"algorithm_type": "sde-dpmsolver++"}

SAMPLERS: Final = (
    Sampler("Euler", "euler", "EulerDiscreteScheduler"),
    Sampler("Euler a", "euler_ancestral", "EulerAncestralDiscreteScheduler"),
    Sampler("Heun", "heun", "HeunDiscreteScheduler"),
    Sampler("LMS", "lms", "LMSDiscreteScheduler"),
    Sampler("DPM2", "dpm_2", "KDPM2DiscreteScheduler", automatic="Karras"),
    Sampler("DPM2 a", "dpm_2_ancestral", "KDPM2AncestralDiscreteScheduler", automatic="Karras"),
    Sampler("DPM fast", "dpm_fast", None),
    Sampler("DPM adaptive", "dpm_adaptive", None),
    Sampler("DPM++ 2M", "dpmpp_2m", _MULTISTEP, automatic="Karras"),
    Sampler("DPM++ 2M SDE", "dpmpp_2m_sde", _MULTISTEP, _SDE, automatic="Exponential"),
    Sampler(
        "DPM++ 2M SDE Heun",
        "dpmpp_2m_sde_heun",
        _MULTISTEP,
        {**_SDE, "solver_type": "heun"},
        automatic="Exponential",
    ),
    Sampler(
        "DPM++ 3M SDE",
        "dpmpp_3m_sde",
        _MULTISTEP,
        {**_SDE, "solver_order": 3},
        automatic="Exponential",
    ),
    Sampler("DPM++ SDE", "dpmpp_sde", "DPMSolverSinglestepScheduler", automatic="Karras"),
    Sampler("DPM++ 2S a", "dpmpp_2s_ancestral", None, automatic="Karras"),
    Sampler("Restart", None, None),
    Sampler("DDIM", "ddim", "DDIMScheduler"),
    Sampler("PLMS", None, "PNDMScheduler"),
    Sampler("UniPC", "uni_pc", "UniPCMultistepScheduler"),
    Sampler("LCM", "lcm", "LCMScheduler"),
    Sampler(None, "ddpm", "DDPMScheduler"),
    Sampler(None, "deis", "DEISMultistepScheduler"),
    Sampler(None, "ipndm", "IPNDMScheduler"),
)

DEFAULT_SAMPLER: Final = SAMPLERS[0]
"""What the Web UI's API takes when a request names none."""

_AUTOMATIC: Final = "automatic"


@dataclass(frozen=True)
class SamplerChoice:
    """What a request's `sampler_name` and `scheduler` mean."""

    sampler: Sampler | None
    """None: no name in the table; the runtime may know it under this very name."""
    schedule: Schedule | None
    """None: the runtime's default, or a name that is not in the table."""
    unknown_schedule: str | None = None
    """The schedule asked for, where it is not in the table."""


def find_sampler(name: str) -> Sampler | None:
    """The sampler of that name in any of the three worlds; spelling is forgiven.

    So is the ``k_`` of k-diffusion, which the Web UI's aliases have.
    """
    normalized = _normalized(name)
    return _SAMPLERS_BY_NAME.get(normalized) or _SAMPLERS_BY_NAME.get(normalized.removeprefix("k"))


def find_schedule(name: str) -> Schedule | None:
    """The schedule of that name in the Web UI or in ComfyUI; spelling is forgiven."""
    return _SCHEDULES_BY_NAME.get(_normalized(name))


def choose(sampler_name: str | None, scheduler: str | None) -> SamplerChoice:
    """Read the two fields of a portable job as the Web UI reads them.

    Older names such as ``DPM++ 2M Karras`` hold both; without a schedule (or with
    ``automatic``) the sampler's own is taken.
    """
    sampler, suffix = _split(sampler_name) if sampler_name else (DEFAULT_SAMPLER, None)
    if scheduler and _normalized(scheduler) != _AUTOMATIC:
        schedule = find_schedule(scheduler)
        return SamplerChoice(sampler, schedule, None if schedule else scheduler)
    if suffix:
        return SamplerChoice(sampler, suffix)
    automatic = sampler.automatic if sampler else None
    return SamplerChoice(sampler, find_schedule(automatic) if automatic else None)


def as_markdown() -> str:
    """The page `docs/reference/samplers.md`."""
    samplers = [
        (sampler.webui, sampler.comfyui, _diffusers_words(sampler), sampler.automatic)
        for sampler in SAMPLERS
    ]
    schedules = [
        (
            schedule.webui,
            schedule.comfyui,
            None if schedule.diffusers is None else _options(schedule.diffusers),
        )
        for schedule in SCHEDULES
    ]
    return "\n".join(
        [
            "# Samplers and schedules",
            "",
            "A portable job may name its sampler and schedule in the words of any column, whatever",
            "runtime does the job; case, spaces and underscores do not matter. Where a runtime has",
            "no counterpart, it takes its default and the notification has a warning.",
            "",
            "## Samplers (`sampler_name`)",
            "",
            *_table(("Web UI", "ComfyUI", "diffusers", "automatic schedule"), samplers),
            "",
            "## Schedules (`scheduler`)",
            "",
            *_table(("Web UI", "ComfyUI", "diffusers options"), schedules),
            "",
        ]
    )


def _split(name: str) -> tuple[Sampler | None, Schedule | None]:
    sampler = find_sampler(name)
    if sampler:
        return sampler, None
    normalized = _normalized(name)
    for key, schedule in _SCHEDULES_BY_NAME.items():
        sampler = _SAMPLERS_BY_NAME.get(normalized.removesuffix(key))
        if sampler:
            return sampler, schedule
    return None, None


def _normalized(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.casefold().replace("++", "pp"))


def _sampler_names() -> Iterable[tuple[str, Sampler]]:
    for sampler in SAMPLERS:
        names = (sampler.webui, sampler.comfyui, sampler.diffusers)
        yield from ((name, sampler) for name in names if name)


def _schedule_names() -> Iterable[tuple[str, Schedule]]:
    for schedule in SCHEDULES:
        names = (schedule.webui, schedule.comfyui)
        yield from ((name, schedule) for name in names if name)


def _first_by_name(names: Iterable[tuple[str, T]]) -> dict[str, T]:
    found: dict[str, T] = {}
    for name, value in names:
        found.setdefault(_normalized(name), value)
    return found


_SAMPLERS_BY_NAME: Final = _first_by_name(_sampler_names())
_SCHEDULES_BY_NAME: Final = _first_by_name(_schedule_names())


def _diffusers_words(sampler: Sampler) -> str | None:
    options = _options(sampler.diffusers_options)
    return " ".join(filter(None, (sampler.diffusers, f"({options})" if options else ""))) or None


def _options(options: Mapping[str, JsonValue]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in options.items())


def _table(titles: tuple[str, ...], rows: Iterable[tuple[str | None, ...]]) -> list[str]:
    lines = [titles, ("---",) * len(titles)]
    lines += [tuple(f"`{cell}`" if cell else "" for cell in row) for row in rows]
    return [f"| {' | '.join(line)} |" for line in lines]


if __name__ == "__main__":
    sys.stdout.write(as_markdown())
