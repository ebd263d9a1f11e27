"""Which of a model's tensors is what: by the operator's word, else by usual names."""

from collections.abc import Iterable, Mapping
from typing import Final

USUAL_INPUTS: Final[Mapping[str, tuple[str, ...]]] = {
    "prompt": ("prompt", "prompts", "positive_prompt", "text", "text_input"),
    "negative_prompt": ("negative_prompt", "negative_prompts", "neg_prompt", "negative"),
    "steps": ("steps", "num_inference_steps", "inference_steps", "num_steps", "denoising_steps"),
    "cfg_scale": ("guidance_scale", "cfg_scale", "cfg", "guidance"),
    "seed": ("seed", "random_seed", "noise_seed"),
    "width": ("width", "image_width", "output_width"),
    "height": ("height", "image_height", "output_height"),
    "sampler_name": ("sampler", "sampler_name"),
    "scheduler": ("scheduler", "scheduler_type"),
    "denoising_strength": ("strength", "denoising_strength"),
    "init_images": ("image", "init_image", "input_image", "start_image", "source_image"),
    "mask": ("mask", "mask_image"),
    "batch_size": ("num_images", "num_images_per_prompt", "images_per_prompt", "batch_size"),
}
"""Names of inputs, in any case, by the fields of the portable form; the first that is there is
taken."""
USUAL_OUTPUTS: Final = (
    "image",
    "images",
    "generated_image",
    "generated_images",
    "output_image",
    "output_images",
    "output",
)
IMAGES: Final = ("init_images", "mask")
"""The fields that hold images."""
TEXTS: Final = ("prompt", "negative_prompt")
"""The fields that hold words, which may begin with a URL."""


def role_of(name: str, named: Mapping[str, str]) -> str | None:
    """The field that an input of that name stands for; `named` are the operator's, by field."""
    for field, own in named.items():
        if own == name:
            return field
    for field, usual in USUAL_INPUTS.items():
        if field not in named and name.casefold() in usual:
            return field
    return None


def inputs_by_role(names: Iterable[str], named: Mapping[str, str]) -> dict[str, str]:
    """The names of inputs by the fields that they stand for."""
    there = {name.casefold(): name for name in names}
    found = {field: name for field, name in named.items() if name in there.values()}
    for field, usual in USUAL_INPUTS.items():
        name = next((there[one] for one in usual if one in there), None)
        if field not in named and name is not None and name not in found.values():
            found[field] = name
    return found


def image_output(names: Iterable[str], named: str | None) -> str | None:
    """The name of the output with the images; None: it cannot be told."""
    there = list(names)
    if named is not None:
        return named if named in there else None
    for usual in USUAL_OUTPUTS:
        for name in there:
            if name.casefold() == usual:
                return name
    return there[0] if len(there) == 1 else None
