"""The portable form of a job's content, which every adapter understands.

Field names, meanings and defaults are those of the AUTOMATIC1111 Web UI's API
(https://github.com/AUTOMATIC1111/stable-diffusion-webui/wiki/API), plus `model` and `loras`.
A field that is `null` counts as absent.
"""

from collections.abc import Mapping
from typing import Annotated, Final

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
    model_validator,
)

from queue_agent.wire.errors import Rejected
from queue_agent.wire.job import describe_errors

__all__ = [
    "DEFAULT_DENOISING_STRENGTH",
    "MAX_SEED",
    "EncodedImage",
    "Lora",
    "OverrideSettings",
    "PortableContent",
    "Side",
    "parse_portable",
]

MAX_SEED: Final = 2**64 - 1
DEFAULT_DENOISING_STRENGTH: Final = 0.75

_HARMLESS_DEFAULTS: Final[Mapping[str, JsonValue]] = {
    "codeformer_weight": 0.5,
    "do_not_save_grid": True,
    "do_not_save_samples": True,
    "eta": 1.0,  # of ancestral samplers, which alone have one elsewhere
    "image_cfg_scale": 1.5,
    "initial_noise_multiplier": 1.0,
    "inpaint_full_res": True,
    "mask_blur": 4,
    "mask_blur_x": 4,
    "mask_blur_y": 4,
    "mask_round": True,
    "quality": "exact",  # what all do that know no other
    "s_noise": 1.0,
    "seed_resize_from_h": -1,
    "seed_resize_from_w": -1,
    "send_images": True,
    "subseed": -1,
    "upscaling_crop": True,
    "upscaler_2": "None",
}
"""What is assumed anyway, of fields that only the Web UI or the bundled runtime knows."""
_OF_HIRES: Final = ("hr_", "firstphase_")
"""How fields begin that a job does not mean if it says that it wants no second pass; clients of
the Web UI send them all the same."""
_MEANT_FOR_THE_WEB_UI: Final = frozenset({"override_settings_restore_afterwards", "force_task_id"})
"""Housekeeping of the Web UI's process, without influence on the images."""

Side = Annotated[int, Field(ge=16, le=16384, multiple_of=8)]
EncodedImage = Annotated[str, Field(min_length=1)]
"""An image as a URL (a reference), a data URL or base64."""


class Lora(BaseModel):
    """A LoRA to apply on top of the checkpoint."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1, description="File name, with or without its extension.")
    weight: float = Field(default=1.0, ge=-10, le=10)


class OverrideSettings(BaseModel):
    """The Web UI's options for one request; only the checkpoint is portable."""

    model_config = ConfigDict(extra="allow", frozen=True)

    sd_model_checkpoint: str | None = None


class PortableContent(BaseModel):
    """One request for images that any runtime can be asked."""

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False)

    prompt: str = ""
    negative_prompt: str = ""
    steps: int = Field(default=50, ge=1, le=1000)
    cfg_scale: float = Field(default=7.0, ge=0, le=100)
    sampler_name: str | None = Field(
        default=None, description="In the words of any runtime; see `queue_agent.wire.samplers`."
    )
    scheduler: str | None = Field(
        default=None, description="Noise schedule, in any runtime's words"
    )
    seed: int = Field(default=-1, ge=-1, le=MAX_SEED, description="-1 for a random one.")
    width: Side = Field(default=512, description="Pixels.")
    height: Side = Field(default=512, description="Pixels.")
    batch_size: int = Field(default=1, ge=1, le=64, description="Images made at the same time.")
    n_iter: int = Field(default=1, ge=1, le=100, description="Batches made one after another.")
    denoising_strength: float | None = Field(default=None, ge=0, le=1)
    init_images: list[EncodedImage] = Field(default_factory=list)
    mask: EncodedImage | None = Field(default=None, description="White is painted anew.")
    image: EncodedImage | None = Field(default=None, description="The image to upscale.")
    upscaling_resize: float = Field(default=2.0, gt=0, le=16, description="Factor of each side.")
    upscaler_1: str = Field(default="None", description="Name of the upscaler.")
    model: str | None = Field(default=None, min_length=1, description="Name of the checkpoint.")
    override_settings: OverrideSettings = OverrideSettings()
    loras: list[Lora] = Field(default_factory=list, max_length=32)

    @model_validator(mode="before")
    @classmethod
    def _null_counts_as_absent(cls, value: object) -> object:
        if isinstance(value, Mapping):
            return {name: field for name, field in value.items() if field is not None}
        return value

    @model_validator(mode="before")
    @classmethod
    def _former_name_of_the_sampler(cls, value: object) -> object:
        if isinstance(value, Mapping) and "sampler_index" in value:
            value = dict(value)
            former = value.pop("sampler_index")
            if not value.get("sampler_name"):
                value["sampler_name"] = former
        return value

    @property
    def checkpoint(self) -> str | None:
        """The checkpoint asked for: `model`, else `override_settings.sd_model_checkpoint`."""
        return self.model or self.override_settings.sd_model_checkpoint or None

    @property
    def strength(self) -> float:
        """`denoising_strength`, or what the Web UI takes when it is absent."""
        if self.denoising_strength is None:
            return DEFAULT_DENOISING_STRENGTH
        return self.denoising_strength

    @property
    def image_count(self) -> int:
        return self.batch_size * self.n_iter

    @property
    def wants_no_hires(self) -> bool:
        """Whether the job says so itself."""
        return (self.model_extra or {}).get("enable_hr") is False

    @property
    def unknown_fields(self) -> list[str]:
        """Fields that ask for something this form has no word for, sorted.

        Empty values and the Web UI's own defaults ask for nothing and are left out, and so does
        what belongs to a second pass that the job says it does not want.
        """
        extras = self.model_extra or {}
        unknown = [
            name
            for name, value in extras.items()
            if asks_for_something(name, value)
            and not (self.wants_no_hires and name.startswith(_OF_HIRES))
        ]
        settings = self.override_settings.model_extra or {}
        return sorted(unknown + [f"override_settings.{name}" for name in settings])


def parse_portable(content: Mapping[str, JsonValue]) -> PortableContent:
    """Read a job's content as the portable form.

    Raises:
        Rejected: a field has a wrong type or is out of range (type ``invalid_content``); the
            message names each.
    """
    try:
        return PortableContent.model_validate(content)
    except ValidationError as error:
        raise Rejected(describe_errors(error), type="invalid_content") from error


def model_of(content: Mapping[str, JsonValue]) -> str | None:
    """The model that a content names in this form, read tolerantly; None where it names none."""
    named = content.get("model")
    if named is None:
        options = content.get("override_settings")
        named = options.get("sd_model_checkpoint") if isinstance(options, Mapping) else None
    return named if isinstance(named, str) else None


def asks_for_something(name: str, value: JsonValue) -> bool:
    """Whether a field that a runtime does not know would have changed the images."""
    if name in _MEANT_FOR_THE_WEB_UI or value in (None, "", "None", [], {}, 0, False):
        return False
    return name not in _HARMLESS_DEFAULTS or _HARMLESS_DEFAULTS[name] != value
