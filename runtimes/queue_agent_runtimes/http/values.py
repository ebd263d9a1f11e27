"""From a job's content to the values of a task's parameters."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from pydantic import JsonValue

from queue_agent.inputs.addresses import Allowlist, HttpLocation
from queue_agent.runtime import Assets, Reference, is_url
from queue_agent.runtime.images import image_asset
from queue_agent.runtime.places import refuse_unfetched
from queue_agent.wire.errors import Rejected
from queue_agent.wire.portable import asks_for_something, model_of
from queue_agent_runtimes.http.declaration import HttpTask
from queue_agent_runtimes.http.parameters import (
    FileParameter,
    Parameter,
    SeedParameter,
    StringParameter,
    Unfit,
)
from queue_agent_runtimes.http.template import JobFile, Rendered

__all__ = ["JobValues", "check_places", "references_of", "values_of"]

MODEL: Final = "model"
"""The parameter by which a job chooses the model, where the operator allows that."""
_USUAL: Final[Mapping[str, JsonValue]] = {"batch_size": 1, "n_iter": 1, "seed": -1}
"""What a job asks for that asks for nothing."""

Content = Mapping[str, JsonValue]


@dataclass(frozen=True)
class JobValues:
    """What is sent for a job."""

    values: Mapping[str, Rendered] = field(repr=False)
    warnings: tuple[str, ...]
    seed: int | None
    """The seed that is asked for."""


def references_of(task: HttpTask, content: Content) -> Iterator[Reference]:
    """The URLs in fields of files that the agent fetches."""
    for parameter, path, value in _file_fields(task, content):
        if parameter.encoding != "url" and isinstance(value, str) and is_url(value):
            yield Reference(value, path, parameter.type)


def check_places(task: HttpTask, content: Content) -> None:
    """Refuse what the server would fetch by itself, of the fields that are sent.

    Raises:
        Rejected: of type ``reference_forbidden``.
    """
    words = {
        name
        for key, parameter in task.parameters.items()
        if isinstance(parameter, StringParameter) and parameter.words
        for name in (key, *parameter.names)
    }
    passed = []
    for parameter, path, value in _file_fields(task, content):
        if parameter.encoding == "url" and isinstance(value, str):
            _check_passed(parameter, path, value)
            passed.append(Reference(value, path, parameter.type))
    sent = {name for key, one in task.parameters.items() for name in (key, *one.names)}
    refuse_unfetched(
        {name: value for name, value in content.items() if name in sent},
        fetched=[*references_of(task, content), *passed],
        is_text=lambda path: bool(path) and path[0] in words,
    )


def values_of(
    task: HttpTask, content: Content, assets: Assets, *, switch_models: bool
) -> JobValues:
    """The values of all parameters, with the files' bytes.

    Raises:
        Rejected: they are not what the declaration says (type ``invalid_content``); the message
            names each field.
    """
    values: dict[str, Rendered] = {}
    faults: list[str] = []
    warnings = list(_of_unknown(task, content))
    seed = None
    for name, parameter in task.parameters.items():
        key, given = _given(name, parameter, content)
        if name == MODEL and given is not None and not switch_models:
            warnings.append("model: the operator does not allow jobs to choose it; ignored.")
            given = None
        try:
            value: Rendered
            if isinstance(parameter, FileParameter):
                value = _files(parameter, key, given, assets, warnings)
            else:
                value = _value(parameter, given)
        except ValueError as error:
            faults.append(f"{key}: {error}")
            continue
        if value is None and parameter.required:
            faults.append(f"{key}: is required")
        elif value is not None:
            values[name] = value
        if isinstance(parameter, SeedParameter) and isinstance(value, int):
            seed = value
    if faults:
        raise Rejected(f"{'; '.join(faults[:10])}.", type="invalid_content")
    return JobValues(values, tuple(warnings), seed)


def _value(parameter: Parameter, given: JsonValue) -> JsonValue:
    if isinstance(parameter, SeedParameter):
        return parameter.read(given)
    if isinstance(parameter, FileParameter):
        raise TypeError("a file")
    return parameter.default if given is None else parameter.read(given)


def _given(name: str, parameter: Parameter, content: Content) -> tuple[str, JsonValue]:
    """The field of the content that says the parameter, and what it says; null counts as absent."""
    for key in (name, *parameter.names):
        if content.get(key) is not None:
            return key, content[key]
    return name, model_of(content) if name == MODEL else None


def _files(
    parameter: FileParameter, key: str, given: JsonValue, assets: Assets, warnings: list[str]
) -> Rendered:
    listed = given if isinstance(given, list) else [given]
    entries: list[JsonValue] = [entry for entry in listed if entry not in (None, "")]
    if not parameter.many and len(entries) > 1:
        warnings.append(f"{key}: only the first is used.")
        entries = entries[:1]
    if len(entries) > parameter.most:
        raise Unfit(f"{parameter.most} at most")
    files: list[Rendered] = []
    files += [_file(parameter, key, entry, assets) for entry in entries]
    if not files:
        return None
    return files if parameter.many else files[0]


def _file(parameter: FileParameter, key: str, entry: JsonValue, assets: Assets) -> JobFile | str:
    if not isinstance(entry, str):
        raise Unfit("must be a text")
    if parameter.encoding == "url":
        if not is_url(entry):
            raise Unfit("must be a URL")
        return entry
    return JobFile(image_asset(entry, assets, field=key), parameter.encoding)


def _file_fields(
    task: HttpTask, content: Content
) -> Iterator[tuple[FileParameter, tuple[str | int, ...], JsonValue]]:
    for name, parameter in task.parameters.items():
        if isinstance(parameter, FileParameter):
            key, given = _given(name, parameter, content)
            if isinstance(given, list):
                yield from ((parameter, (key, place), entry) for place, entry in enumerate(given))
            elif given is not None:
                yield parameter, (key,), given


def _check_passed(parameter: FileParameter, path: tuple[str | int, ...], url: str) -> None:
    """Whether a URL may be handed on to the server."""
    if not is_url(url):
        return  # refused in words when its value is read
    try:
        place = HttpLocation.parse(url)
    except Rejected as error:
        raise Rejected(f"{path[0]}: the URL {error.message}.", type=error.type) from error
    if not Allowlist.parse(parameter.hosts).names(place):
        raise Rejected(
            f"{path[0]}: {place.public[:300]} is at no host that the server may fetch from.",
            type="reference_forbidden",
        )


def _of_unknown(task: HttpTask, content: Content) -> Iterable[str]:
    known = {name for key, one in task.parameters.items() for name in (key, *one.names)}
    if MODEL in task.parameters:
        known.add("override_settings")
    for name in sorted(content.keys() - known):
        if content[name] != _USUAL.get(name) and asks_for_something(name, content[name]):
            yield f"{name[:100]}: the runtime has no such field; ignored."
