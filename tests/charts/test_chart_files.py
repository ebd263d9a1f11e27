"""Rules and dashboards, which are rendered from the chart's `files` folder where it has any."""

import json
import shutil
from pathlib import Path

import pytest
import yaml
from chart_rendering import BASE, CHART, example, kinds, merged, only, render

ENABLED = {"metrics": {"prometheusRule": {"enabled": True}, "dashboards": {"enabled": True}}}
RULES = {
    "groups": [
        {
            "name": "agent",
            "rules": [
                {
                    "alert": "AgentDown",
                    "expr": 'up{job="agent"} == 0',
                    "annotations": {"summary": "{{ $labels.pod }} is down"},
                }
            ],
        }
    ]
}


@pytest.fixture
def chart(tmp_path: Path) -> Path:
    """A copy of the chart without files."""
    return Path(
        shutil.copytree(CHART, tmp_path / "queue-agent", ignore=shutil.ignore_patterns("files"))
    )


def test_without_files_there_is_no_rule_and_no_dashboard(chart: Path) -> None:
    manifests = render(merged(example(BASE), ENABLED), chart=chart)
    assert not kinds(manifests) & {"PrometheusRule", "ConfigMap"}


def test_rules_and_dashboards_are_taken_over_as_they_are(chart: Path) -> None:
    dashboard = json.dumps({"title": "Agent", "legend": "{{pod}}"})
    for path, text in {
        "rules/a.yaml": yaml.safe_dump(RULES),
        "dashboards/a.json": dashboard,
    }.items():
        (chart / "files" / path).parent.mkdir(parents=True)
        (chart / "files" / path).write_text(text)
    manifests = render(merged(example(BASE), ENABLED), chart=chart)
    assert only(manifests, "PrometheusRule")["spec"] == RULES
    config = only(manifests, "ConfigMap")
    assert config["data"] == {"a.json": dashboard}
    assert config["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert not kinds(render(example(BASE), chart=chart)) & {"PrometheusRule", "ConfigMap"}


def test_the_rules_of_the_chart_itself_are_valid_yaml_with_groups() -> None:
    for path in (CHART / "files").glob("rules/*.yaml"):
        assert yaml.safe_load(path.read_text())["groups"]
