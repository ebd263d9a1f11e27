"""ControlNets and IP-Adapters of a job: names that the bundled runtime knows, and their images."""

from collections.abc import Iterable, Mapping
from typing import Final

import pybase64
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from queue_agent.runtime import Assets, Reference, is_url
from queue_agent.runtime.images import image_bytes
from queue_agent.wire.errors import Rejected
from queue_agent.wire.job import describe_errors

CONDITIONS: Final = ("controls", "ip_adapters")
"""The fields of a job's content that hold them."""


class _Condition(BaseModel):
    """What the server says is wrong in `scale`, `start` or `end` is said by it alone."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)

    name: str
    image: str = Field(min_length=1)


class _Conditions(BaseModel):
    controls: list[_Condition] = Field(default_factory=list)
    ip_adapters: list[_Condition] = Field(default_factory=list)


def references_of(content: Mapping[str, JsonValue]) -> Iterable[Reference]:
    """The images among them that are named by URL."""
    for name in CONDITIONS:
        entries = content.get(name)
        for number, entry in enumerate(entries if isinstance(entries, list) else ()):
            image = entry.get("image") if isinstance(entry, dict) else None
            if is_url(image):
                yield Reference(str(image), (name, number, "image"))


def led(content: Mapping[str, JsonValue]) -> bool:
    """Whether there is anything of the kind."""
    return any(content.get(name) is not None for name in CONDITIONS)


def without_images(content: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """What else they say."""
    return {
        name: [
            {field: value for field, value in entry.model_dump().items() if field != "image"}
            for entry in entries
        ]
        for name, entries in _read(content).items()
    }


def request_fields(content: Mapping[str, JsonValue], assets: Assets) -> dict[str, JsonValue]:
    """As the request has them, each image in base64.

    Raises:
        Rejected: one is of another form, or its image neither fetched nor base64 (type
            ``invalid_content``).
    """
    return {
        name: [
            {
                **entry.model_dump(),
                "image": pybase64.b64encode(
                    image_bytes(entry.image, assets, field=f"{name}[{number}].image")
                ).decode("ascii"),
            }
            for number, entry in enumerate(entries)
        ]
        for name, entries in _read(content).items()
    }


def _read(content: Mapping[str, JsonValue]) -> dict[str, list[_Condition]]:
    given = {name: content[name] for name in CONDITIONS if content.get(name) is not None}
    try:
        read = _Conditions.model_validate(given)
    except ValidationError as error:
        raise Rejected(describe_errors(error), type="invalid_content") from error
    return {name: entries for name, entries in read if entries}
