"""Write what follows from other files: ``python docs/generate.py``.

That is the reference pages, and the chart's values that `queue-agent plan` goes by. A test compares
the committed files with `pages`, so run this after changing a setting, a wire format, or how the
chart scales.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from inspect import cleandoc
from pathlib import Path
from textwrap import indent
from typing import Final

import yaml
from pydantic import JsonValue

from queue_agent.cli.schema import Format, schema
from queue_agent.settings.known import OPTIONS, PROGRAMS
from queue_agent.settings.reader import names_of
from queue_agent.wire import layout
from queue_agent.wire.offer import Offer
from queue_agent.wire.portable import PortableContent
from queue_agent.wire.video_and_mesh import MeshContent, VideoContent
from queue_agent_diffusers.described import described_options
from queue_agent_runtimes.http.declaration import Declaration

REFERENCE: Final = Path(__file__).parent / "reference"
PROJECT: Final = Path(__file__).parents[1]
PLANNED_VALUES: Final = {
    "agent": ("shutdownGrace",),
    "karpenter": ("consolidateAfter", "gpusPerNode"),
    "podDeletionCost": ("enabled",),
    "scaling": (
        "by",
        "minReplicas",
        "pollingInterval",
        "cooldownPeriod",
        "queue",
        "work",
        "behavior",
    ),
}
"""What the simulation reads of the chart's values."""

JsonObject = Mapping[str, JsonValue]

_BOUNDS: Final = {
    "minimum": "≥ {}",
    "exclusiveMinimum": "> {}",
    "maximum": "≤ {}",
    "exclusiveMaximum": "< {}",
    "multipleOf": "a multiple of {}",
}
_LIMITS: Final = {
    **_BOUNDS,
    "minLength": "{} or more characters",
    "maxLength": "{} or fewer characters",
    "maxItems": "{} or fewer entries",
    "pattern": "matches `{}`",
}
_FIELD_COLUMNS: Final = ("Field", "Type", "Default", "Meaning")

_SETTINGS_INTRODUCTION: Final = """\
# Settings

Programs read their settings from the environment, once, when they start. Durations are in seconds,
sizes in bytes, lists separated by commas. Where a setting has several names, the first that is set
and not empty wins. A setting that is missing or wrong ends the program with exit code 2 and one
line that says which. Names that begin with `QUEUE_AGENT_` and are not listed here are warned of
when agent and gateway start. `queue-agent check` shows the agent's effective settings, where each
comes from, and tries them.

What the AWS SDK reads itself works as everywhere: credentials, `AWS_ENDPOINT_URL`, `AWS_PROFILE`, …
"""
_SHARED_INTRODUCTION: Final = """\
In one program's column: its default, or whether it needs the setting. The client is
`queue_agent.client` and the commands that use it, whose options say the same.
"""

_WIRE_FORMATS_INTRODUCTION: Final = """\
# Wire formats

What publishers send and subscribers receive, field by field. `queue-agent schema job`,
`queue-agent schema notification` and `queue-agent schema result` print the same as JSON Schema.
"""

_HTTP_ADAPTERS_INTRODUCTION: Final = """\
# Files that describe HTTP servers

Field by field, what [such a file](../http-runtimes.md) may say. `queue-agent adapters schema`
prints the same as JSON Schema, which is [here](http-adapter.schema.json) for editors, too. What is
called a path in an answer is a JSONPath (RFC 9535); `path`, `query`, `headers` and the bodies of
requests are [templates](../http-runtimes.md#templates).
"""

_DIFFUSERS_OPTIONS_INTRODUCTION: Final = """\
# Options of the bundled runtime

What `queue-agent serve-diffusers` and `python -m queue_agent_diffusers` take. In the chart they
are values of [`runtime.options`](../deploying.md#options-of-the-bundled-runtime), by the same
names in camel case: `--weights-by` is `weightsBy`. A list is one option given several times, and a
boolean also has a form that begins with `--no-`.

From the environment come the region of object storage (`AWS_REGION`) and its credentials, what the
library of the Hugging Face hub reads (`HF_HOME`, `HF_TOKEN`, …), and [what traces
need](settings.md).
"""

_BUCKET_INTRODUCTION: Final = """\
## Objects in the bucket
"""

