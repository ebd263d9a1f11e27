"""What operators have paused of a runtime: the marker in the bucket that its agents look at.

One object for each runtime (`layout.pauses_key`):

    {"pauses": [{"reason": "new nodes", "until": "2030-01-01T06:00:00Z"},
                {"tenant": "shop-7"},
                {"model": "sdxl.safetensors", "since": "2030-01-01T04:00:00Z"},
                {"window": {"start": "02:00", "seconds": 3600, "days": ["sun"],
                            "timezone": "Europe/Berlin"}}]}

A pause of a tenant or a model concerns their jobs, one without either the whole runtime. With a
window it comes again and again, between `since` and `until` where they are given.
"""

from collections.abc import Callable, Collection, Iterator
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Final, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from queue_agent.wire.errors import Malformed

__all__ = ["LARGEST", "Pause", "Pauses", "Weekday", "Window"]

LARGEST: Final = 2**18
"""Bytes of a marker."""
_MOST: Final = 1000
"""Pauses of one runtime."""
_DAY: Final = 86_400

Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
_WEEK: Final[tuple[Weekday, ...]] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def _known_zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ValueError, OSError, KeyError) as error:
        raise ValueError("is no time zone, such as Europe/Berlin or UTC") from error
    return value


def _in_a_line(value: str) -> str:
    if not value.isprintable():
        raise ValueError("must not contain line breaks or control characters")
    return value


