"""The bill counts what is paid for, and its GPU nodes are those of the planning's simulation."""

import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache

import cost
import pytest
from assembly import CDK, EXAMPLES

from queue_agent.planning.nodes import Circumstances

README = (CDK / "README.md").read_text()
SMALL = 20_000


@pytest.fixture(autouse=True, scope="module")
def simulated_once() -> Iterator[None]:
    """What only the bill looks at makes no other simulation."""
    simulated = cache(cost.simulated)

    def looked_up(load: cost.MonthlyLoad) -> Sequence[cost.Fleet]:
        return simulated(replace(load, hub_gigabytes=0.0, nat_gateways=1))

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(cost, "simulated", looked_up)
        yield


def small(**load: float) -> cost.MonthlyLoad:
    """That is simulated quickly."""
    return cost.MonthlyLoad(**{"images": SMALL, "most_days": 2, **load})  # type: ignore[arg-type]


def lines(**load: float) -> dict[str, float]:
    """USD by position."""
    return {it.what: it.usd for it in cost.bill(small(**load))}


def fleet_of(load: cost.MonthlyLoad) -> cost.Fleet:
    (fleet,) = cost.simulated(load)
    return fleet


def test_the_bill_in_the_readme_is_the_computed_one() -> None:
    assert cost.table(cost.MonthlyLoad()) in README
    assert cost.prices() in README


def test_gpu_nodes_cost_what_the_plan_of_the_same_fleet_says() -> None:
    """A row of `queue-agent plan --days 7`, which docs/planning.md shows."""
    planning = (CDK.parent / "docs" / "planning.md").read_text()
    (row, *_) = re.findall(r"(?m)^\| work \|(.*)\|$", planning)
    gpu_hours, busy, per_1000 = (cell.strip() for cell in row.split("|")[4:7])
    fleet = fleet_of(cost.MonthlyLoad())
    assert f"{fleet.usd / 1000:.3f}" == per_1000
    assert f"{fleet.outcome.gpu_seconds / 3600:.1f}" == gpu_hours
    assert f"{100 * fleet.busy:.0f} %" == busy


def test_idle_time_is_paid() -> None:
    fleet = fleet_of(small())
    bill = lines()
    assert bill["GPU nodes, at work"] + bill["GPU nodes, idle"] == pytest.approx(fleet.usd)
    assert bill["GPU nodes, idle"] > bill["GPU nodes, at work"]
    assert bill["GPU nodes, at work"] == pytest.approx(
        SMALL * 2 / 3600 * Circumstances().nodes[0].usd, rel=1e-6
    )


def test_the_nat_gateway_is_paid_by_hours_and_gigabytes() -> None:
    bill, of_hub = lines(), lines(hub_gigabytes=10, nat_gateways=3)
    assert bill["NAT gateway"] == pytest.approx(730 * 0.045)
    assert of_hub["NAT gateway"] == pytest.approx(3 * 730 * 0.045)
    fleet = fleet_of(small())
    assert of_hub["NAT gateway, models of a hub"] == pytest.approx(fleet.pods_started * 10 * 0.045)
    assert bill["NAT gateway, images"] == pytest.approx(fleet.nodes_started * 0.2 * 0.045)
    assert bill["NAT gateway, calls"] == pytest.approx(SMALL * 40 / 1e6 * 0.045)
    assert "NAT gateway, models of a hub" not in bill
    assert "S3 requests, models of the bucket" not in of_hub


@pytest.mark.parametrize(
    ("gpus", "node", "pods_a_node"), [(1, 0, 1), (2, 1, 2), (4, 1, 1), (8, 2, 1)]
)
def test_a_pod_of_several_gpus_pays_for_its_share_of_the_node(
    gpus: int, node: int, pods_a_node: int
) -> None:
    kind = Circumstances().nodes[node]
    fleet = fleet_of(small(gpus=gpus))
    assert fleet.pods_a_node == pods_a_node
    assert fleet.usd == pytest.approx(fleet.node_hours * kind.usd)
    assert fleet.gpu_hours == pytest.approx(fleet.node_hours * kind.gpus)


