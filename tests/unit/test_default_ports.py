"""What runs on one machine with its defaults stands beside the others."""

import inspect
from pathlib import Path

import pytest
import yaml

from queue_agent.cli import demo
from queue_agent.runtime.registry import installed_runtimes
from queue_agent.settings.agent import Settings
from queue_agent.settings.gateway import GatewaySettings
from queue_agent.settings.scaler import ScalerSettings
from queue_agent_diffusers.command import serve_diffusers

CHART = Path(__file__).parents[2] / "charts" / "queue-agent"
GATEWAY = GatewaySettings.model_fields["port"].default
HEALTH = Settings.model_fields["health_port"].default
SCALER = ScalerSettings.model_fields["port"].default
BUNDLED = inspect.signature(serve_diffusers).parameters["port"].default


def usual_ports_of_runtimes() -> set[int]:
    adapters = [entry.load() for entry in installed_runtimes().values()]
    return {int(adapter.default_url.rpartition(":")[2]) for adapter in adapters}


def test_no_two_programs_listen_on_the_same_port() -> None:
    own = [GATEWAY, HEALTH, SCALER, BUNDLED]
    assert len(set(own)) == len(own)


def test_none_of_them_takes_the_port_of_a_runtime_that_it_stands_beside() -> None:
    runtimes = usual_ports_of_runtimes()
    assert {7860, 8188, BUNDLED} <= runtimes
    assert not runtimes & {GATEWAY, HEALTH, SCALER}


def test_the_chart_has_the_same_ports() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    assert values["gateway"]["port"] == GATEWAY
    assert values["agent"]["healthPort"] == HEALTH
    assert values["scaling"]["work"]["port"] == SCALER


def test_the_demos_page_is_where_the_gateways_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "free_port", lambda: GATEWAY)  # where somebody listens there now
    assert demo._page_port() == GATEWAY


@pytest.mark.parametrize("page", ["docs/gateway.md", "examples/curl.sh", "examples/README.md"])
def test_pages_name_the_gateways_port(page: str) -> None:
    assert f"127.0.0.1:{GATEWAY}" in (CHART.parents[1] / page).read_text()