_Name = Annotated[str, Field(min_length=1, max_length=512), AfterValidator(_in_a_line)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Window(_Part):
    """A time that comes again: on some days of the week, from a time of the day on."""

    start: time = Field(description="Of the day, in the time zone, such as 02:00.")
    seconds: int = Field(ge=60, le=6 * _DAY, description="How long it is, by a clock that runs on.")
    days: tuple[Weekday, ...] = Field(default=(), description="On which it begins; none: on all.")
    timezone: Annotated[str, AfterValidator(_known_zone)] = Field(
        description="By its name in the tz database."
    )

    def ends(self, moment: datetime) -> datetime | None:
        """When the one is over in which the moment lies; None: it lies in none."""
        found = [end for begin, end in self._around(moment) if begin <= moment < end]
        return max(found, default=None)

    def _around(self, moment: datetime) -> Iterator[tuple[datetime, datetime]]:
        """Those that may be there then."""
        zone, length = ZoneInfo(self.timezone), timedelta(seconds=self.seconds)
        today = moment.astimezone(zone).date()
        for back in range(self.seconds // _DAY + 2):
            day = today - timedelta(days=back)
            if not self.days or _weekday(day) in self.days:
                begin = datetime.combine(day, self.start.replace(tzinfo=None), zone).astimezone(UTC)
                yield begin, begin + length


class Pause(_Part):
    """One thing that was paused."""

    tenant: _Name | None = Field(default=None, description="Whose jobs; else everybody's.")
    model: _Name | None = Field(default=None, description="Jobs for which model; else for any.")
    since: AwareDatetime | None = Field(default=None, description="Not before.")
    until: AwareDatetime | None = Field(default=None, description="And no longer.")
    window: Window | None = Field(default=None, description="Within that, only then.")
    reason: Annotated[str, Field(max_length=500), AfterValidator(_in_a_line)] = ""

    @model_validator(mode="after")
    def _has_a_length(self) -> Self:
        if self.since is not None and self.until is not None and self.since >= self.until:
            raise ValueError("ends before it begins")
        return self

    @property
    def is_whole(self) -> bool:
        """Whether it is of the whole runtime."""
        return self.tenant is None and self.model is None

    def ends(self, now: float) -> float | None:
        """When it is over, seconds since the epoch, infinity where nobody knows; None: not on."""
        moment = datetime.fromtimestamp(now, UTC)
        if self.since is not None and moment < self.since:
            return None
        if self.until is not None and moment >= self.until:
            return None
        ends = [self.until] if self.until is not None else []
        if self.window is not None:
            if (closing := self.window.ends(moment)) is None:
                return None
            ends.append(closing)
        return min((end.timestamp() for end in ends), default=float("inf"))

    def is_over(self, now: float) -> bool:
        """Whether it never comes again."""
        return self.until is not None and self.until.timestamp() <= now

    def concerns(self, tenants: Collection[str], needs: Callable[[str], bool]) -> bool:
        """Whether a job is meant, of such tenants and with a need of models, by their names."""
        return self.tenant in (None, *tenants) and (self.model is None or needs(self.model))

    def __str__(self) -> str:
        """In a line, for people."""
        return " ".join(filter(None, [*self._whom(), *self._when(), self._why()]))

    def _whom(self) -> Iterator[str]:
        if self.is_whole:
            yield "the runtime"
        if self.tenant is not None:
            yield f"tenant {self.tenant}"
        if self.model is not None:
            yield f"model {self.model}"

    def _when(self) -> Iterator[str]:
        if self.window is not None:
            days = ", ".join(self.window.days) or "every day"
            yield f"{days} from {self.window.start:%H:%M} {self.window.timezone}"
            yield f"for {self.window.seconds / 60:g} min"
        if self.since is not None:
            yield f"from {self.since.isoformat(timespec='seconds')}"
        if self.until is not None:
            yield f"until {self.until.isoformat(timespec='seconds')}"

    def _why(self) -> str:
        return f"({self.reason})" if self.reason else ""


class Pauses(_Part):
    """All that is paused of a runtime, now or at some time."""

    pauses: tuple[Pause, ...] = Field(default=(), max_length=_MOST)

    @classmethod
    def read(cls, data: bytes) -> "Pauses":
        """What a marker says.

        Raises:
            Malformed: it cannot be understood.
        """
        try:
            return cls.model_validate_json(data)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            place = ".".join(map(str, first["loc"])) or "the marker"
            raise Malformed(f"The pauses cannot be understood: {place}: {first['msg']}") from error

    def to_json(self) -> bytes:
        """As it lies in the bucket."""
        return self.model_dump_json(exclude_defaults=True).encode()

    def whole(self, now: float) -> Pause | None:
        """Why nothing is taken at that moment; None: the runtime is not paused."""
        return self._longest([pause for pause in self.pauses if pause.is_whole], now)

    def concerning(
        self, now: float, tenants: Collection[str], needs: Callable[[str], bool]
    ) -> Pause | None:
        """Why such a job is not worked on at that moment; None: it is."""
        return self._longest([it for it in self.pauses if it.concerns(tenants, needs)], now)

    @staticmethod
    def _longest(among: Collection[Pause], now: float) -> Pause | None:
        on = [(ends, pause) for pause in among if (ends := pause.ends(now)) is not None]
        return max(on, key=lambda one: one[0])[1] if on else None

    def on(self, now: float) -> tuple[Pause, ...]:
        """What is paused at that moment."""
        return tuple(pause for pause in self.pauses if pause.ends(now) is not None)

    def with_(self, pause: Pause, now: float) -> "Pauses":
        """The same and one more, in place of one for the same; without what is over.

        Of windows there may be several for the same, which each come at their times.

        Raises:
            ValueError: there are too many.
        """
        kept = tuple(
            other
            for other in self.pauses
            if not other.is_over(now) and (other == pause or not _replaces(pause, other))
        )
        return Pauses(pauses=kept if pause in kept else (*kept, pause))

    def without(self, tenant: str | None, model: str | None, now: float) -> "Pauses":
        """The same without those for that, and without what is over."""
        return Pauses(
            pauses=tuple(
                pause
                for pause in self.pauses
                if not pause.is_over(now) and (pause.tenant, pause.model) != (tenant, model)
            )
        )


def _replaces(pause: Pause, other: Pause) -> bool:
    same = (pause.tenant, pause.model) == (other.tenant, other.model)
    return same and pause.window is None and other.window is None


def _weekday(day: date) -> Weekday:
    return _WEEK[day.weekday()]
