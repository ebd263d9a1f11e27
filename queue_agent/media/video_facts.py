"""What is known of a video."""

from collections.abc import Mapping
from typing import Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError


class VideoFacts(BaseModel):
    """What a video says of itself; None where that is not known."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    width: int | None = Field(default=None, ge=1, le=2**16)
    """In pixels."""
    height: int | None = Field(default=None, ge=1, le=2**16)
    duration: float | None = Field(default=None, ge=0, le=10**7)
    """In seconds."""
    frames: int | None = Field(default=None, ge=1, le=10**9)
    fps: float | None = Field(default=None, gt=0, le=10**4)
    """Frames a second, on the average."""
    codec: str | None = Field(default=None, pattern=r"^[\w.-]{1,32}$")
    """FFmpeg's name of it: `h264`, `vp9`, `av1`."""


NO_FACTS: Final = VideoFacts()


def sensible(told: Mapping[str, object]) -> VideoFacts:
    """Those facts that can be; what cannot is as if it were not told."""
    try:
        return VideoFacts.model_validate(told)
    except ValidationError as error:
        wrong = {fault["loc"][0] for fault in error.errors() if fault["loc"]}
        return VideoFacts.model_validate(
            {name: value for name, value in told.items() if name not in wrong}
        )
