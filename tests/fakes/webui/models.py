"""The API's requests, with the real ones' types and defaults; unknown fields are ignored.

1.10.1 reads them with pydantic 1, which takes fractions for whole numbers and numbers for texts.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field, JsonValue


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) else value


def _text(value: Any) -> Any:
    numeric = isinstance(value, int | float) and not isinstance(value, bool)
    return str(value) if numeric else value


Int = Annotated[int, BeforeValidator(_whole)]
Text = Annotated[str, BeforeValidator(_text)]


class Generation(BaseModel):
    """What txt2img and img2img have in common."""

    prompt: Text | None = ""
    negative_prompt: Text | None = ""
    styles: list[Text] | None = None
    seed: Int | None = -1
    subseed: Int | None = -1
    subseed_strength: float | None = 0
    seed_resize_from_h: Int | None = -1
    seed_resize_from_w: Int | None = -1
    sampler_name: Text | None = None
    scheduler: Text | None = None
    batch_size: Int | None = 1
    n_iter: Int | None = 1
    steps: Int | None = 50
    cfg_scale: float | None = 7.0
    width: Int | None = 512
    height: Int | None = 512
    restore_faces: bool | None = None
    tiling: bool | None = None
    do_not_save_samples: bool | None = False
    do_not_save_grid: bool | None = False
    eta: float | None = None
    denoising_strength: float | None = None
    s_min_uncond: float | None = None
    s_churn: float | None = None
    s_tmax: float | None = None
    s_tmin: float | None = None
    s_noise: float | None = None
    override_settings: dict[str, JsonValue] | None = None
    override_settings_restore_afterwards: bool | None = True
    refiner_checkpoint: Text | None = None
    refiner_switch_at: float | None = None
    disable_extra_networks: bool | None = False
    firstpass_image: Text | None = None
    comments: dict[str, JsonValue] | None = None
    force_task_id: Text | None = None
    sampler_index: Text = "Euler"
    script_name: Text | None = None
    script_args: list[JsonValue] = Field(default_factory=list)
    send_images: bool = True
    save_images: bool = False
    alwayson_scripts: dict[str, JsonValue] = Field(default_factory=dict)
    infotext: Text | None = None


class TextToImage(Generation):
    enable_hr: bool | None = False
    firstphase_width: Int | None = 0
    firstphase_height: Int | None = 0
    hr_scale: float | None = 2.0
    hr_upscaler: Text | None = None
    hr_second_pass_steps: Int | None = 0
    hr_resize_x: Int | None = 0
    hr_resize_y: Int | None = 0
    hr_checkpoint_name: Text | None = None
    hr_sampler_name: Text | None = None
    hr_scheduler: Text | None = None
    hr_prompt: Text | None = ""
    hr_negative_prompt: Text | None = ""


class ForgeTextToImage(TextToImage):
    distilled_cfg_scale: float | None = 3.5
    hr_additional_modules: list[JsonValue] | None = None
    hr_cfg: float | None = 1.0
    hr_distilled_cfg: float | None = 3.5


class ImageToImage(Generation):
    denoising_strength: float | None = 0.75
    init_images: list[JsonValue] | None = None
    resize_mode: Int | None = 0
    image_cfg_scale: float | None = None
    mask: Text | None = None
    mask_blur_x: Int | None = 4
    mask_blur_y: Int | None = 4
    mask_blur: Int | None = None
    mask_round: bool | None = True
    inpainting_fill: Int | None = 0
    inpaint_full_res: bool | None = True
    inpaint_full_res_padding: Int | None = 0
    inpainting_mask_invert: Int | None = 0
    initial_noise_multiplier: float | None = None
    latent_mask: Text | None = None
    include_init_images: bool = False


class Extras(BaseModel):
    resize_mode: Literal[0, 1] = 0
    show_extras_results: bool = True
    gfpgan_visibility: float = Field(default=0, ge=0, le=1)
    codeformer_visibility: float = Field(default=0, ge=0, le=1)
    codeformer_weight: float = Field(default=0, ge=0, le=1)
    upscaling_resize: float = Field(default=2, gt=0)
    upscaling_resize_w: Int = Field(default=512, ge=1)
    upscaling_resize_h: Int = Field(default=512, ge=1)
    upscaling_crop: bool = True
    upscaler_1: Text = "None"
    upscaler_2: Text = "None"
    extras_upscaler_2_visibility: float = Field(default=0, ge=0, le=1)
    upscale_first: bool = False


class ExtraSingleImage(Extras):
    image: Text = ""


class FileData(BaseModel):
    data: Text
    name: Text


class ExtraBatchImages(Extras):
    imageList: list[FileData]  # noqa: N815  the API's own name


class TaskProgress(BaseModel):
    id_task: str | None = None
    id_live_preview: int = -1
    live_preview: bool = True


class Fault(BaseModel):
    """What shall go wrong, for so many generations (or interrupts)."""

    kind: Literal["status", "out_of_memory", "hang", "cuda", "late_interrupt"]
    """`hang`: it goes on for ever, whatever it is told; `cuda`: its context breaks, and all after
    it fail; `late_interrupt`: the running generation ends before the interrupt reaches it."""
    times: int = Field(default=1, ge=1)
    status: int = 500
    body: JsonValue = None
