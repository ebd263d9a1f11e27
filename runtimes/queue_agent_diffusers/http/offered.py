"""What the server has, as agents publish it."""

from collections.abc import Collection, Iterable, Sequence
from importlib.metadata import version
from pathlib import Path

from queue_agent.wire.offer import (
    Capabilities,
    OfferedLora,
    OfferedModel,
    OfferedSampler,
    OfferedSchedule,
    OfferedSizes,
    OfferedUpscaler,
)
from queue_agent.wire.samplers import SAMPLERS, SCHEDULES
from queue_agent_diffusers.engine.names import Names
from queue_agent_diffusers.engine.pool import ModelPool
from queue_agent_diffusers.http.images import LANCZOS, MAX_SIDE, MIN_SIDE, SIDE_STEP
from queue_agent_diffusers.options import Options


def capabilities_of(pool: ModelPool, names: Names, options: Options) -> Capabilities:
    """The served models, and what those of them can use that are loaded; at first, any."""
    loras = options.lora_dir
    loaded = [model for source in names.generating if (model := pool.find(source)) is not None]
    samplers = not loaded or any(model.takes_samplers for model in loaded)
    if loaded and not any(model.takes_loras for model in loaded):
        loras = None
    return Capabilities(
        version=version("sd-queue-agent"),
        models=tuple(
            OfferedModel(name=names.listed(source), loaded=pool.state(source) == "loaded")
            for source in names.generating
        ),
        samplers=tuple(
            OfferedSampler(name=sampler.webui or sampler.diffusers, aliases=(sampler.diffusers,))
            for sampler in SAMPLERS
            if sampler.diffusers and samplers
        ),
        schedules=tuple(
            OfferedSchedule(name=schedule.webui)
            for schedule in SCHEDULES
            if schedule.diffusers is not None and samplers
        ),
        loras=tuple(OfferedLora(name=name) for name in _loras(loras)),
        controls=_usable(options.control_nets, [model.control_nets for model in loaded]),
        ip_adapters=_usable(options.ip_adapters, [model.ip_adapters for model in loaded]),
        upscalers=tuple(
            OfferedUpscaler(name=name) for name in (LANCZOS, *sorted(options.upscalers))
        ),
        sizes=OfferedSizes(smallest=MIN_SIDE, largest=MAX_SIDE, multiple_of=SIDE_STEP),
    )


def _usable(named: Iterable[str], by_model: Sequence[Collection[str]]) -> tuple[str, ...]:
    """Those that a loaded model can use; all, where none is loaded."""
    there = {name for names in by_model for name in names}
    return tuple(sorted(name for name in named if not by_model or name in there))


def _loras(folder: Path | None) -> list[str]:
    """What requests may name; a folder that cannot be read has none."""
    try:
        return sorted(file.stem for file in folder.glob("*.safetensors")) if folder else []
    except OSError:
        return []
