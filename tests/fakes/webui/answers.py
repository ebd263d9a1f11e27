"""What a generation request is answered: images, the request with its defaults, `info`."""

import json
import time
from dataclasses import dataclass, field

from PIL import Image
from pydantic import JsonValue

from fakes.webui import images
from fakes.webui.disk import Checkpoint
from fakes.webui.models import Generation, ImageToImage
from fakes.webui.options import Options

Json = dict[str, JsonValue]


@dataclass
class Used:
    """What a job is made with, which may be other than what it asked for."""

    prompt: str
    negative_prompt: str
    sampler: str
    schedule: str
    checkpoint: Checkpoint
    clip_skip: int
    tiling: bool
    restores_faces: bool
    restorer: JsonValue
    vae: str | None = None
    extra: Json = field(default_factory=dict)
    """`extra_generation_params`."""
    version: str = "1.10.1"


@dataclass
class Made:
    """One image."""

    seed: int
    subseed: int
    infotext: str
    prompt: str
    image: Image.Image | None = None
    """None where it was not begun, after an interrupt."""


def infotext(asked: Generation, used: Used, prompt: str, seed: int, subseed: int) -> str:
    """`processing.create_infotext`."""
    varied = bool(asked.subseed_strength)
    shown: Json = {
        "Steps": asked.steps,
        "Sampler": used.sampler,
        "Schedule type": used.schedule,
        "CFG scale": asked.cfg_scale,
        "Seed": seed,
        "Face restoration": used.restorer if used.restores_faces else None,
        "Size": f"{asked.width}x{asked.height}",
        "Model hash": used.checkpoint.short,
        "Model": used.checkpoint.model_name,
        "VAE": used.vae,
        "Variation seed": subseed if varied else None,
        "Variation seed strength": asked.subseed_strength if varied else None,
        "Denoising strength": used.extra.get("Denoising strength"),
        "Clip skip": used.clip_skip if used.clip_skip > 1 else None,
        "Tiling": "True" if used.tiling else None,
        **used.extra,
        "Version": used.version,
    }
    words = ", ".join(
        f'{name}: "{value}"' if ": " in str(value) else f"{name}: {value}"
        for name, value in shown.items()
        if value is not None
    )
    negative = f"\nNegative prompt: {used.negative_prompt}" if used.negative_prompt else ""
    return f"{prompt}{negative}\n{words}"


def answer(
    asked: Generation, used: Used, made: list[Made], grid: Image.Image | None, options: Options
) -> Json:
    """Encoded as the options say now, after the job has restored them."""
    samples_format = options["samples_format"]
    if samples_format is None:
        raise AttributeError("'NoneType' object has no attribute 'lower'")
    samples_format = str(samples_format)
    there = [(one.image, one.infotext) for one in made if one.image is not None]
    infotexts = [text for _, text in there]
    encoded: list[JsonValue] = [images.encode(image, samples_format, text) for image, text in there]
    if grid is not None:
        by_script = asked.script_name is not None
        encoded.insert(0, images.encode(grid, samples_format, "" if by_script else infotexts[0]))
        infotexts.insert(0, infotexts[0])
    info = info_of(asked, used, made, infotexts)
    info["index_of_first_image"] = int(grid is not None)
    parameters = asked.model_dump(mode="json")
    if isinstance(asked, ImageToImage) and not asked.include_init_images:
        parameters.update(init_images=None, mask=None)
    return {
        "images": encoded if asked.send_images else [],
        "parameters": parameters,
        "info": json.dumps(info),
    }


def info_of(asked: Generation, used: Used, made: list[Made], infotexts: list[str]) -> Json:
    """`Processed.js`."""
    prompts: list[JsonValue] = [one.prompt for one in made]
    seeds: list[JsonValue] = [one.seed for one in made]
    subseeds: list[JsonValue] = [one.subseed for one in made]
    negatives: list[JsonValue] = [used.negative_prompt] * len(made)
    texts: list[JsonValue] = [*infotexts]
    styles: list[JsonValue] = [*(asked.styles or [])]
    return {
        "prompt": prompts[0],
        "all_prompts": prompts,
        "negative_prompt": used.negative_prompt,
        "all_negative_prompts": negatives,
        "seed": seeds[0],
        "all_seeds": seeds,
        "subseed": subseeds[0],
        "all_subseeds": subseeds,
        "subseed_strength": asked.subseed_strength,
        "width": asked.width,
        "height": asked.height,
        "sampler_name": used.sampler,
        "cfg_scale": asked.cfg_scale,
        "steps": asked.steps,
        "batch_size": asked.batch_size,
        "restore_faces": used.restores_faces,
        "face_restoration_model": used.restorer if used.restores_faces else None,
        "sd_model_name": used.checkpoint.model_name,
        "sd_model_hash": used.checkpoint.short,
        "sd_vae_name": used.vae,
        "sd_vae_hash": None,
        "seed_resize_from_w": asked.seed_resize_from_w,
        "seed_resize_from_h": asked.seed_resize_from_h,
        "denoising_strength": asked.denoising_strength,
        "extra_generation_params": used.extra,
        "index_of_first_image": 0,
        "infotexts": texts,
        "styles": styles,
        "job_timestamp": time.strftime("%Y%m%d%H%M%S"),
        "clip_skip": used.clip_skip,
        "is_using_inpainting_conditioning": False,
        "version": used.version,
    }
