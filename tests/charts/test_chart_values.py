"""The schema of the values, and what is generated from their comments."""

import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import helm_python
import pytest
from chart_rendering import (
    BASE,
    CHART,
    containers,
    example,
    merged,
    pod_templates,
    render,
    render_files,
)

from queue_agent.settings.agent import Settings, environment_names

sys.path.insert(0, str(CHART.parent))
import chart_docs

AWAITED = {
    "QUEUE_AGENT_JOB_TOPIC_ARN",
}
"""Variables the chart sets that are no field of `Settings`: other commands or parts read them."""


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"scaling": {"maxReplicas": "ten"}}, ["maxReplicas", "integer"]),
        ({"scaling": {"maxReplica": 10}}, ["maxReplica", "not allowed"]),
        ({"replicas": 2}, ["replicas", "not allowed"]),
        ({"mode": "statefulset"}, ["mode", "deployment", "knative"]),
        ({"runtime": {"preset": "forge"}}, ["preset", "comfyui"]),
        ({"runtime": {"image": {"tag": "latest"}}}, ["tag"]),
        ({"agent": {"image": {"digest": "sha256:1"}}}, ["digest", "pattern"]),
        ({"agent": {"settings": {"prefetches": 2}}}, ["prefetches", "not allowed"]),
        ({"agent": {"settings": {"prefetch": 11}}}, ["prefetch", "10"]),
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
        assert "type" in leaf or "enum" in leaf


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


def test_every_variable_the_chart_can_set_is_one_that_is_read() -> None:
    schema = chart_docs.generated()[CHART / "values.schema.json"]
    settings = helm_python.values_from_yaml(schema)["properties"]["agent"]["properties"]["settings"]
    sample = {"boolean": True, "number": 5, "integer": 5, "array": ["a.example.com"]}
    values = {
        name: part["enum"][0] if "enum" in part else sample[part["type"]]
        for name, part in settings["properties"].items()
    }
    own = {
        "agent": {
            "settings": values,
            "runtimeAuth": {"secretName": "s"},
            "runtimeApiKey": {"secretName": "s"},
        },
        "runtime": {"name": "sdruntime"},
        "telemetry": {"traces": "otlp"},
        "gateway": {"enabled": True, "jobTopicArn": "arn:aws:sns:us-west-2:111122223333:jobs"},
    }
    rendered = [
        variable["name"]
        for mode in ("scaledobject", "scaledjob")
        for template in _templates(merged(example(BASE), merged(own, {"scaling": {"mode": mode}})))
        for container in template
        for variable in container.get("env", [])
        if variable["name"].startswith("QUEUE_AGENT_")
    ]
    known = {name for field in Settings.model_fields for name in environment_names(field)}
    assert set(rendered) - known <= AWAITED


def _templates(values: dict[str, Any]) -> Iterator[list[dict[str, Any]]]:
    for template in pod_templates(render(values)):
        yield list(containers(template).values())
