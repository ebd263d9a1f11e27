"""Alerts fire when they should; the dashboard asks for what there is."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from queue_agent.scaling.decision import QueuedWork
from queue_agent.scaling.metrics import ScalerMetrics
from telemetry.chart_files import ALERTS, DASHBOARD, FROM_ELSEWHERE, QUERIES, ROOT, RULES, asked
from telemetry.promtool import needs_promtool, promtool
from telemetry.reference import documented, documented_of_the_scaler


def metrics_in(query: str) -> set[str]:
    """The metrics that a query names."""
    without_labels = re.sub(r"\{[^}]*\}|\b(?:by|on)\s*\([^)]*\)", "", query)
    return set(re.findall(r"\b(?:queue_agent|process)_\w+|\bup\b", without_labels))


def known_metrics() -> set[str]:
    """Documented names, and those of a histogram's parts."""
    parts = {
        f"{name}_{part}"
        for name, (kind, _, _) in documented().items()
        if kind == "histogram"
        for part in ("bucket", "sum", "count")
    }
    return set(documented()) | documented_of_the_scaler() | parts | FROM_ELSEWHERE


@needs_promtool
def test_the_rules_are_valid() -> None:
    promtool("check", "rules", RULES)


@needs_promtool
def test_each_alert_fires_on_its_series_and_is_silent_on_healthy_ones() -> None:
    promtool("test", "rules", Path(__file__).with_name("rules.test.yaml"))


def test_each_alert_is_tested_firing_and_silent() -> None:
    tests = yaml.safe_load(Path(__file__).with_name("rules.test.yaml").read_text())["tests"]
    checks = [check for test in tests for check in test["alert_rule_test"]]
    names = {alert["alert"] for alert in ALERTS}
    assert {check["alertname"] for check in checks if check["exp_alerts"]} == names
    assert {check["alertname"] for check in checks if not check["exp_alerts"]} == names


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_an_alert_names_known_metrics_and_has_a_runbook(alert: dict[str, Any]) -> None:
    assert metrics_in(alert["expr"]) <= known_metrics()
    page = alert["annotations"]["runbook_url"].rpartition("/")[2]
    runbook = ROOT / "docs" / "runbooks" / page
    assert runbook.read_text().startswith(f"# {alert['alert']}\n")


@needs_promtool
def test_the_dashboards_queries_are_understood_by_prometheus(tmp_path: Path) -> None:
    rules = [
        {"record": f"panel:{number}", "expr": asked(query)}
        for number, query in enumerate(QUERIES.values())
    ]
    path = tmp_path / "dashboard.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    promtool("check", "rules", path)


WHERE_ASKED_FOR = {"queue_agent_warm_up_duration_seconds"}
"""Metrics of what few operators have: a panel of them would be empty for most."""


def test_the_dashboard_names_known_metrics_and_leaves_none_out() -> None:
    named = {name for query in QUERIES.values() for name in metrics_in(query)}
    assert named <= known_metrics()
    shown = {re.sub(r"_(bucket|sum|count)$", "", name) for name in named}
    assert set(documented()) - WHERE_ASKED_FOR <= shown
    assert documented_of_the_scaler() <= shown


def test_the_reference_names_what_the_scaler_shows() -> None:
    metrics = ScalerMetrics("sd")
    metrics.decided(1, QueuedWork(1, 1, 6.0, None), {"text-to-image": 6.0})
    page = metrics.page("")[0].decode()
    shown = set(re.findall(r"^(queue_agent_scaler_\w+)\{", page, re.MULTILINE))
    assert {name for name in shown if not name.endswith("_created")} == documented_of_the_scaler()


def test_panels_have_ids_of_their_own_and_do_not_overlap() -> None:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])
        }
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells
