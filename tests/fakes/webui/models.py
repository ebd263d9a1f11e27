"""The API's requests, with the real ones' types and defaults; unknown fields are ignored."""

from typing import Literal

from pydantic import BaseModel, Field, JsonValue


class Generation(BaseModel):
    """What txt2img and img2img have in common."""

    prompt: str = ""
    negative_prompt: str = ""
    styles: list[str] | None = None
    seed: int = -1
    subseed: int = -1
    subseed_strength: float = 0
    sampler_name: str | None = None
    sampler_index: str = "Euler"
    scheduler: str | None = None
    batch_size: int = 1
    n_iter: int = 1
    steps: int = 50
    cfg_scale: float = 7.0
    width: int = 512
    height: int = 512
    restore_faces: bool | None = None
    tiling: bool | None = None
    denoising_strength: float | None = None
    enable_hr: bool = False
    override_settings: dict[str, JsonValue] | None = None
    override_settings_restore_afterwards: bool = True
    script_name: str | None = None
    script_args: list[JsonValue] = Field(default_factory=list)
    alwayson_scripts: dict[str, JsonValue] = Field(default_factory=dict)
    send_images: bool = True
    save_images: bool = False
    force_task_id: str | None = None


class TextToImage(Generation):
    pass


class ImageToImage(Generation):
    init_images: list[str] | None = None
    mask: str | None = None
    include_init_images: bool = False
    inpainting_fill: int = 0
    resize_mode: int = 0


class Extras(BaseModel):
    resize_mode: Literal[0, 1] = 0
    show_extras_results: bool = True
    gfpgan_visibility: float = Field(default=0, ge=0, le=1)
    codeformer_visibility: float = Field(default=0, ge=0, le=1)
    codeformer_weight: float = Field(default=0, ge=0, le=1)
    upscaling_resize: float = Field(default=2, gt=0)
    upscaling_resize_w: int = Field(default=512, ge=1)
    upscaling_resize_h: int = Field(default=512, ge=1)
    upscaler_1: str = "None"
    upscaler_2: str = "None"
    extras_upscaler_2_visibility: float = Field(default=0, ge=0, le=1)


class ExtraSingleImage(Extras):
    image: str = ""


class FileData(BaseModel):
    data: str
    name: str


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
