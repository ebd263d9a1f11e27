"""How settings are defined, read from the environment, and told from each other."""

import inspect
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, SecretStr, ValidationError

from queue_agent.wire.errors import SettingsError

PREFIX: Final = "QUEUE_AGENT_"
MASK: Final = "********"


def setting(name: str, *also: str, description: str, default: Any = ..., **limits: Any) -> Any:
    """A field that is read from ``QUEUE_AGENT_{name}``, else from the first other name set."""
    return Field(
        default=default,
        validation_alias=AliasChoices(PREFIX + name, *also),
        description=description,
        **limits,
    )


@dataclass(frozen=True)
class Definition:
    """A setting of several programs or commands, which may need it or not."""

    name: str
    also: tuple[str, ...] = ()
    description: str = ""

    @property
    def names(self) -> list[str]:
        """The environment variables it is read from; the first that is set wins."""
        return [PREFIX + self.name, *self.also]

    def field(self, default: Any = ..., **limits: Any) -> Any:
        """A field of one program's settings; without a default it must be set."""
        return setting(
            self.name, *self.also, description=self.description, default=default, **limits
        )


class Reader(BaseModel):
    """Settings of one program. Durations are in seconds, sizes in bytes."""

    model_config = ConfigDict(
        frozen=True, extra="ignore", hide_input_in_errors=True, allow_inf_nan=False
    )

    @classmethod
    def load(
        cls,
        environment: Mapping[str, str] = os.environ,
        given: Mapping[str, str | None] | None = None,
    ) -> Self:
        """Read the environment, where empty variables count as unset.

        What is `given` by environment names wins, such as options of a command; None is not.

        Raises:
            SettingsError: with one line per setting that is missing or wrong.
        """
        chosen = {name: value for name, value in (given or {}).items() if value is not None}
        named = {name for field in cls.fields() for name in names_of(cls, field)}
        read = {name: value for name, value in {**environment, **chosen}.items() if value}
        try:
            return cls.model_validate({name: read[name] for name in named & read.keys()})
        except ValidationError as error:
            raise SettingsError("\n".join(_lines(cls, error))) from error

    @classmethod
    def fields(cls) -> list[str]:
        """The settings: its own first, then those that it shares, each as they are defined."""
        own = [name for part in cls.__mro__ for name in inspect.get_annotations(part)]
        return [name for name in dict.fromkeys(own) if name in cls.model_fields]

    def shown(self, field: str) -> str:
        """The value in words; secrets are masked."""
        value = getattr(self, field)
        if value is None:
            return ""
        if isinstance(value, SecretStr):
            return MASK
        return ", ".join(value) if isinstance(value, tuple) else str(value)


def names_of(settings: type[Reader], field: str) -> tuple[str, ...]:
    """The environment variables that a setting is read from; the first that is set wins."""
    alias = settings.model_fields[field].validation_alias
    assert isinstance(alias, AliasChoices)  # noqa: S101  `setting` makes no other
    return tuple(str(name) for name in alias.choices)


def origin(
    settings: type[Reader], field: str, environment: Mapping[str, str] = os.environ
) -> str | None:
    """The variable that gave a setting its value; None: it has its default."""
    return next((name for name in names_of(settings, field) if environment.get(name)), None)


def _lines(settings: type[Reader], error: ValidationError) -> Iterator[str]:
    for fault in error.errors(include_url=False, include_input=False, include_context=False):
        problem = fault["msg"].removeprefix("Value error, ")
        if not fault["loc"]:  # of the settings together
            yield problem
            continue
        field = _field_of(settings, str(fault["loc"][0]))
        names = " or ".join(names_of(settings, field))
        description = settings.model_fields[field].description
        if fault["type"] == "missing":
            yield f"{names} is not set: {description}"
        else:
            yield f"{names}: {problem}. {description}"


def _field_of(settings: type[Reader], location: str) -> str:
    return next(
        field
        for field in settings.model_fields
        if location == field or location in names_of(settings, field)
    )