def test_another_price_of_a_gpu_counts() -> None:
    assert lines(gpu_price=0.4)["GPU nodes, idle"] == pytest.approx(
        lines()["GPU nodes, idle"] * 0.4 / Circumstances().nodes[0].usd
    )


def test_both_fleets_are_paid_where_urgent_jobs_go_on_demand() -> None:
    load = small(gpu_seconds=300, on_demand_pods=0, within=600)
    on_demand, spot = cost.simulated(load)
    assert on_demand.outcome.with_deadline > 0
    jobs = len(on_demand.outcome.waits) + len(spot.outcome.waits)
    assert jobs * spot.scale == pytest.approx(SMALL)
    usd = Circumstances().nodes[0].usd
    assert on_demand.usd == pytest.approx(on_demand.node_hours * usd)
    assert spot.usd == pytest.approx(spot.node_hours * usd / 2)
    bill = {it.what: it.usd for it in cost.bill(load)}
    for fleet in (on_demand, spot):
        paid = bill[f"{fleet.nodes}, at work"] + bill[f"{fleet.nodes}, idle"]
        assert paid == pytest.approx(fleet.usd)
    nodes = on_demand.nodes_started + spot.nodes_started
    assert bill["NAT gateway, images"] == pytest.approx(nodes * 0.2 * 0.045)


def test_an_on_demand_pod_that_stays_is_paid_all_month() -> None:
    none, one = (cost.simulated(small(on_demand_pods=pods)) for pods in (0, 1))
    assert none[0].node_hours < 100
    assert one[0].node_hours == pytest.approx(cost.HOURS, rel=0.05)


def test_a_runtime_of_a_configuration_is_billed_as_it_is_there() -> None:
    load = cost.of_config(cost.MonthlyLoad(), EXAMPLES["deadlines"], None)
    assert (load.gpu_seconds, load.on_demand_pods, load.max_pods) == (300, 0, 20)
    load = cost.of_config(cost.MonthlyLoad(), EXAMPLES["two-runtimes"], "comfyui")
    assert load.on_demand_pods is None


def test_every_price_names_its_page() -> None:
    for name, price in cost.PRICES.items():
        assert re.fullmatch(r"[a-z0-9-]+(/[a-z-]+)*/", price.page), name
        assert re.fullmatch(r"(20\d\d(-\d\d)?)?", price.seen), name


def test_the_commands_of_the_readme_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = re.findall(r"`python cdk/cost.py(?: ([^`]*))?`", README)
    assert {"--hub 7", "--within 600 --config cdk/examples/deadlines.yaml"} <= {*found}
    (total, of_models) = re.findall(r"the bill is ([\d,.]+) USD, ([\d,.]+) of it", README)[0]
    whole = cost.table(cost.MonthlyLoad(hub_gigabytes=7))
    assert f"**{total}**" in whole
    assert f"| {of_models} |" in whole
    monkeypatch.chdir(CDK.parent)
    monkeypatch.setattr(cost, "LONGEST_SIMULATED", 1)
    for arguments in found:
        cost.main([*arguments.split(), str(SMALL)])
        assert "| **together** |" in capsys.readouterr().out


def test_it_is_a_program() -> None:
    command = [sys.executable, CDK / "cost.py", "--prices"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert cost.prices() in done.stdout


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["0"], "are more than 0"),
        (["1000", "--gpus", "20"], "no node has 20 GPUs"),
        (["--seconds", "-1"], "are more than 0"),
        (["--config", "nowhere.yaml"], "nowhere.yaml"),
        (["--config", str(EXAMPLES["deadlines"]), "--runtime", "no"], "no runtime no: videos"),
    ],
)
def test_what_makes_no_sense_is_refused_in_words(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        cost.main(arguments)
    assert ended.value.code == 2
    assert told in capsys.readouterr().err
