"""The schema of the values, and what is generated from their comments."""

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import helm_python
import pytest
from chart_rendering import (
    BASE,
    CHART,
    containers,
    environment,
    example,
    merged,
    pod_templates,
    render,
    render_files,
)

from queue_agent.cli.options import telemetry_options
from queue_agent.settings.agent import Settings
from queue_agent.settings.gateway import GatewaySettings
from queue_agent.settings.known import known_names
from queue_agent.settings.reader import PREFIX, Reader, names_of

sys.path.insert(0, str(CHART.parent))
import chart_docs


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"scaling": {"maxReplicas": "ten"}}, ["maxReplicas", "integer"]),
        ({"scaling": {"maxReplica": 10}}, ["maxReplica", "not allowed"]),
        ({"replicas": 2}, ["replicas", "not allowed"]),
        ({"mode": "statefulset"}, ["mode", "deployment", "knative"]),
        ({"runtime": {"preset": "forge"}}, ["preset", "comfyui"]),
        ({"runtime": {"livenessBy": "nobody"}}, ["livenessBy", "agent"]),
        ({"runtime": {"image": {"tag": "latest"}}}, ["tag"]),
        ({"agent": {"image": {"digest": "sha256:1"}}}, ["digest", "pattern"]),
        ({"agent": {"settings": {"prefetches": 2}}}, ["prefetches", "not allowed"]),
        ({"agent": {"settings": {"prefetch": 101}}}, ["prefetch", "100"]),
        ({"agent": {"settings": {"runTimeout": 0}}}, ["runTimeout", "0"]),
        ({"agent": {"settings": {"maxReceives": 1.5}}}, ["maxReceives", "integer"]),
        ({"agent": {"settings": {"metrics": "statsd"}}}, ["metrics", "prometheus"]),
        ({"agent": {"settings": {"webhookHosts": "a.example"}}}, ["webhookHosts", "array"]),
        ({"agent": {"settings": {"runtimeAuth": "user:password"}}}, ["runtimeAuth", "not allowed"]),
        ({"cloud": {"queueUrl": "my-queue"}}, ["queueUrl", "pattern"]),
        ({"karpenter": {"nodeClass": {"amiAlias": "bottlerocket@latest"}}}, ["amiAlias"]),
    ],
)
def test_a_wrong_value_is_refused_with_its_name_and_the_reason(
    values: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(helm_python.HelmValuesError) as refused:
        render(merged(example(BASE), values))
    assert all(word in str(refused.value) for word in words), str(refused.value)


def test_every_value_is_described_and_typed() -> None:
    def leaves(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
        for part in schema["properties"].values():
            if "properties" in part and "description" not in part:
                yield from leaves(part)
            else:
                yield part

    for leaf in leaves(
        chart_docs.schema(chart_docs.read_values((CHART / "values.yaml").read_text()))
    ):
        assert leaf["description"]
        assert leaf.keys() & {"type", "enum", "$ref"}


@pytest.mark.parametrize("path", chart_docs.generated(), ids=lambda path: Path(path).name)
def test_generated_files_are_as_their_source_says(path: Path) -> None:
    assert path.read_text() == chart_docs.generated()[path], "run: python charts/chart_docs.py"


def test_the_packaged_chart_renders_the_same(tmp_path: Path) -> None:
    archive = helm_python.package(CHART, destination=tmp_path)
    assert render_files(example("comfyui"), chart=Path(archive)) == render_files(example("comfyui"))


def test_the_chart_installs_this_version_of_the_agent() -> None:
    with helm_python.Chart.load(CHART) as chart:
        assert chart.metadata["appVersion"] == version("sd-queue-agent")


def test_a_value_without_a_description_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"a\.b has no description"):
        chart_docs.read_values("a:\n  b: 1\n")


def test_a_second_line_of_a_values_schema_is_an_error() -> None:
    with pytest.raises(ValueError, match="two lines `@schema`"):
        chart_docs.read_values("# @schema {minimum: 1}\n# @schema {maximum: 2}\n# -- A\na: 1\n")


SEVERAL = [{"name": "high", "url": "https://sqs.us-west-2.amazonaws.com/111122223333/high"}]


def test_every_variable_the_chart_can_set_is_one_that_is_read() -> None:
    own = {
        "agent": {
            "settings": _samples("agent"),
            "runtimeAuth": {"secretName": "s"},
            "runtimeApiKey": {"secretName": "s"},
            "runtimeHeaders": {"secretName": "s"},
            "warmUp": {"job": "{}"},
        },
        "runtime": {"name": "sdruntime"},
        "telemetry": {"traces": "otlp"},
        "gateway": {
            "enabled": True,
            "jobTopicArn": "arn:aws:sns:us-west-2:111122223333:jobs",
            "runtimes": [{"name": "sdruntime"}],
            "keys": {"secretName": "s"},
            "settings": _samples("gateway"),
        },
    }
    rendered = [
        variable["name"]
        for mode in ("scaledobject", "scaledjob")
        for queues in ({}, {"queueUrl": "", "queues": SEVERAL})
        for template in _templates(
            merged(example(BASE), merged(own, {"scaling": {"mode": mode}, "cloud": queues}))
        )
        for container in template
        for variable in container.get("env", [])
        if variable["name"].startswith("QUEUE_AGENT_")
    ]
    assert set(rendered) - known_names() == set()


@pytest.mark.parametrize(
    ("program", "elsewhere", "given"),
    [
        (Settings, chart_docs.ELSEWHERE, chart_docs.agent_settings),
        (GatewaySettings, chart_docs.GATEWAYS_ELSEWHERE, chart_docs.gateway_settings),
    ],
)
def test_every_setting_is_in_the_chart_or_said_to_be_elsewhere(
    program: type[Reader],
    elsewhere: Mapping[str, str],
    given: Callable[[], Mapping[str, dict[str, Any]]],
) -> None:
    own = {names_of(program, field)[0].removeprefix(PREFIX) for field in program.fields()}
    assert set(elsewhere) <= own
    assert len(given()) == len(own) - len(elsewhere)
    keys = {
        value.key
        for value in _with_children(chart_docs.read_values((CHART / "values.yaml").read_text()))
    }
    for place in elsewhere.values():
        named = re.findall(r"[a-z]\w*\.\w+|podDeletionCost", place)
        assert set(named) <= keys, place
        assert named or place.startswith("nothing: ")


def test_the_agents_own_defaults_are_accepted_and_change_nothing() -> None:
    settings = chart_docs.agent_settings()
    defaults = {name: part["default"] for name, part in settings.items() if "default" in part}
    assert defaults["prefetch"] == 20
    assert {"holdLimit", "webhookHosts", "metrics"} <= set(defaults)
    assert _agent({"settings": defaults}) == _agent({})


def test_what_is_at_its_bounds_reaches_the_agent_and_what_is_beyond_is_refused() -> None:
    bounds = [
        (name, part[word], step)
        for name, part in chart_docs.agent_settings().items()
        for word, step in (("minimum", -1), ("maximum", 1))
        if word in part
    ]
    assert bounds
    for name, bound, step in bounds:
        assert isinstance(bound, int | float)
        _agent({"settings": {name: bound}})
        with pytest.raises(helm_python.HelmValuesError):
            _agent({"settings": {name: bound + step}})


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("referenceMaxBytes", 268435456, "268435456"),
        ("referenceMaxPixels", 100_000_000, "100000000"),
        ("visibilityTimeout", 43_200, "43200"),
        ("presign", 604_800, "604800"),
        ("holdLimit", 0.5, "0.5"),
        ("switchModels", False, "false"),
        ("webhookHosts", ["a.example.com", "*.b.example.com"], "a.example.com,*.b.example.com"),
        ("otlpProtocol", "http/protobuf", "http/protobuf"),
    ],
)
def test_a_setting_is_rendered_as_the_agent_reads_it(name: str, value: Any, text: str) -> None:
    variable = PREFIX + re.sub(r"([A-Z])", r"_\1", name).upper()
    assert _variables({"settings": {name: value}})[variable] == text


