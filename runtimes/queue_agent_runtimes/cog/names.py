"""The names by which packed models call what a portable job says; the first that a model has."""

from collections.abc import Mapping
from typing import Final

Names = tuple[str, ...]

NAMES: Final[Mapping[str, Names]] = {
    "cfg_scale": ("guidance_scale", "cfg_scale", "guidance", "cfg"),
    "denoising_strength": ("prompt_strength", "strength", "denoising_strength", "denoise"),
    "first_frame": ("first_frame_image", "start_image", "first_frame", "image", "input_image"),
    "fps": ("fps", "frames_per_second", "frame_rate"),
    "frames": ("num_frames", "frames", "video_length"),
    "height": ("height",),
    "images": ("num_outputs", "num_images", "batch_size", "n"),
    "init_images": (
        "image",
        "init_image",
        "input_image",
        "img",
        "images",
        "input_images",
        "image_input",
    ),
    "last_frame": ("last_frame_image", "end_image", "last_frame", "last_image"),
    "mask": ("mask", "mask_image"),
    "model": ("model", "checkpoint", "model_name"),
    "negative_prompt": ("negative_prompt", "n_prompt"),
    "prompt": ("prompt", "text_prompt"),
    "sampler_name": ("scheduler", "sampler", "sampler_name"),
    "seconds": ("duration", "seconds"),
    "seed": ("seed",),
    "size": ("size", "image_dimensions", "image_size", "resolution"),
    "steps": ("num_inference_steps", "steps", "num_steps", "inference_steps", "sample_steps"),
    "width": ("width",),
}
ASPECT_RATIO: Final = ("aspect_ratio",)

USUAL: Final = frozenset(name for names in NAMES.values() for name in names)
"""What a model that does not describe its inputs may be sent beside the portable form's fields."""
