"""Portable jobs as workflows of ComfyUI's core nodes. Pure functions.

The nodes and their inputs: `nodes.py` of https://github.com/comfyanonymous/ComfyUI.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from pydantic import JsonValue

from queue_agent.wire.portable import MAX_SEED, Lora, PortableContent
from queue_agent.wire.samplers import choose
from queue_agent_runtimes.comfyui.workflow import Graph

_DEFAULT_SAMPLER: Final = "euler"
_DEFAULT_SCHEDULER: Final = "normal"
_LORA_TAG: Final = re.compile(r"<lora:([^:<>]+)(?::(-?[0-9.]+))?(?::[^<>]*)?>")
_PLAIN_RESIZING: Final[Mapping[str, str]] = {
    "None": "lanczos",
    "Lanczos": "lanczos",
    "Nearest": "nearest-exact",
}
"""Upscalers of the Web UI that need no model."""

Link = tuple[str, int]


@dataclass(frozen=True)
class Ingredients:
    """What of a job depends on the runtime and on chance, found out beforehand."""

    checkpoint: str = ""
    loras: tuple[Lora, ...] = ()
    upscaler: str | None = None
    """File name of the upscaling model; None to resize without one."""
    seed: int = 0
    init_image: str | None = None
    mask: str | None = None
    image: str | None = None
    """Names of uploaded files."""
    image_size: tuple[int, int] = (0, 0)


@dataclass
class Recipe:
    """A workflow under construction."""

    graph: Graph = field(default_factory=dict)
    seeds: dict[str, int] = field(default_factory=dict)
    """Seed of the images that a save node saves."""
    warnings: list[str] = field(default_factory=list)

    def add(self, class_type: str, **inputs: JsonValue | Link) -> str:
        """Add a node; the id that the next ones link to."""
        node_id = str(len(self.graph) + 1)
        plain: dict[str, JsonValue] = {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in inputs.items()
        }
        self.graph[node_id] = {"class_type": class_type, "inputs": plain}
        return node_id


def split_lora_tags(content: PortableContent) -> tuple[str, tuple[Lora, ...]]:
    """The prompt without its ``<lora:name:weight>`` tags, and all LoRAs of the job."""
    tagged = [
        Lora(name=name, weight=float(weight or 1))
        for name, weight in _LORA_TAG.findall(content.prompt)
        if not weight or re.fullmatch(r"-?\d+(\.\d*)?|-?\.\d+", weight)
    ]
    return _LORA_TAG.sub("", content.prompt).strip(), (*content.loras, *tagged)


def build_generation(content: PortableContent, ingredients: Ingredients) -> Recipe:
    """Text-to-image; with an init image image-to-image; with a mask inpainting.

    Each of `n_iter` batches has its own sampler, so that its seed follows the Web UI's rule.
    """
    recipe = Recipe()
    loader = recipe.add("CheckpointLoaderSimple", ckpt_name=ingredients.checkpoint)
    model, clip, vae = (loader, 0), (loader, 1), (loader, 2)
    for lora in ingredients.loras:
        node = recipe.add(
            "LoraLoader",
            model=model,
            clip=clip,
            lora_name=lora.name,
            strength_model=lora.weight,
            strength_clip=lora.weight,
        )
        model, clip = (node, 0), (node, 1)
    prompt, _ = split_lora_tags(content)
    positive = (recipe.add("CLIPTextEncode", text=prompt, clip=clip), 0)
    negative = (recipe.add("CLIPTextEncode", text=content.negative_prompt, clip=clip), 0)
    latent = _latent(recipe, content, ingredients, vae)
    sampler_name, scheduler = _sampler(recipe, content)
    for batch in range(content.n_iter):
        seed = (ingredients.seed + batch * content.batch_size) % (MAX_SEED + 1)
        samples = recipe.add(
            "KSampler",
            model=model,
            seed=seed,
            steps=content.steps,
            cfg=content.cfg_scale,
            sampler_name=sampler_name,
            scheduler=scheduler,
            positive=positive,
            negative=negative,
            latent_image=latent,
            denoise=content.strength if ingredients.init_image else 1.0,
        )
        images = recipe.add("VAEDecode", samples=(samples, 0), vae=vae)
        save = recipe.add("SaveImage", images=(images, 0), filename_prefix="image")
        recipe.seeds[save] = seed
    return recipe


def build_upscaling(content: PortableContent, ingredients: Ingredients) -> Recipe:
    """One image, its sides times `upscaling_resize`; with an upscaling model if one is named."""
    recipe = Recipe()
    image = (recipe.add("LoadImage", image=ingredients.image), 0)
    if ingredients.upscaler:
        loader = recipe.add("UpscaleModelLoader", model_name=ingredients.upscaler)
        node = recipe.add("ImageUpscaleWithModel", upscale_model=(loader, 0), image=image)
        image = (node, 0)
    width, height = (
        max(1, round(side * content.upscaling_resize)) for side in ingredients.image_size
    )
    method = _PLAIN_RESIZING.get(content.upscaler_1, "lanczos")
    scaled = _scale(recipe, image, width, height, method)
    recipe.add("SaveImage", images=scaled, filename_prefix="image")
    if content.upscaler_1 == "None":
        recipe.warnings.append("upscaler_1: none is named; the image was resized without a model")
    return recipe


def needs_upscaling_model(content: PortableContent) -> bool:
    return content.upscaler_1 not in _PLAIN_RESIZING


def _latent(recipe: Recipe, content: PortableContent, ingredients: Ingredients, vae: Link) -> Link:
    if ingredients.init_image is None:
        node = recipe.add(
            "EmptyLatentImage",
            width=content.width,
            height=content.height,
            batch_size=content.batch_size,
        )
        return node, 0
    loaded = (recipe.add("LoadImage", image=ingredients.init_image), 0)
    pixels = _scale(recipe, loaded, content.width, content.height, "lanczos")
    latent = (recipe.add("VAEEncode", pixels=pixels, vae=vae), 0)
    if ingredients.mask is not None:
        mask = (recipe.add("LoadImageMask", image=ingredients.mask, channel="red"), 0)
        latent = (recipe.add("SetLatentNoiseMask", samples=latent, mask=mask), 0)
    if content.batch_size > 1:
        node = recipe.add("RepeatLatentBatch", samples=latent, amount=content.batch_size)
        latent = (node, 0)
    return latent


def _scale(recipe: Recipe, image: Link, width: int, height: int, method: str) -> Link:
    node = recipe.add(
        "ImageScale",
        image=image,
        upscale_method=method,
        width=width,
        height=height,
        crop="disabled",
    )
    return node, 0


def _sampler(recipe: Recipe, content: PortableContent) -> tuple[str, str]:
    """A name outside the table goes to the runtime as it is: it may be one of its own."""
    choice = choose(content.sampler_name, content.scheduler)
    sampler = choice.sampler.comfyui if choice.sampler else content.sampler_name
    if sampler is None:
        recipe.warnings.append(
            f"sampler_name: ComfyUI has no {content.sampler_name!r}; {_DEFAULT_SAMPLER} was used"
        )
    scheduler: str | None = choice.unknown_schedule or _DEFAULT_SCHEDULER
    if choice.schedule:
        scheduler = choice.schedule.comfyui
    if scheduler is None:
        recipe.warnings.append(
            f"scheduler: ComfyUI has no {content.scheduler!r}; {_DEFAULT_SCHEDULER} was used"
        )
    return sampler or _DEFAULT_SAMPLER, scheduler or _DEFAULT_SCHEDULER
