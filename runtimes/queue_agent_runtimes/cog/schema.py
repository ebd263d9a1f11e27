"""What a model takes and gives, by the server's ``/openapi.json``. Pure functions.

It is there where the image was built by cog; a server without it takes whatever it is sent, and
checks nothing beforehand.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Self

from pydantic import JsonValue

Json = Mapping[str, JsonValue]

_REF: Final = "#/components/schemas/"
_COMPOSED: Final = ("$ref", "allOf", "anyOf", "oneOf")
_TYPES: Final[Mapping[str, type | tuple[type, ...]]] = {
    "array": list,
    "boolean": bool,
    "integer": int,
    "number": (int, float),
    "object": dict,
    "string": str,
}


@dataclass(frozen=True)
class ModelInput:
    """One input of a model, as far as it is described; an undescribed one takes anything."""

    name: str
    type: str | None = None
    is_file: bool = False
    """Whether it is a file, or each of its entries is."""
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[JsonValue, ...] = ()
    required: bool = False
    nullable: bool = True

    def fault(self, value: JsonValue) -> str | None:
        """Why the model does not take the value, in the server's words; None if it may."""
        if value is None:
            return None if self.nullable else "must not be null"
        if self.choices:
            known = ", ".join(map(repr, self.choices))
            return None if value in self.choices else f"{value!r} is not one of: {known}"
        if self.type and not _is_a(value, self.type):
            return f"{_shown(value)} is not of type {self.type!r}"
        if isinstance(value, int | float):
            if self.minimum is not None and value < self.minimum:
                return f"{value} is less than the minimum of {self.minimum}"
            if self.maximum is not None and value > self.maximum:
                return f"{value} is greater than the maximum of {self.maximum}"
        return None


@dataclass(frozen=True)
class ModelSchema:
    """The inputs of a model, and whether texts of its output may be places of files."""

    inputs: Mapping[str, ModelInput] = field(default_factory=dict)
    is_known: bool = False
    gives_files: bool = True

    @classmethod
    def parse(cls, document: Json) -> Self:
        """Read an OpenAPI document; one that describes no input is as good as none."""
        components = document.get("components")
        schemas = components.get("schemas") if isinstance(components, dict) else None
        if not isinstance(schemas, dict):
            return cls()
        described = _resolved(schemas.get("Input"), schemas)
        properties = described.get("properties")
        if not isinstance(properties, dict):
            return cls()
        required = described.get("required")
        names = required if isinstance(required, list) else []
        inputs = {
            name: _input(name, _resolved(entry, schemas), schemas, required=name in names)
            for name, entry in properties.items()
        }
        return cls(inputs, is_known=True, gives_files=_may_be_files(schemas.get("Output"), schemas))

    def find(self, names: Iterable[str]) -> ModelInput | None:
        """The first of these that the model has; of an unknown one, the first, which may be."""
        candidates = tuple(names)
        if not self.is_known:
            return ModelInput(candidates[0])
        return next((self.inputs[name] for name in candidates if name in self.inputs), None)

    def faults(self, given: Json) -> Iterator[str]:
        """What is wrong with an input, a sentence for each field."""
        for name, one in self.inputs.items():
            if name in given:
                if fault := one.fault(given[name]):
                    yield f"{name}: {fault}"
            elif one.required:
                yield f"{name}: is required"


def _input(name: str, entry: Json, schemas: Json, *, required: bool) -> ModelInput:
    items = _resolved(entry.get("items"), schemas)
    kind, choices = entry.get("type"), entry.get("enum")
    return ModelInput(
        name,
        type=kind if isinstance(kind, str) and kind in _TYPES else None,
        is_file=_is_uri(entry) or _is_uri(items),
        minimum=_number(entry.get("minimum")),
        maximum=_number(entry.get("maximum")),
        choices=tuple(choices) if isinstance(choices, list) else (),
        required=required,
        nullable=entry.get("nullable") is True,
    )


def _resolved(entry: JsonValue, schemas: Json, depth: int = 8) -> Json:
    """The entry with what it refers to: a choice's own schema, the one of a null's alternatives."""
    if not isinstance(entry, dict) or not depth:
        return {}
    found: dict[str, JsonValue] = {}
    reference = entry.get("$ref")
    if isinstance(reference, str):
        found |= _resolved(schemas.get(reference.removeprefix(_REF)), schemas, depth - 1)
    for key in _COMPOSED[1:]:
        parts = entry.get(key)
        for part in parts if isinstance(parts, list) else []:
            if isinstance(part, dict) and part.get("type") == "null":
                found["nullable"] = True
            else:
                found = {**_resolved(part, schemas, depth - 1), **found}
    own = {key: value for key, value in entry.items() if key not in _COMPOSED}
    return {**found, **own}


def _may_be_files(output: JsonValue, schemas: Json, depth: int = 8) -> bool:
    """Whether the texts of an output may be files: if it says so, or says nothing of its type.

    One that holds others of its own kind may hold them anywhere.
    """
    entry = _resolved(output, schemas)
    if _is_uri(entry) or not depth:
        return True
    parts = [entry.get("items"), entry.get("additionalProperties")]
    properties = entry.get("properties")
    if isinstance(properties, dict):
        parts += properties.values()
    inner = [part for part in parts if isinstance(part, dict)]
    if inner:
        return any(_may_be_files(part, schemas, depth - 1) for part in inner)
    kinds = entry.get("type")
    return any(kind in (None, "object", "array") for kind in _listed(kinds))


def _listed(value: JsonValue) -> list[JsonValue]:
    return value if isinstance(value, list) else [value]


def _is_uri(entry: Json) -> bool:
    return entry.get("format") == "uri"


def _number(value: JsonValue) -> float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _is_a(value: JsonValue, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    if isinstance(value, float) and kind == "integer":
        return value.is_integer()
    return isinstance(value, _TYPES[kind])


def _shown(value: JsonValue) -> str:
    return repr(value)[:100]
