"""Write the chart's README and the schema of its values from the comments in values.yaml.

The comments follow helm-docs: ``# --`` above a key starts its description. A line
``# @schema {…}`` before it holds what JSON Schema should know beyond the default's type.
Run ``python charts/chart_docs.py`` after a change; a test compares the files with their source.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml
from pydantic import JsonValue

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
        "properties": properties,
    }


def readme(template: str, values: tuple[Value, ...]) -> str:
    """README.md from its template."""
    rows = [
        f"| {leaf.key} | {_type_of(leaf)} | `{json.dumps(leaf.default)}` | {leaf.description} |"
        for leaf in _leaves(values)
    ]
    table = "\n".join(["| Key | Type | Default | Description |", "|---|---|---|---|", *rows])
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
        yield Value(path, default, description, extra, children)


def _comment_above(line: int, lines: list[str]) -> tuple[str, dict[str, JsonValue]]:
    comment: list[str] = []
    while line and (text := lines[line - 1].strip()).startswith("#"):
        comment.insert(0, text.removeprefix("#").strip())
        line -= 1
    schema_lines = [text.removeprefix("@schema") for text in comment if text.startswith("@schema")]
    described = [text.removeprefix("-- ") for text in comment if text.startswith("-- ")]
    extra = yaml.safe_load(schema_lines[0]) if schema_lines else {}
    return (described[0] if described else "", extra)


def _schema_of(value: Value) -> dict[str, JsonValue]:
    if value.children:
        return {
            "type": "object",
            "additionalProperties": False,
            "properties": {child.path[-1]: _schema_of(child) for child in value.children},
        }
    typed = {} if "enum" in value.schema else {"type": _TYPES[type(value.default)]}
    return {"description": value.description, **typed, **value.schema}


def _type_of(value: Value) -> str:
    return {"boolean": "bool", "integer": "int", "array": "list"}.get(
        name := _TYPES[type(value.default)], name
    )


def _leaves(values: tuple[Value, ...]) -> Iterator[Value]:
    for value in values:
        if value.children:
            yield from _leaves(value.children)
        else:
            yield value


if __name__ == "__main__":
    for path, text in generated().items():
        path.write_text(text)
