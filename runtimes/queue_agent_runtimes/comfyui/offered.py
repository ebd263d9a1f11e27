"""What a ComfyUI has, as the inputs of its core nodes say."""

from collections.abc import Mapping

from pydantic import JsonValue

from queue_agent.runtime import (
    Capabilities,
    OfferedLora,
    OfferedModel,
    OfferedSampler,
    OfferedSchedule,
    OfferedSizes,
    OfferedUpscaler,
)
from queue_agent.wire.samplers import SAMPLERS, SCHEDULES
from queue_agent_runtimes.comfyui.api import ComfyUIApi


async def capabilities_of(api: ComfyUIApi) -> Capabilities:
    """Of each list what the node has that portable jobs become.

    Raises:
        Unavailable: the server does not answer.
    """
    stats = await api.system_stats()
    system = stats.get("system")
    version = system.get("comfyui_version") if isinstance(system, dict) else None
    models = await api.choices("CheckpointLoaderSimple", "ckpt_name")
    samplers = await api.choices("KSampler", "sampler_name")
    schedules = await api.choices("KSampler", "scheduler")
    loras = await api.choices("LoraLoader", "lora_name")
    upscalers = await api.choices("UpscaleModelLoader", "model_name")
    return Capabilities(
        version=version if isinstance(version, str) else None,
        models=tuple(OfferedModel(name=name) for name in models),
        samplers=tuple(
            OfferedSampler(name=name, aliases=_webui_samplers(name)) for name in samplers
        ),
        schedules=tuple(
            OfferedSchedule(name=name, aliases=_webui_schedules(name)) for name in schedules
        ),
        loras=tuple(OfferedLora(name=name) for name in loras),
        upscalers=tuple(OfferedUpscaler(name=name) for name in upscalers),
        latent_upscalers=tuple(await api.choices("LatentUpscaleBy", "upscale_method")),
        vaes=tuple(await api.choices("VAELoader", "vae_name")),
        sizes=_sizes(await api.input_options("EmptyLatentImage", "width")),
    )


def _webui_samplers(name: str) -> tuple[str, ...]:
    """What the Web UI calls it, by which jobs may ask for it too."""
    return tuple(one.webui for one in SAMPLERS if one.webui and one.comfyui == name)


def _webui_schedules(name: str) -> tuple[str, ...]:
    return tuple(one.webui for one in SCHEDULES if one.comfyui == name)


def _sizes(options: Mapping[str, JsonValue]) -> OfferedSizes:
    smallest, largest, step = (
        value if isinstance(value := options.get(key), int) else None
        for key in ("min", "max", "step")
    )
    return OfferedSizes(smallest=smallest, largest=largest, multiple_of=step)
