"""What a deployment costs a month: `python cdk/cost.py [IMAGES]`, more by `--help`.

What the GPU nodes do comes from the simulation of `queue-agent plan`, under the chart's own values,
scaled by work as the releases are; the prices are below, each with its page. Assumptions that are
no price are `MonthlyLoad`'s, and may come from a runtime of a configuration.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from image_service.chart_values import defaults, value_of
from image_service.config import Config, ConfigError

from queue_agent.planning.arrivals import DAYS_A_MONTH, Shape, shaped
from queue_agent.planning.capacity import SplitSimulation, some_within
from queue_agent.planning.nodes import Circumstances, GpuNode
from queue_agent.planning.outcome import FleetOutcome
from queue_agent.planning.policy import (
    FleetPolicy,
    by_work,
    chart,
    chart_values,
    limited,
)
from queue_agent.planning.simulation import Simulation

HOURS: Final = 730
MILLION: Final = 1_000_000
SIMULATED_JOBS: Final = 230_000
"""About so many are simulated, of whole days; the bill is that of the month in proportion."""
LONGEST_SIMULATED: Final = 14
"""Days."""

_AWS: Final = "https://aws.amazon.com/"


@dataclass(frozen=True)
class Price:
    """In us-east-1, on demand, without free tiers."""

    usd: float
    page: str
    """Of AWS, after its host's name."""
    seen: str = ""
    """When it was compared with the page's words; empty: never, so do that for your region."""


PRICES: Final = {
    "EKS cluster, hour": Price(0.10, "eks/pricing/", "2026"),
    "m7g.large, hour": Price(0.0816, "ec2/pricing/on-demand/"),
    "gp3, GB-month": Price(0.08, "ebs/pricing/"),
    "gp3, IOPS-month beyond 3,000": Price(0.005, "ebs/pricing/"),
    "gp3, MiB/s-month beyond 125": Price(0.04, "ebs/pricing/"),
    "NAT gateway, hour": Price(0.045, "vpc/pricing/", "2026-09"),
    "NAT gateway, GB": Price(0.045, "vpc/pricing/", "2026-09"),
    "API Gateway, million requests": Price(3.50, "api-gateway/pricing/", "2026"),
    "Lambda, million requests": Price(0.20, "lambda/pricing/", "2026-09"),
    "Lambda on Arm, GB-second": Price(0.0000133334, "lambda/pricing/"),
    "SNS, million publications": Price(0.50, "sns/pricing/"),
    "SQS, million requests": Price(0.40, "sqs/pricing/"),
    "S3, million writes": Price(5.00, "s3/pricing/"),
    "S3, million reads": Price(0.40, "s3/pricing/"),
    "S3, GB-month": Price(0.023, "s3/pricing/"),
    "CloudWatch alarm": Price(0.10, "cloudwatch/pricing/"),
    "CloudWatch dashboard": Price(3.00, "cloudwatch/pricing/"),
}


@dataclass(frozen=True)
class MonthlyLoad:
    """What is asked in a month of a deployment like examples/minimal.yaml, and what is assumed."""

    images: int = MILLION
    gpu_seconds: float = 2.0
    """Per image, `timings.run` of the notifications; `job_seconds` says the same."""
    gpus: int = 1
    """Of a pod."""
    gpu_price: float | None = None
    """USD an hour of a GPU; None: g6 on demand, as `docs/planning.md` has it."""
    min_pods: int = 0
    max_pods: int = 200
    on_demand_pods: int | None = None
    """There are two fleets, on spot and on demand, and of the latter so many pods stay; None: one
    fleet, of nodes at `gpu_price`."""
    spot_price: float | None = None
    """USD an hour of a GPU, where there are two fleets; None: half of on demand."""
    interruptions: float = 0.05
    """Of a spot node, each hour, where there are two fleets."""
    deadlines: float = 0.2
    """The share of jobs that have one, which matters where there are two fleets."""
    within: float = 60.0
    """Seconds from a job to its deadline."""
    most_days: int | None = None
    """That are simulated; None: `LONGEST_SIMULATED`."""
    nat_gateways: int = 1
    hub_gigabytes: float = 0.0
    """Downloaded from a model hub at each start of a pod; 0: models are in the bucket."""
    model_gigabytes: float = 7.0
    """Copied from the bucket at each start of a pod, where they are there."""
    image_megabytes: float = 0.5
    lambda_seconds: float = 0.1
    job_kilobytes: float = 40.0
    """Through the NAT gateway: calls of SQS, SNS and X-Ray, and jobs themselves."""
    public_image_gigabytes: float = 0.2
    """Through the NAT gateway to each new node: the collector and aws-cli, not of your registry."""


