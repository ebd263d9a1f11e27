"""What is expected of a job when it is submitted: when it starts and ends, and what it costs.

Times are in seconds, and costs in the currency of the operator's price.
"""

from typing import Final, Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, JsonValue, ValidationError

__all__ = ["Basis", "JobEstimate", "Spread"]

Basis = Literal["model", "runtime", "setting"]

USUAL_JOB_SECONDS: Final = 30.0
"""What a job is taken to need of a GPU where nothing is known."""
USUAL_POD_START: Final = 120.0
"""Seconds from the wish for a pod to its first job, where nothing else is said."""
_DIGITS: Final = 5


class _Written(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Spread(_Written):
    """A value, and between what it lies in eight cases of ten."""

    expected: float = Field(ge=0)
    low: float = Field(ge=0)
    high: float = Field(ge=0)

    @classmethod
    def of(cls, expected: float, low: float, high: float) -> Self:
        """In order, with as many digits as tell something."""
        low, high = min(low, expected), max(high, expected)
        return cls(expected=_short(expected), low=_short(low), high=_short(high))

    def times(self, factor: float) -> "Spread":
        """All of it, by a factor."""
        return Spread.of(self.expected * factor, self.low * factor, self.high * factor)


class JobEstimate(_Written):
    """Of one job, by what such jobs took and by what waits before it."""

    at: AwareDatetime = Field(description="When it was made, by the cloud's clock.")
    start: Spread | None = Field(
        default=None,
        description="Seconds from then until the runtime begins; null where nobody can tell how "
        "much waits before it.",
    )
    end: Spread | None = Field(
        default=None, description="Seconds from then until the job's end; null like `start`."
    )
    run: Spread = Field(description="Seconds on the runtime.")
    gpu_seconds: Spread = Field(
        description="Of the GPU's time: less than `run` where several jobs run at once."
    )
    cost: Spread | None = Field(
        default=None, description="By the operator's price of an hour; null without one."
    )
    basis: Basis = Field(
        description="By what: runs of the same `model`, of others on the same `runtime`, or a "
        "`setting`, since nothing is known of either."
    )

    @classmethod
    def told(cls, value: JsonValue) -> Self | None:
        """One that came with a job, of any version; None where it is none."""
        if not isinstance(value, dict):
            return None
        try:
            return cls.model_validate(value, extra="ignore")
        except ValidationError:
            return None


def cost_of(gpu_seconds: float | None, price: float | None) -> float | None:
    """What so much of a GPU costs at a price for an hour."""
    if gpu_seconds is None or price is None:
        return None
    return _short(gpu_seconds * price / 3600)


def _short(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")
