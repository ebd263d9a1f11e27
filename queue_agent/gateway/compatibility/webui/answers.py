"""`parameters` and `info` of an answer: the Web UI's own, or the like of another runtime's work."""

from collections.abc import Mapping
from typing import Final

from pydantic import JsonValue

from queue_agent.gateway.records import Record
from queue_agent.wire.result import Result

JsonObject = dict[str, JsonValue]

_PARAMETERS: Final[Mapping[str, JsonValue]] = {
    "prompt": "",
    "negative_prompt": "",
    "styles": None,
    "seed": -1,
    "subseed": -1,
    "subseed_strength": 0,
    "seed_resize_from_h": -1,
    "seed_resize_from_w": -1,
    "sampler_name": None,
    "scheduler": None,
    "batch_size": 1,
    "n_iter": 1,
    "steps": 50,
    "cfg_scale": 7.0,
    "width": 512,
    "height": 512,
    "restore_faces": None,
    "tiling": None,
    "do_not_save_samples": False,
    "do_not_save_grid": False,
    "eta": None,
    "denoising_strength": None,
    "s_min_uncond": None,
    "s_churn": None,
    "s_tmax": None,
    "s_tmin": None,
    "s_noise": None,
    "override_settings": None,
    "override_settings_restore_afterwards": True,
    "refiner_checkpoint": None,
    "refiner_switch_at": None,
    "disable_extra_networks": False,
    "firstpass_image": None,
    "comments": None,
    "force_task_id": None,
    "sampler_index": "Euler",
    "script_name": None,
    "script_args": [],
    "send_images": True,
    "save_images": False,
    "alwayson_scripts": {},
    "infotext": None,
}
_OF_A_TEXT: Final[Mapping[str, JsonValue]] = {
    "enable_hr": False,
    "firstphase_width": 0,
    "firstphase_height": 0,
    "hr_scale": 2.0,
    "hr_upscaler": None,
    "hr_second_pass_steps": 0,
    "hr_resize_x": 0,
    "hr_resize_y": 0,
    "hr_checkpoint_name": None,
    "hr_sampler_name": None,
    "hr_scheduler": None,
    "hr_prompt": "",
    "hr_negative_prompt": "",
}
_OF_IMAGES: Final[Mapping[str, JsonValue]] = {
    "init_images": None,
    "resize_mode": 0,
    "image_cfg_scale": None,
    "mask": None,
    "mask_blur_x": 4,
    "mask_blur_y": 4,
    "mask_blur": None,
    "mask_round": True,
    "inpainting_fill": 0,
    "inpaint_full_res": True,
    "inpaint_full_res_padding": 0,
    "inpainting_mask_invert": 0,
    "initial_noise_multiplier": None,
    "latent_mask": None,
    "include_init_images": False,
}
_NOT_RETURNED: Final = frozenset({"init_images", "mask"})


def parameters_of(result: Result, record: Record) -> JsonValue:
    """The request, with the Web UI's defaults."""
    said = result.response.get("parameters")
    if isinstance(said, dict) and said:
        return said
    defaults = {**_PARAMETERS, "denoising_strength": None, **_OF_A_TEXT}
    if record.task_type == "image-to-image":
        defaults = {**_PARAMETERS, "denoising_strength": 0.75, **_OF_IMAGES}
    asked = {name: value for name, value in record.content.items() if name not in _NOT_RETURNED}
    return {**defaults, **asked}


def info_of(result: Result, record: Record) -> JsonObject:
    """What was made, and how; warnings stand there too."""
    said = result.response.get("info")
    info = said if isinstance(said, dict) and said else _like_info(result, record)
    return {**info, "warnings": [*result.warnings]} if result.warnings else info


def _like_info(result: Result, record: Record) -> JsonObject:
    content = {**_PARAMETERS, **record.content}
    outputs = [image for image in result.images if image.role == "output"]
    seeds: list[JsonValue] = [image.seed if image.seed is not None else -1 for image in outputs]
    prompt, negative = content["prompt"], content["negative_prompt"]
    return {
        "prompt": prompt,
        "all_prompts": [prompt] * len(outputs),
        "negative_prompt": negative,
        "all_negative_prompts": [negative] * len(outputs),
        "seed": seeds[0] if seeds else -1,
        "all_seeds": seeds,
        "subseed": -1,
        "all_subseeds": [-1] * len(outputs),
        "subseed_strength": content["subseed_strength"],
        "width": outputs[0].width if outputs else None,
        "height": outputs[0].height if outputs else None,
        "sampler_name": content["sampler_name"] or content["sampler_index"],
        "cfg_scale": content["cfg_scale"],
        "steps": content["steps"],
        "batch_size": content["batch_size"],
        "restore_faces": False,
        "face_restoration_model": None,
        "sd_model_name": content.get("model", ""),
        "sd_model_hash": None,
        "sd_vae_name": None,
        "sd_vae_hash": None,
        "seed_resize_from_w": content["seed_resize_from_w"],
        "seed_resize_from_h": content["seed_resize_from_h"],
        "denoising_strength": content["denoising_strength"],
        "extra_generation_params": {},
        "index_of_first_image": sum(image.role == "grid" for image in result.images),
        "infotexts": [image.info or "" for image in outputs],
        "styles": content["styles"] or [],
        "job_timestamp": f"{record.submitted_at:%Y%m%d%H%M%S}",
        "clip_skip": 1,
        "is_using_inpainting_conditioning": False,
        "version": "",
    }