@dataclass(frozen=True)
class Position:
    """One line of the bill."""

    what: str
    how: str
    usd: float


@dataclass(frozen=True)
class Fleet:
    """The GPU nodes of the month, or those of one capacity type."""

    nodes: str
    """What they are called in the bill."""
    outcome: FleetOutcome
    scale: float
    """From what was simulated to the month."""
    gpus: int
    pods_a_node: int

    @property
    def node_hours(self) -> float:
        return self.outcome.gpu_seconds / self.pods_a_node / 3600 * self.scale

    @property
    def gpu_hours(self) -> float:
        return self.outcome.gpu_seconds * self.gpus / 3600 * self.scale

    @property
    def busy(self) -> float:
        """Share of the paid GPU-hours."""
        paid = self.outcome.gpu_seconds
        return self.outcome.busy_seconds / paid if paid else 0.0

    @property
    def usd(self) -> float:
        return self.outcome.usd * self.scale

    @property
    def pods_started(self) -> float:
        return self.outcome.pods_started * self.scale

    @property
    def nodes_started(self) -> float:
        return self.outcome.nodes_started * self.scale


def simulated(load: MonthlyLoad) -> Sequence[Fleet]:
    """The fleet under the chart's values, on a daily curve; or the two, on demand and on spot.

    Raises:
        ValueError: no node has so many GPUs, or so few images make no curve.
    """
    node = next((it for it in Circumstances().nodes if it.gpus >= load.gpus), None)
    if node is None:
        raise ValueError(f"no node has {load.gpus} GPUs")
    usd = node.usd if load.gpu_price is None else load.gpu_price * node.gpus
    pods_a_node = node.gpus // load.gpus
    most = LONGEST_SIMULATED if load.most_days is None else load.most_days
    days = min(most, max(1, round(SIMULATED_JOBS * DAYS_A_MONTH / load.images)))
    jobs = shaped(
        Shape.DAILY, jobs_a_month=load.images, seconds=load.gpu_seconds, days=days, seed=1
    )
    if not jobs:
        raise ValueError(f"{load.images} images a month are too few for a curve")
    given = Circumstances(nodes=(GpuNode(pods_a_node, usd),))
    policy = _policy(load, given)
    scale = load.images / len(jobs)
    if load.on_demand_pods is None:
        outcome = Simulation(jobs, policy, given).run()
        return (Fleet("GPU nodes", outcome, scale, load.gpus, pods_a_node),)
    usd = usd / 2 if load.spot_price is None else load.spot_price * node.gpus
    spot = replace(given, nodes=(GpuNode(pods_a_node, usd),), interruptions=load.interruptions)
    jobs = some_within(jobs, load.deadlines, load.within, seed=1)
    both = SplitSimulation(jobs, policy, given, spot, on_demand_pods=load.on_demand_pods)
    return tuple(
        Fleet(f"GPU nodes {name}", outcome, scale, load.gpus, pods_a_node)
        for name, outcome in zip(("on demand", "on spot"), both.run_each(), strict=True)
    )


def _policy(load: MonthlyLoad, given: Circumstances) -> FleetPolicy:
    """As the app makes releases: the chart's values, and by work."""
    values = chart_values()
    usual = replace(chart(values, load.gpu_seconds), min_pods=load.min_pods)
    wait = values["scaling"]["work"]["wait"]
    return limited(by_work(usual, wait, given.pod_start), load.max_pods)


def bill(load: MonthlyLoad) -> Iterator[Position]:
    """The lines, what runs without any load first."""
    fleets = simulated(load)
    yield from _standing(load)
    yield from _jobs(load)
    yield from _through_nat(load, fleets)
    yield _disks(fleets)
    for fleet in fleets:
        yield from _gpus(load, fleet)


def _usd(price: str, amount: float) -> float:
    return amount * PRICES[price].usd


