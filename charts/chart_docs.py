"""Write the chart's README and the schema of its values from the comments in values.yaml.

The comments follow helm-docs: ``# --`` above a key starts its description. A line
``# @schema {…}`` before it holds what JSON Schema should know beyond the default's type, and by
``$ref`` what Kubernetes knows of it (`kubernetes_schemas`).
What ``agent.settings``, ``gateway.settings`` and ``runtime.options`` may hold follows from the
programs' own settings and options (`agent_settings`, `gateway_settings`, `runtime_options`).
Run ``python charts/chart_docs.py`` after a change; a test compares the files with their source.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import jsonschema
import kubernetes_schemas
import yaml
from pydantic import JsonValue
from pydantic.alias_generators import to_camel

from queue_agent.settings.agent import Settings
from queue_agent.settings.gateway import GatewaySettings
from queue_agent.settings.reader import PREFIX, Reader, names_of
from queue_agent_diffusers.described import described_options

_BOUNDS: Final = {
    "minimum": "≥ {}",
    "exclusiveMinimum": "> {}",
    "maximum": "≤ {}",
    "exclusiveMaximum": "< {}",
}
CHART = Path(__file__).parent / "queue-agent"
PLACE_OF_THE_TABLE = '{{ template "chart.valuesSection" . }}'
_TYPES: dict[type, str] = {
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
    list: "array",
    dict: "object",
}

ELSEWHERE: Final = {
    "QUEUE_URL": "cloud.queueUrl",
    "QUEUES": "cloud.queues",
    "TOPIC_ARN": "cloud.topicArn",
    "BUCKET": "cloud.bucket",
    "REGION": "cloud.region",
    "RUNTIME": "runtime.preset",
    "RUNTIME_NAME": "runtime.name",
    "RUNTIME_URL": "runtime.port, in the same pod",
    "RUNTIME_FILES": "runtime.shareFiles",
    "WORKFLOWS": "agent.workflows",
    "MODELS_FOLDER": "agent.models, where the models volume is mounted",
    "MODELS": "agent.models.list",
    "MODEL_HOSTS": "agent.models.hosts",
    "MODELS_LIMIT": "agent.models.limit",
    "MODEL_CREDENTIALS": "agent.models.credentials, a Secret",
    "RUNTIME_AUTH": "agent.runtimeAuth, a Secret",
    "RUNTIME_API_KEY": "agent.runtimeApiKey, a Secret",
    "RUNTIME_HEADERS": "agent.runtimeHeaders, a Secret",
    "WARM_UP": "agent.warmUp",
    "WEBHOOK_SECRET": "agent.envFrom or agent.extraEnv, from a Secret",
    "MAX_JOBS": "scaling.mode",
    "IDLE_LIMIT": "scaling.cooldownPeriod, in Jobs",
    "POD_DELETION_COST": "podDeletionCost",
    "POD_DO_NOT_DISRUPT": "podDeletionCost.doNotDisrupt",
    "POD_WATCH_NODE": "podDeletionCost.watchNode",
    "SHUTDOWN_GRACE": "agent.shutdownGrace, which the pod's grace period follows",
    "HEALTH_HOST": "nothing: probes come from outside the pod",
    "HEALTH_PORT": "agent.healthPort, which probes and policies follow",
    "TRACES": "telemetry.traces",
    "DISABLE_XRAY": "telemetry.traces",
    "OTLP_ENDPOINT": "telemetry.endpoint",
}
"""Settings of the agent that are no part of ``agent.settings``, and where the chart has them."""
GATEWAYS_ELSEWHERE: Final = {
    "JOB_TOPIC_ARN": "gateway.jobTopicArn",
    "TOPIC_ARN": "cloud.topicArn",
    "BUCKET": "cloud.bucket",
    "REGION": "cloud.region",
    "QUEUE_URL": "cloud.queueUrl",
    "QUEUES": "cloud.queues",
    "RUNTIME_NAME": "runtime.name",
    "GATEWAY_RUNTIMES": "gateway.runtimes",
    "GATEWAY_HOST": "nothing: callers come from outside the pod",
    "GATEWAY_PORT": "gateway.port, which service, probes and policies follow",
    "GATEWAY_KEYS_FILE": "gateway.keys, a Secret",
}
"""The same for ``gateway.settings``."""
OPTIONS_ELSEWHERE: Final = {
    "host": "nothing: probes come from outside the pod",
    "port": "runtime.port, which probes and the agent follow",
}
"""The same for ``runtime.options``."""


@dataclass(frozen=True)
class Value:
    """One key of values.yaml."""

    path: tuple[str, ...]
    default: JsonValue
    description: str
    schema: dict[str, JsonValue]
    children: tuple["Value", ...] = ()

    @property
    def key(self) -> str:
        return ".".join(self.path)


def agent_settings() -> dict[str, dict[str, JsonValue]]:
    """JSON Schemas of what ``agent.settings`` may hold, by names in camel case."""
    return _settings(Settings, ELSEWHERE)


def gateway_settings() -> dict[str, dict[str, JsonValue]]:
    """The same for ``gateway.settings``."""
    return _settings(GatewaySettings, GATEWAYS_ELSEWHERE)


def _settings(
    program: type[Reader], elsewhere: Mapping[str, str]
) -> dict[str, dict[str, JsonValue]]:
    document = program.model_json_schema()["properties"]
    names = [names_of(program, field)[0] for field in program.fields()]
    return {
        to_camel(name.removeprefix(PREFIX).removeprefix("GATEWAY_").lower()): _without_null(
            document[name]
        )
        for name in names
        if name.removeprefix(PREFIX) not in elsewhere
    }


def runtime_options() -> dict[str, dict[str, JsonValue]]:
    """JSON Schemas of what ``runtime.options`` may hold, by names in camel case."""
    options = described_options()
    first = "The others beside `runtime.model`, which is loaded first."
    options["model"]["description"] = f"{first} {options['model']['description']}"
    return {
        to_camel(name.replace("-", "_")): described
        for name, described in options.items()
        if name not in OPTIONS_ELSEWHERE
    }


SETTINGS: Final = {
    ("agent", "settings"): agent_settings,
    ("gateway", "settings"): gateway_settings,
    ("runtime", "options"): runtime_options,
}
"""Values that hold settings or options of a program."""


def read_values(text: str) -> tuple[Value, ...]:
    """The keys of values.yaml with their comments, in their order."""
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    assert isinstance(root, yaml.MappingNode)  # noqa: S101  values.yaml is a mapping
    return tuple(_read(root, (), text.splitlines()))


def schema(values: tuple[Value, ...]) -> dict[str, JsonValue]:
    """JSON Schema that types every value and refuses unknown keys."""
    properties: dict[str, JsonValue] = {value.path[-1]: _schema_of(value) for value in values}
    # `global` is set by parent charts.
    properties["global"] = {"type": "object", "description": "Values shared with parent charts"}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Values of the queue-agent chart",
        "type": "object",
        "additionalProperties": False,
        "required": [value.path[-1] for value in values if not may_be_null(value)],
        "properties": properties,
        "definitions": {**kubernetes_schemas.definitions(properties)},
    }


def may_be_null(value: Value) -> bool:
    """Whether null may stand for it: of maps and lists that may be empty, and is the same."""
    if value.path in SETTINGS or type(value.default) not in (dict, list) or value.children:
        return False
    described: Any = {**_schema_of(value), "definitions": {}}
    described["definitions"] = kubernetes_schemas.definitions(described)
    return jsonschema.Draft7Validator(described).is_valid(type(value.default)())


def readme(template: str, values: tuple[Value, ...]) -> str:
    """README.md from its template."""
    rows = ["| Key | Type | Default | Description |", "|---|---|---|---|"]
    for leaf in _leaves(values):
        rows.append(_row(leaf.key, _TYPES[type(leaf.default)], leaf.default, leaf.description))
        if leaf.path in SETTINGS:
            rows += _settings_rows(leaf.key, SETTINGS[leaf.path]())
    table = "\n".join(rows)
    return template.replace(PLACE_OF_THE_TABLE, table)


def generated() -> dict[Path, str]:
    """What the generated files should hold."""
    values = read_values((CHART / "values.yaml").read_text())
    return {
        CHART / "values.schema.json": json.dumps(schema(values), indent=2) + "\n",
        CHART / "README.md": readme((CHART / "README.md.gotmpl").read_text(), values),
    }


def _read(node: yaml.MappingNode, above: tuple[str, ...], lines: list[str]) -> Iterator[Value]:
    for key_node, value_node in node.value:
        path = (*above, str(key_node.value))
        description, extra = _comment_above(key_node.start_mark.line, lines)
        children: tuple[Value, ...] = ()
        if not description:
            if not isinstance(value_node, yaml.MappingNode):
                raise ValueError(f"values.yaml: {'.'.join(path)} has no description")
            children = tuple(_read(value_node, path, lines))
        default: JsonValue = yaml.safe_load(yaml.serialize(value_node))
        if path in SETTINGS:
            extra = {"additionalProperties": False, "properties": {**SETTINGS[path]()}}
        yield Value(path, default, description, extra, children)


def _without_null(described: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """What a setting may be; in values, null takes a key away."""
    options = described.get("anyOf", [{}])
    assert isinstance(options, list)  # noqa: S101  JSON Schema's word
    (option,) = (option for option in options if option != {"type": "null"})
    assert isinstance(option, dict)  # noqa: S101  no setting's schema is true or false
    kept = ("description", "default", "type", "enum", "items", *_BOUNDS)
    whole = {**described, **option}
    return {key: whole[key] for key in kept if whole.get(key) is not None}


def _comment_above(line: int, lines: list[str]) -> tuple[str, dict[str, JsonValue]]:
    comment: list[str] = []
    while line and (text := lines[line - 1].strip()).startswith("#"):
        comment.insert(0, text.removeprefix("#").strip())
        line -= 1
    schema_lines = [text.removeprefix("@schema") for text in comment if text.startswith("@schema")]
    if len(schema_lines) > 1:
        raise ValueError(f"values.yaml, line {line + len(comment)}: two lines `@schema`")
    described = [text.removeprefix("-- ") for text in comment if text.startswith("-- ")]
    extra = yaml.safe_load(schema_lines[0]) if schema_lines else {}
    return (described[0] if described else "", extra)


def _schema_of(value: Value) -> dict[str, JsonValue]:
    if value.children:
        return {
            "type": "object",
            "additionalProperties": False,
            "required": [child.path[-1] for child in value.children if not may_be_null(child)],
            "properties": {child.path[-1]: _schema_of(child) for child in value.children},
        }
    typed = {} if value.schema.keys() & {"enum", "$ref"} else {"type": _TYPES[type(value.default)]}
    return {"description": value.description, **typed, **value.schema}


def _settings_rows(key: str, settings: Mapping[str, dict[str, JsonValue]]) -> Iterator[str]:
    for name, described in settings.items():
        bounds = ", ".join(
            words.format(described[word]) for word, words in _BOUNDS.items() if word in described
        )
        text = f"{described['description']} {bounds}." if bounds else f"{described['description']}"
        yield _row(f"{key}.{name}", str(described["type"]), described.get("default"), text)


def _row(key: str, kind: str, default: JsonValue, description: str) -> str:
    short = {"boolean": "bool", "integer": "int", "array": "list"}.get(kind, kind)
    shown = "" if default is None else f"`{json.dumps(default)}`"
    return f"| {key} | {short} | {shown} | {description} |"


def _leaves(values: tuple[Value, ...]) -> Iterator[Value]:
    for value in values:
        if value.children:
            yield from _leaves(value.children)
        else:
            yield value


if __name__ == "__main__":
    for path, text in generated().items():
        path.write_text(text)