_BUCKET_RULES: Final = f"""\
A job without a prefix, or with an empty one, has `{layout.DEFAULT_PREFIX}`. No prefix may begin
with one of these, and no runtime may be called so:
{", ".join(f"`{name}`" for name in layout.RESERVED)}.

`runtimes/{{name}}.json` holds the [offer](#offer). Agents write it when their runtime is first
ready, when it is ready again after it was away, and within five minutes of a change.

What lies under `runtimes/{{name}}/runs/` is what agents have seen jobs take, for
[estimates](../estimates.md). The first file in a listing counts.

What lies under {" and ".join(f"`{name}/`" for name in layout.AS_LONG_AS_MESSAGES)} is of no use
once the queues keep no message that old.
"""


def pages() -> dict[Path, str]:
    """The text of each generated page, by where it lies."""
    return {
        REFERENCE / "settings.md": settings_page(),
        REFERENCE / "wire-formats.md": wire_formats_page(),
        REFERENCE / "http-adapters.md": http_adapters_page(),
        REFERENCE / "diffusers-options.md": diffusers_options_page(),
        REFERENCE / "http-adapter.schema.json": f"{json.dumps(http_adapter_schema(), indent=2)}\n",
        PROJECT / "queue_agent" / "planning" / "chart.json": planned_values(),
    }


def planned_values() -> str:
    """Those of the chart's default values that a simulation needs, as JSON."""
    values = yaml.safe_load((PROJECT / "charts" / "queue-agent" / "values.yaml").read_text())
    wanted = {
        part: {name: values[part][name] for name in names} for part, names in PLANNED_VALUES.items()
    }
    return json.dumps(wanted, indent=2) + "\n"


def settings_page() -> str:
    """Every setting with its environment names, default, limits and meaning, by who reads it."""
    readers = _readers()
    shared = {names: by for names, by in readers.items() if len(by) > 1}
    parts = [
        _SETTINGS_INTRODUCTION,
        f"## Of several programs\n\n{_SHARED_INTRODUCTION}",
        _table(
            ("Environment", *(program.capitalize() for program in PROGRAMS), "Meaning"),
            [_shared_row(names, by) for names, by in shared.items()],
        ),
    ]
    for program in PROGRAMS:
        rows = [
            (_names(names), _need(by[program]), _meaning(by[program]))
            for names, by in readers.items()
            if list(by) == [program]
        ]
        if rows:
            columns = ("Environment", "Default", "Meaning")
            parts += [f"## Of the {program} only\n", _table(columns, rows)]
    options = [
        (_names(option.names), f"`{command}`", option.description)
        for option, command in OPTIONS.items()
    ]
    columns = ("Environment", "Command", "Meaning")
    return "\n".join([*parts, "## Of a command only\n", _table(columns, options)])


def _readers() -> dict[tuple[str, ...], dict[str, JsonObject]]:
    """By the environment names of a setting: what each program that reads it makes of it."""
    found: dict[tuple[str, ...], dict[str, JsonObject]] = {}
    for program, settings in PROGRAMS.items():
        document = settings.model_json_schema()
        for field in settings.fields():
            names = names_of(settings, field)
            found.setdefault(names, {})[program] = _described(document, names[0])
    return found


def _described(document: JsonObject, name: str) -> JsonObject:
    required = name in _list(document.get("required", []))
    return {**_object(_object(document["properties"])[name]), "required": required}


def _shared_row(names: Sequence[str], by: Mapping[str, JsonObject]) -> tuple[str, ...]:
    needs = [_need(by[program], "optional") if program in by else "" for program in PROGRAMS]
    return (_names(names), *needs, _meaning(next(iter(by.values()))))


def _names(names: Iterable[str]) -> str:
    return "<br>".join(f"`{name}`" for name in names)


def _need(described: JsonObject, without: str = "") -> str:
    return "required" if described["required"] else _default(described) or without


def _meaning(described: JsonObject) -> str:
    return _sentences(described.get("description"), _limits(described, _BOUNDS))


def wire_formats_page() -> str:
    """The fields of jobs, notifications, results, and of the portable content."""
    job, notification, result = (
        _object(json.loads(schema(wire_format)))
        for wire_format in (Format.JOB, Format.NOTIFICATION, Format.RESULT)
    )
    portable: JsonObject = PortableContent.model_json_schema()
    video, mesh = VideoContent.model_json_schema(), MeshContent.model_json_schema()
    added = set(_object(result["properties"])) - set(_object(notification["properties"]))
    parts = [
        _WIRE_FORMATS_INTRODUCTION,
        *_sections("Job", job),
        *_sections("Portable content", portable),
        _section("Portable content of videos", video),
        _section("Portable content of meshes", mesh),
        *_sections("Notification", notification),
        _section("Result", result, only=added),
        *_sections("Offer", Offer.model_json_schema()),
        _bucket_section(),
    ]
    return "\n".join(parts)