def _standing(load: MonthlyLoad) -> Iterator[Position]:
    yield Position("EKS", f"{HOURS} h", _usd("EKS cluster, hour", HOURS))
    yield Position("system nodes", f"2 for {HOURS} h", _usd("m7g.large, hour", 2 * HOURS))
    hours = load.nat_gateways * HOURS
    yield Position("NAT gateway", f"{hours} h", _usd("NAT gateway, hour", hours))
    watching = _usd("CloudWatch alarm", 5) + _usd("CloudWatch dashboard", 1)
    yield Position("CloudWatch", "5 alarms, 1 dashboard, without logs", watching)


def _jobs(load: MonthlyLoad) -> Iterator[Position]:
    millions = load.images / MILLION
    usd = _usd("API Gateway, million requests", millions)
    yield Position("API Gateway", "1 per job", usd)
    computing = _usd("Lambda on Arm, GB-second", load.images * load.lambda_seconds * 0.5)
    asking = _usd("Lambda, million requests", millions)
    yield Position("Lambda", f"{load.lambda_seconds} s at 0.5 GB per job", asking + computing)
    yield Position("SNS", "2 per job", _usd("SNS, million publications", 2 * millions))
    yield Position("SQS", "3 per job", _usd("SQS, million requests", 3 * millions))
    requests = _usd("S3, million writes", 2 * millions) + _usd("S3, million reads", 3 * millions)
    yield Position("S3 requests", "2 writes, 3 reads per job", requests)
    gigabytes = load.images * load.image_megabytes / 1000
    usd = _usd("S3, GB-month", gigabytes)
    yield Position("S3 storage", f"{gigabytes:,.0f} GB, the first month's", usd)


def _through_nat(load: MonthlyLoad, fleets: Sequence[Fleet]) -> Iterator[Position]:
    calls = load.images * load.job_kilobytes / MILLION
    nodes, pods = (
        sum(of) for of in zip(*((it.nodes_started, it.pods_started) for it in fleets), strict=True)
    )
    for what, how, gigabytes in (
        ("calls", f"{load.job_kilobytes:g} kB per job", calls),
        (
            "images",
            f"{load.public_image_gigabytes:g} GB to each of {nodes:,.0f} nodes",
            nodes * load.public_image_gigabytes,
        ),
        (
            "models of a hub",
            f"{load.hub_gigabytes:g} GB to each of {pods:,.0f} pods",
            pods * load.hub_gigabytes,
        ),
    ):
        if gigabytes:
            yield Position(f"NAT gateway, {what}", how, _usd("NAT gateway, GB", gigabytes))
    if not load.hub_gigabytes:
        reads = pods * load.model_gigabytes * 1000 / 8
        how = f"{load.model_gigabytes:g} GB to each of {pods:,.0f} pods, by 8 MB"
        usd = _usd("S3, million reads", reads / MILLION)
        yield Position("S3 requests, models of the bucket", how, usd)


def _disks(fleets: Sequence[Fleet]) -> Position:
    hours = sum(fleet.node_hours for fleet in fleets)
    node = value_of(defaults(), "karpenter", "nodeClass")
    data = node["dataVolume"]
    gigabytes = _gibibytes(data["size"]) + _gibibytes(node["rootVolume"]["size"])
    a_month = (
        _usd("gp3, GB-month", gigabytes)
        + _usd("gp3, IOPS-month beyond 3,000", data["iops"] - 3_000)
        + _usd("gp3, MiB/s-month beyond 125", data["throughput"] - 125)
    )
    how = f"{gigabytes} GB for {hours:,.0f} node-hours"
    return Position("disks of GPU nodes", how, a_month / HOURS * hours)


def _gpus(load: MonthlyLoad, fleet: Fleet) -> Iterator[Position]:
    busy = fleet.gpu_hours * fleet.busy
    by = f" on {load.gpus} GPUs" if load.gpus > 1 else ""
    hours = f"{busy:,.0f} GPU-hours, by {fleet.outcome.most_pods} pods"
    how = f"{load.gpu_seconds:g} s per image{by} = {hours}"
    yield Position(f"{fleet.nodes}, at work", how, fleet.usd * fleet.busy)
    idle = fleet.gpu_hours - busy
    lost = ", done in vain" if fleet.outcome.killed else ""
    how = f"{idle:,.0f} GPU-hours: starting, waiting, leaving{lost}"
    yield Position(f"{fleet.nodes}, idle", how, fleet.usd * (1 - fleet.busy))


