"""Which policy is the cheapest that keeps a wanted wait, and the chart's values for it."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from queue_agent.planning.arrivals import ExpectedJob
from queue_agent.planning.nodes import Circumstances
from queue_agent.planning.outcome import FleetOutcome
from queue_agent.planning.policy import (
    FleetPolicy,
    by_work,
    chart,
    chart_values,
    limited,
    messages_for,
)
from queue_agent.planning.simulation import Simulation
from queue_agent.scaling.decision import ScalingAim

_WAITS: Final = (3.0, 6.0, 12.0, 24.0, 48.0)
"""Seconds of work for each pod that are tried."""
_SHORTEST: Final = 1.0
"""Second that is aimed at, where no wait at all is wanted."""
_FEWEST: Final = (0, 1, 2)
"""Pods that stay without work that are tried."""


@dataclass(frozen=True, slots=True)
class Recommendation:
    """A policy, what it did, and whether 95 % of the jobs waited no longer than was wanted."""

    policy: FleetPolicy
    outcome: FleetOutcome
    kept: bool


def recommend(
    jobs: Sequence[ExpectedJob],
    circumstances: Circumstances,
    *,
    seconds: float,
    wait: float,
    most: int,
) -> Recommendation:
    """The cheapest policy of those tried that keeps the wait; where none does, the quickest."""
    tried = [
        (policy, Simulation(jobs, policy, circumstances).run())
        for policy in _candidates(seconds, wait, circumstances.pod_start, most)
    ]
    good = [it for it in tried if it[1].wait(95) <= wait and not it[1].killed]
    if good:
        policy, outcome = min(good, key=lambda it: it[1].usd)
    else:
        policy, outcome = min(tried, key=lambda it: (it[1].wait(95), it[1].usd))
    return Recommendation(policy, outcome, kept=bool(good))


def _candidates(seconds: float, wait: float, start: float, most: int) -> Iterator[FleetPolicy]:
    """The chart's policy by length and by work, by other lengths, aims and fewest pods."""
    usual = replace(limited(chart(chart_values(), seconds), most), name="recommended")
    lengths = dict.fromkeys(messages_for(wait, seconds) for wait in _WAITS)
    for fewest in _FEWEST:
        fleet = replace(usual, min_pods=min(fewest, most))
        for length in lengths:
            yield replace(fleet, queue_length=length, work=None)
        for aim in (max(wait, _SHORTEST), 2 * max(wait, _SHORTEST)):
            yield by_work(fleet, aim, start)


def values(policy: FleetPolicy) -> str:
    """The chart's values that make it so, in YAML."""
    behavior = {"scaleUp": policy.up.values(), "scaleDown": policy.down.values()}
    by = "length" if policy.work is None else "work"
    work = "" if policy.work is None else _work(policy.work)
    directions = "\n".join(f"    {name}: {json.dumps(it)}" for name, it in behavior.items())
    return f"""\
# Values for charts/queue-agent, as `queue-agent plan` recommends them.
agent:
  shutdownGrace: {policy.grace:g}
scaling:
  by: {by}
  jobSeconds: {policy.job_seconds:g}
  minReplicas: {policy.min_pods}
  maxReplicas: {policy.max_pods}
  pollingInterval: {policy.polling_interval:g}
  cooldownPeriod: {policy.cooldown:g}
  queue:
    queueLength: {policy.queue_length:g}
{work}  behavior:
{directions}
karpenter:
  consolidateAfter: {policy.consolidate_after:g}s
  limits: {{nvidia.com/gpu: {policy.max_pods}}}
  gpusPerNode: [1]
"""


def _work(aim: ScalingAim) -> str:
    return f"  work:\n    wait: {aim.wait:g}\n    start: {aim.start:g}\n"
