"""The parameters of a task type: which fields of a job's content are sent, and what they may be."""

import math
import re
import secrets
from typing import Annotated, ClassVar, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, model_validator

from queue_agent.inputs.addresses import Allowlist
from queue_agent.wire.reference import MediaKind

__all__ = [
    "DeclaredPart",
    "FileParameter",
    "Parameter",
    "ParameterName",
    "SeedParameter",
    "StringParameter",
    "Unfit",
]

MAX_SEED: Final = 2**32 - 1
_LONGEST_TEXT: Final = 100_000

ParameterName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=64)]


class Unfit(ValueError):
    """A value is none that may be sent; the message continues "steps: "."""


class DeclaredPart(BaseModel):
    """A part of a declaration; fields that it does not know are faults."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


class _Parameter(DeclaredPart):
    names: tuple[str, ...] = ()
    """Other names of the field in a job's content; its own wins."""
    description: str = ""
    """For the publisher."""
    required: bool = False
    """Whether a job without it is refused."""

    def read(self, value: JsonValue) -> JsonValue:
        """The value as it is sent.

        Raises:
            Unfit: it is none that may be sent.
        """
        raise NotImplementedError


class _WithDefault(_Parameter):
    default: JsonValue = None
    """What is sent where the job says nothing; without it, the field is left out."""

    @model_validator(mode="after")
    def _checked_default(self) -> "_WithDefault":
        if self.default is not None:
            try:
                self.read(self.default)
            except ValueError as error:
                raise Unfit(f"default: {error}") from error
        return self


def _is_pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise Unfit(f"is no regular expression: {error}") from error
    return text


class StringParameter(_WithDefault):
    """A text."""

    type: Literal["string"]
    words: bool = False
    """Whether it holds words, as prompts do, and so may name places (``https://…``); a text that
    the server might fetch is refused elsewhere."""
    min_length: int = Field(default=0, ge=0)
    max_length: int = Field(default=_LONGEST_TEXT, ge=1)
    pattern: Annotated[str, AfterValidator(_is_pattern)] | None = None
    """Regular expression that matches the whole text."""
    enum: tuple[str, ...] = ()
    """The texts that it may be; empty: any."""

    def read(self, value: JsonValue) -> JsonValue:
        if not isinstance(value, str):
            raise Unfit("must be a text")
        if not self.min_length <= len(value) <= self.max_length:
            raise Unfit(f"must have {self.min_length} to {self.max_length} characters")
        if self.enum and value not in self.enum:
            raise Unfit(f"must be one of {', '.join(self.enum)}")
        if self.pattern is not None and not re.fullmatch(self.pattern, value):
            raise Unfit(f"must match {self.pattern}")
        return value


class _Bounded(_WithDefault):
    minimum: float | None = None
    maximum: float | None = None
    multiple_of: float | None = Field(default=None, gt=0)

    def _bounded(self, number: float) -> None:
        if self.minimum is not None and number < self.minimum:
            raise Unfit(f"must be at least {self.minimum:g}")
        if self.maximum is not None and number > self.maximum:
            raise Unfit(f"must be at most {self.maximum:g}")
        if self.multiple_of is not None and math.remainder(number, self.multiple_of):
            raise Unfit(f"must be a multiple of {self.multiple_of:g}")


class IntegerParameter(_Bounded):
    """A whole number."""

    type: Literal["integer"]

    def read(self, value: JsonValue) -> JsonValue:
        number = _whole(value)
        self._bounded(number)
        return number


class NumberParameter(_Bounded):
    """A number."""

    type: Literal["number"]

    def read(self, value: JsonValue) -> JsonValue:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise Unfit("must be a number")
        if not math.isfinite(value):
            raise Unfit("must be a finite number")
        self._bounded(value)
        return value


class BooleanParameter(_WithDefault):
    """True or false."""

    type: Literal["boolean"]

    def read(self, value: JsonValue) -> JsonValue:
        if not isinstance(value, bool):
            raise Unfit("must be true or false")
        return value


class JsonParameter(_WithDefault):
    """Any JSON, sent as it is."""

    type: Literal["json"]

    def read(self, value: JsonValue) -> JsonValue:
        return value


class SeedParameter(_Parameter):
    """A seed; where the job names none, or -1, one is drawn, so that the result can name it."""

    type: Literal["seed"]
    maximum: int = Field(default=MAX_SEED, ge=1)

    def read(self, value: JsonValue) -> JsonValue:
        seed = -1 if value is None else _whole(value)
        if not -1 <= seed <= self.maximum:
            raise Unfit(f"must be -1, for a random one, or from 0 to {self.maximum}")
        return secrets.randbelow(self.maximum + 1) if seed < 0 else seed


def _are_hosts(entries: tuple[str, ...]) -> tuple[str, ...]:
    Allowlist.parse(entries)
    return entries


class FileParameter(_Parameter):
    """A file, by a reference, a data URL or base64."""

    type: MediaKind
    many: bool = False
    """Whether there may be several; its value is then a list, also of one."""
    most: int = Field(default=16, ge=1)
    """Of many."""
    encoding: Literal["base64", "data-url", "url"] = Field(default="base64", alias="as")
    """How it is written amid JSON, or in a form. In a multipart form `base64` is sent as a part
    with the file's bytes. `url`: the job's own URL is passed on, to be fetched by the server, from
    `hosts` alone."""
    hosts: Annotated[tuple[str, ...], AfterValidator(_are_hosts)] = ()
    """Hosts, and ``*.suffix`` hosts, of URLs that are passed on."""

    model_config: ClassVar[ConfigDict] = ConfigDict(populate_by_name=True)

    @model_validator(mode="after")
    def _hosts_of_urls(self) -> "FileParameter":
        if (self.encoding == "url") != bool(self.hosts):
            raise Unfit("hosts: are named where `as` is url, and nowhere else")
        return self


Parameter = Annotated[
    StringParameter
    | IntegerParameter
    | NumberParameter
    | BooleanParameter
    | JsonParameter
    | SeedParameter
    | FileParameter,
    Field(discriminator="type"),
]


def _whole(value: JsonValue) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Unfit("must be a whole number")
    if isinstance(value, float) and not value.is_integer():
        raise Unfit("must be a whole number")
    return int(value)