def http_adapter_schema() -> JsonObject:
    """Of the files that describe HTTP servers, for editors."""
    dialect = "https://json-schema.org/draft/2020-12/schema"
    return {"$schema": dialect, **Declaration.model_json_schema()}


def http_adapters_page() -> str:
    """The fields of files that describe HTTP servers."""
    return "\n".join([_HTTP_ADAPTERS_INTRODUCTION, *_sections("The file", http_adapter_schema())])


def diffusers_options_page() -> str:
    """Each option of the bundled runtime."""
    rows = [
        _row(f"--{name}", field, required=name == "model")
        for name, field in described_options().items()
    ]
    columns = ("Option", *_FIELD_COLUMNS[1:])
    return f"{_DIFFUSERS_OPTIONS_INTRODUCTION}\n{_table(columns, rows)}"


def _bucket_section() -> str:
    """Every key, as the module that knows them lists them."""
    listing = indent(cleandoc(layout.__doc__ or "").partition("\n\n")[2], "    ")
    return f"{_BUCKET_INTRODUCTION}\n{listing}\n\n{_BUCKET_RULES}"


def _sections(title: str, document: JsonObject) -> list[str]:
    """A section for the object itself, and one under it for each object in it."""
    inner = _object(document.get("$defs", {}))
    named = ((name, _object(value)) for name, value in inner.items())
    return [
        _section(title, document),
        *(_section(name, value, level=3) for name, value in named if "properties" in value),
    ]


def _section(
    title: str, described: JsonObject, *, level: int = 2, only: Iterable[str] | None = None
) -> str:
    required = described.get("required")
    fields = _object(described["properties"])
    rows = [
        _row(name, _object(field), required=isinstance(required, list) and name in required)
        for name, field in fields.items()
        if only is None or name in only
    ]
    text = str(described.get("description", "")).strip()
    return f"{'#' * level} {title}\n\n{text}\n\n{_table(_FIELD_COLUMNS, rows)}"


def _row(name: str, field: JsonObject, *, required: bool) -> tuple[str, ...]:
    default = "required" if required else _default(field)
    return (
        f"`{name}`",
        _type(field),
        default,
        _sentences(field.get("description"), _limits(field)),
    )


def _type(field: JsonObject) -> str:
    """What a field may hold, in words."""
    named: list[JsonValue] = [{"const": value} for value in _list(field.get("enum", []))]
    options = field.get("anyOf") or field.get("oneOf") or named
    if options:
        return " or ".join(_type(_object(option)) for option in _list(options))
    if "const" in field:
        return _code(field["const"])
    if "$ref" in field:
        return _named_type(str(field["$ref"]).rpartition("/")[2])
    if field.get("type") == "array":
        return f"list of {_type(_object(field.get('items', {})))}"
    patterns = field.get("patternProperties")
    if isinstance(patterns, dict):
        return f"object of {_type(_object(next(iter(patterns.values()))))}"
    return "date and time" if field.get("format") == "date-time" else str(field["type"])


def _named_type(name: str) -> str:
    """Objects have a section of their own."""
    return "any JSON" if name == "JsonValue" else f"[{name}](#{name.lower()})"


def _limits(field: JsonObject, wanted: Mapping[str, str] = _LIMITS) -> str:
    options = [_object(option) for option in _list(field.get("anyOf", []))]
    return ", ".join(
        words.format(option[key])
        for option in (field, *options)
        for key, words in wanted.items()
        if key in option
    )


def _default(field: JsonObject) -> str:
    if field.get("default") in (None, "", []):
        return ""
    return _code(field["default"])


def _code(value: JsonValue) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return f"`{text}`"


def _sentences(description: JsonValue, limits: str) -> str:
    text = str(description or "").strip()
    if text and not text.endswith((".", "?", "!")):
        text += "."
    return f"{text} {limits[:1].upper()}{limits[1:]}.".strip() if limits else text


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "".join(f"| {' | '.join(map(_cell, line))} |\n" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _object(value: JsonValue) -> JsonObject:
    if not isinstance(value, dict):
        raise TypeError(f"not an object of a JSON Schema: {value!r}")
    return value


def _list(value: JsonValue) -> list[JsonValue]:
    if not isinstance(value, list):
        raise TypeError(f"not a list of a JSON Schema: {value!r}")
    return value


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text)
