"""What Kubernetes knows of objects that values pass through: JSON Schemas by the kinds' names.

They are Kubernetes' own, of the newest version that the chart is tested with, without their texts,
and closed: a field that is none is refused. `chart_docs` puts what values refer to
(``$ref: "#/definitions/Toleration"``) into the schema of the values.
"""

import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

import kubernetes_validate

VERSION: Final = "1.37.0"
GROUPS: Final = (
    "io.k8s.api.core.v1",
    "io.k8s.api.apps.v1",
    "io.k8s.api.autoscaling.v2",
    "io.k8s.api.networking.v1",
    "io.k8s.apimachinery.pkg.apis.meta.v1",
)
"""Where a kind is looked for, the first group first."""
REFERENCE: Final = "#/definitions/"
_KEPT: Final = ("type", "items", "properties", "required", "additionalProperties", "$ref", "enum")

Schema = dict[str, Any]


def definitions(schema: object) -> dict[str, Schema]:
    """All kinds that a schema refers to, and those that these refer to, by name.

    Raises:
        KeyError: Kubernetes has no such kind.
    """
    found: dict[str, Schema] = {}
    wanted = list(_references(schema))
    while wanted:
        name = wanted.pop()
        if name not in found:
            found[name] = _OWN[name]() if name in _OWN else _of_kubernetes(name)
            wanted += _references(found[name])
    return dict(sorted(found.items()))


def _references(schema: object) -> Iterator[str]:
    if isinstance(schema, Mapping):
        if isinstance(target := schema.get("$ref"), str):
            yield target.removeprefix(REFERENCE)
        for part in schema.values():
            yield from _references(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from _references(part)


@cache
def _all() -> dict[str, Schema]:
    folder = Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema"
    text = (folder / f"v{VERSION}-local" / "_definitions.json").read_text()
    found: dict[str, Schema] = json.loads(text)["$defs"]
    return found


def _of_kubernetes(name: str) -> Schema:
    known = _all()
    for group in GROUPS:
        if (full := f"{group}.{name}") in known:
            return _closed(known[full])
    raise KeyError(name)


def _closed(schema: Mapping[str, Any]) -> Schema:
    """Without texts; objects of which the fields are known have no others."""
    result: Schema = {}
    for key in (key for key in _KEPT if key in schema):
        value = schema[key]
        if key == "properties":
            result[key] = {name: _closed(part) for name, part in value.items()}
            result["additionalProperties"] = False
        elif key == "$ref":
            result[key] = REFERENCE + value.rpartition(".")[2]
        else:
            result[key] = _closed(value) if isinstance(value, dict) else value
    return result


def _pod_fields() -> Schema:
    """Of a pod, none of which is required: the containers are the chart's."""
    return {key: value for key, value in _of_kubernetes("PodSpec").items() if key != "required"}


def _variable() -> Schema:
    """A variable, whose value the templates ask to be a text."""
    variable = _of_kubernetes("EnvVar")
    return {**variable, "properties": {**variable["properties"], "value": {}}}


def _probe_times() -> Schema:
    """A probe without what it does."""
    probe = _of_kubernetes("Probe")
    times = {
        name: {"type": "integer", "minimum": 0 if name == "initialDelaySeconds" else 1}
        for name, part in probe["properties"].items()
        if "integer" in part.get("type", ())
    }
    return {**probe, "type": "object", "minProperties": 1, "properties": times}


_OWN: Final = {
    # Their forms are checked by the templates, which can say what is wrong.
    "Quantity": lambda: {"type": ["string", "number", "null"]},
    "IntOrString": lambda: {"type": ["string", "integer", "null"]},
    "Time": lambda: {"type": ["string", "null"]},
    "EnvVar": _variable,
    "PodFields": _pod_fields,
    "ProbeTimes": _probe_times,
}