def _gibibytes(size: str) -> int:
    return int(size.removesuffix("Gi"))


def table(load: MonthlyLoad) -> str:
    """The bill in Markdown."""
    positions = list(bill(load))
    total = sum(position.usd for position in positions)
    rows = [f"| {it.what} | {it.how} | {it.usd:,.2f} |" for it in positions]
    each = f"{1000 * total / load.images:,.3f} per 1,000 images"
    head = ["| Position | How much | USD a month |", "|---|---|---|"]
    return "\n".join([*head, *rows, f"| **together** | {each} | **{total:,.2f}** |"])


def prices() -> str:
    """All prices with their pages, in Markdown."""
    gpu = Circumstances().nodes
    rows = [
        f"| GPU node of {it.gpus}, hour | {it.usd:g} | [planning](../docs/planning.md) | 2026-11 |"
        for it in gpu
    ]
    for name, price in PRICES.items():
        page = f"[{price.page.removesuffix('/')}]({_AWS}{price.page})"
        usd = f"{price.usd:.10f}".rstrip("0").rstrip(".")
        rows.append(f"| {name} | {usd} | {page} | {price.seen or 'never'} |")
    return "\n".join(["| Price | USD | From | Seen |", "|---|---|---|---|", *rows])


def of_config(load: MonthlyLoad, path: Path, name: str | None) -> MonthlyLoad:
    """The same, of a runtime as a configuration has it; without a name, of its first one.

    Raises:
        ConfigError: it cannot be read.
        ValueError: it has no such runtime.
    """
    runtimes = Config.load(path).runtimes
    found = [it for it in runtimes if name in {None, it.name}]
    if not found:
        raise ValueError(f"{path}: no runtime {name}: {', '.join(it.name for it in runtimes)}")
    return replace(
        load,
        gpu_seconds=found[0].job_seconds,
        gpus=found[0].gpus,
        min_pods=found[0].min_pods,
        max_pods=found[0].max_pods,
        on_demand_pods=found[0].on_demand_pods,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = _parser()
    asked = vars(parser.parse_args(arguments))
    shows_prices, config, name = (asked.pop(it) for it in ("prices", "config", "runtime"))
    said: dict[str, Any] = {key: value for key, value in asked.items() if value is not None}
    try:
        load = MonthlyLoad() if config is None else of_config(MonthlyLoad(), config, name)
        load = replace(load, **said)
        if min(load.images, load.gpu_seconds, load.gpus, load.within) <= 0:
            parser.error("images, --seconds, --gpus and --within are more than 0")
        sys.stdout.write((prices() if shows_prices else table(load)) + "\n")
    except (ConfigError, ValueError) as error:
        parser.error(str(error))


def _parser() -> argparse.ArgumentParser:
    """Its options are called as the fields of `MonthlyLoad` that they set."""
    parser = argparse.ArgumentParser(description="What a deployment costs a month, in USD.")
    parser.add_argument("images", nargs="?", type=int)
    parser.add_argument("--config", type=Path, help="take seconds, GPUs and pods from it")
    parser.add_argument("--runtime", help="of the configuration; else its first one")

    def option(name: str, field: str, kind: type, words: str) -> None:
        parser.add_argument(name, dest=field, type=kind, help=words, metavar=kind.__name__.upper())

    option("--seconds", "gpu_seconds", float, "of an image")
    option("--gpus", "gpus", int, "of a pod")
    option("--gpu-price", "gpu_price", float, "USD an hour of a GPU (spot, where all are spot)")
    option("--nat-gateways", "nat_gateways", int, "in the network")
    option("--hub", "hub_gigabytes", float, "GB of a model hub at each start of a pod")
    option("--on-demand-pods", "on_demand_pods", int, "two fleets: spot, and on demand beside it")
    option("--spot-price", "spot_price", float, "with two fleets; else half of on demand")
    option("--interruptions", "interruptions", float, "of a spot node an hour; else 0.05")
    option("--deadlines", "deadlines", float, "share of jobs that have one; else 0.2")
    option("--within", "within", float, "seconds to it; else 60")
    parser.add_argument("--prices", action="store_true", help="show the prices instead")
    return parser


if __name__ == "__main__":
    main()