def test_metrics_that_are_pushed_go_where_the_chart_says_though_nothing_is_traced() -> None:
    own = {
        "agent": {"settings": {"metrics": "otlp"}},
        "telemetry": {"endpoint": "https://otlp.example.com"},
    }
    options = telemetry_options(Settings.load(_rendered(own)))
    assert options.metrics == "otlp"
    assert options.traces == "off"
    assert options.endpoint == "https://otlp.example.com"


def _samples(program: str) -> dict[str, Any]:
    """Something for each setting that the values of a program may hold."""
    schema = chart_docs.generated()[CHART / "values.schema.json"]
    settings = helm_python.values_from_yaml(schema)["properties"][program]["properties"]["settings"]
    sample = {
        "boolean": True,
        "number": 5,
        "integer": 5,
        "array": ["a.example.com"],
        "string": "/a",
    }
    return {
        name: part["enum"][0] if "enum" in part else sample[part["type"]]
        for name, part in settings["properties"].items()
    }


def _agent(values: dict[str, Any]) -> Settings:
    """The agent's settings where the chart has these values for it."""
    return Settings.load(_variables(values))


def _variables(values: dict[str, Any]) -> dict[str, str]:
    return _rendered({"agent": values})


def _rendered(values: dict[str, Any]) -> dict[str, str]:
    template = next(pod_templates(render(merged(example(BASE), values))))
    return environment(containers(template)["agent"])


def _with_children(values: Iterable[chart_docs.Value]) -> Iterator[chart_docs.Value]:
    for value in values:
        yield value
        yield from _with_children(value.children)


def _templates(values: dict[str, Any]) -> Iterator[list[dict[str, Any]]]:
    for template in pod_templates(render(values)):
        yield list(containers(template).values())
