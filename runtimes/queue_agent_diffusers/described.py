"""The options of `serve_diffusers` as JSON Schemas, for what is written of them elsewhere.

The chart's values and the reference page follow from these.
"""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args, get_type_hints

from pydantic import JsonValue, TypeAdapter

from queue_agent_diffusers.command import serve_diffusers


def described_options() -> dict[str, dict[str, JsonValue]]:
    """Type, bounds, default and description of each option, by its name without the dashes.

    Any may be given as ``--name=value``, a list by one such word for each entry, a boolean as
    ``--name`` or ``--no-name``.
    """
    parameters = inspect.signature(serve_diffusers).parameters
    hints = get_type_hints(serve_diffusers, include_extras=True)
    return {
        name.replace("_", "-"): _described(hints[name], parameter.default)
        for name, parameter in parameters.items()
    }


def _described(hint: Any, default: object) -> dict[str, JsonValue]:
    kind, option = get_args(hint)  # each is Annotated
    schema = _without_null(TypeAdapter(kind).json_schema())
    bounds = {"minimum": option.min, "maximum": option.max}
    schema |= {word: bound for word, bound in bounds.items() if bound is not None}
    if default is not None and default is not inspect.Parameter.empty:
        schema["default"] = str(default) if isinstance(default, Path) else _json(default)
    form = f"{option.metavar}: " if "=" in (option.metavar or "") else ""
    return {"description": f"{form}{option.help}", **schema}


def _without_null(schema: Mapping[str, Any]) -> dict[str, JsonValue]:
    """What an option may be that need not be given."""
    options = [one for one in schema.get("anyOf", [schema]) if one != {"type": "null"}]
    (found,) = options
    return {key: found[key] for key in ("type", "enum", "items") if key in found}


def _json(value: object) -> JsonValue:
    found: JsonValue = TypeAdapter(type(value)).dump_python(value, mode="json")
    return found
