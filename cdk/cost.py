"""What a deployment costs a month, from the prices below: `python cdk/cost.py [IMAGES]`."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

HOURS: Final = 730
MILLION: Final = 1_000_000

PRICES: Final = {
    "EKS cluster, hour": 0.10,
    "m7g.large, hour": 0.0816,
    "NAT gateway, hour": 0.045,
    "g6.xlarge, hour": 0.805,
    "API Gateway, million requests": 3.50,
    "Lambda, million requests": 0.20,
    "Lambda on Arm, GB-second": 0.0000133334,
    "SNS, million publications": 0.50,
    "SQS, million requests": 0.40,
    "S3, million writes": 5.00,
    "S3, million reads": 0.40,
    "S3, GB-month": 0.023,
    "CloudWatch alarm": 0.10,
    "CloudWatch dashboard": 3.00,
}
"""USD, us-east-1, on demand, without free tiers."""


@dataclass(frozen=True)
class MonthlyLoad:
    """What is asked of a deployment like examples/minimal.yaml in a month."""

    images: int = MILLION
    gpu_seconds: float = 2.0
    """Per image, `timings.run` of the notifications."""
    busy: float = 0.9
    """Share of a paid GPU's time in which it works."""
    image_megabytes: float = 0.5
    lambda_seconds: float = 0.1


@dataclass(frozen=True)
class Position:
    """One line of the bill."""

    what: str
    how: str
    usd: float


def bill(load: MonthlyLoad) -> Iterator[Position]:
    """The lines, what runs without any load first."""
    price, jobs = PRICES, load.images / MILLION
    yield Position("EKS", f"{HOURS} h", HOURS * price["EKS cluster, hour"])
    yield Position("system nodes", f"2 for {HOURS} h", 2 * HOURS * price["m7g.large, hour"])
    yield Position("NAT gateway", f"{HOURS} h, without data", HOURS * price["NAT gateway, hour"])
    watching = 5 * price["CloudWatch alarm"] + price["CloudWatch dashboard"]
    yield Position("CloudWatch", "5 alarms, 1 dashboard, without logs", watching)
    yield Position("API Gateway", "1 per job", jobs * price["API Gateway, million requests"])
    gigabyte_seconds = load.images * load.lambda_seconds * 0.5
    computing = gigabyte_seconds * price["Lambda on Arm, GB-second"]
    asking = jobs * price["Lambda, million requests"]
    yield Position("Lambda", f"{load.lambda_seconds} s at 0.5 GB per job", asking + computing)
    yield Position("SNS", "2 per job", 2 * jobs * price["SNS, million publications"])
    yield Position("SQS", "3 per job", 3 * jobs * price["SQS, million requests"])
    requests = 2 * jobs * price["S3, million writes"] + 3 * jobs * price["S3, million reads"]
    yield Position("S3 requests", "2 writes, 3 reads per job", requests)
    gigabytes = load.images * load.image_megabytes / 1000
    keeping = gigabytes * price["S3, GB-month"]
    yield Position("S3 storage", f"{gigabytes:,.0f} GB, the first month's", keeping)
    hours = load.images * load.gpu_seconds / 3600 / load.busy
    how = f"{load.gpu_seconds} s per image ÷ {load.busy} busy = {hours:,.0f} h"
    yield Position("GPU nodes", how, hours * price["g6.xlarge, hour"])


def table(load: MonthlyLoad) -> str:
    """The bill in Markdown."""
    positions = list(bill(load))
    total = sum(position.usd for position in positions)
    rows = [f"| {it.what} | {it.how} | {it.usd:,.2f} |" for it in positions]
    each = f"{1000 * total / load.images:,.3f} per 1,000 images"
    head = ["| Position | How much | USD a month |", "|---|---|---|"]
    return "\n".join([*head, *rows, f"| **together** | {each} | **{total:,.2f}** |"])


if __name__ == "__main__":
    images = int(sys.argv[1]) if len(sys.argv) > 1 else MILLION
    sys.stdout.write(table(MonthlyLoad(images=images)) + "\n")
