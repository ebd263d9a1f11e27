"""The alerts and the dashboard that the chart brings."""

import json
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
FILES = ROOT / "charts" / "queue-agent" / "files"
RULES = FILES / "rules" / "queue-agent.yaml"
DASHBOARD = FILES / "dashboards" / "queue-agent.json"
FROM_ELSEWHERE = {"up", "process_cpu_seconds_total"}

ALERTS: list[dict[str, Any]] = yaml.safe_load(RULES.read_text())["groups"][0]["rules"]
PANELS = [panel for panel in json.loads(DASHBOARD.read_text())["panels"] if "targets" in panel]
QUERIES = {
    f"{panel['title']}, {target['legendFormat']}": target["expr"]
    for panel in PANELS
    for target in panel["targets"]
}


def asked(query: str) -> str:
    """A dashboard's query as Grafana sends it, with its variables filled in."""
    return query.replace("$__rate_interval", "20s").replace("$runtime", ".*")
