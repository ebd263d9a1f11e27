"""What decides how many pods there are: KEDA's, the HPA's and Karpenter's settings."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import Any, Final, Literal

from queue_agent.scaling.decision import ScalingAim

CHART_WAIT: Final = 24.0
"""Seconds of work that may wait for each pod, where the chart's `queueLength` is 0."""


@dataclass(frozen=True, slots=True)
class ScalingRate:
    """At most `value` pods (or percent of them) more or fewer within `period` seconds."""

    kind: Literal["Pods", "Percent"]
    value: int
    period: float


@dataclass(frozen=True, slots=True)
class ScalingRules:
    """One direction of an HPA's behaviour: how long it waits, and how fast it goes."""

    window: float
    rates: tuple[ScalingRate, ...]

    def values(self) -> dict[str, Any]:
        """As a HorizontalPodAutoscaler has it."""
        policies = [
            {"type": rate.kind, "value": rate.value, "periodSeconds": int(rate.period)}
            for rate in self.rates
        ]
        return {"stabilizationWindowSeconds": int(self.window), "policies": policies}


HPA_UP: Final = ScalingRules(0, (ScalingRate("Percent", 100, 15), ScalingRate("Pods", 4, 15)))
HPA_DOWN: Final = ScalingRules(300, (ScalingRate("Percent", 100, 15),))
"""What Kubernetes does where a HorizontalPodAutoscaler has no `behavior`."""


@dataclass(frozen=True, slots=True)
class FleetPolicy:
    """How a fleet is scaled; durations in seconds."""

    name: str
    queue_length: float
    """Messages, waiting or in flight, for each pod."""
    polling_interval: float
    cooldown: float
    up: ScalingRules
    down: ScalingRules
    consolidate_after: float
    grace: float
    """A pod that must stop may work on for so long, then gives its job back."""
    spares_busy: bool = True
    """Idle pods are taken before busy ones (by their deletion cost)."""
    one_gpu_nodes: bool = True
    """Else pods that wait together get a node for all of them, with more GPUs than they need."""
    min_pods: int = 0
    max_pods: int = 200
    sync: float = 15
    """Between two looks of the HPA."""
    work: ScalingAim | None = None
    """Scaled by work as well, with such an aim: what wants more pods counts."""
    job_seconds: float = 1
    """What a job takes, as scaling by work has learned."""


def fixed(pods: int) -> FleetPolicy:
    """So many pods, always."""
    return FleetPolicy(
        name="fixed",
        queue_length=1,
        polling_interval=60,
        cooldown=60,
        up=HPA_UP,
        down=HPA_DOWN,
        consolidate_after=60,
        grace=60,
        min_pods=pods,
        max_pods=pods,
    )


def guidance() -> FleetPolicy:
    """The defaults of AWS's guidance (`docs/planning.md` has the source)."""
    return FleetPolicy(
        name="guidance",
        queue_length=10,
        polling_interval=1,
        cooldown=60,
        up=HPA_UP,
        down=HPA_DOWN,
        consolidate_after=30,
        grace=30,
        spares_busy=False,
    )


def chart_values() -> Mapping[str, Any]:
    """Those of the chart's default values that matter here, as `docs/generate.py` copied them."""
    text = files(__package__).joinpath("chart.json").read_text()
    values: Mapping[str, Any] = json.loads(text)
    return values


def chart(values: Mapping[str, Any], seconds: float) -> FleetPolicy:
    """The policy of such values, where a job takes so many seconds and they say so, too."""
    scaling, karpenter = values["scaling"], values["karpenter"]
    policy = FleetPolicy(
        name="chart",
        queue_length=scaling["queue"]["queueLength"] or messages_for(CHART_WAIT, seconds),
        polling_interval=scaling["pollingInterval"],
        cooldown=scaling["cooldownPeriod"],
        up=_rules(scaling["behavior"]["scaleUp"], HPA_UP),
        down=_rules(scaling["behavior"]["scaleDown"], HPA_DOWN),
        consolidate_after=seconds_of(karpenter["consolidateAfter"]),
        grace=values["agent"]["shutdownGrace"],
        spares_busy=values["podDeletionCost"]["enabled"],
        one_gpu_nodes=not set(karpenter["gpusPerNode"]) - {1},
        min_pods=scaling["minReplicas"],
        job_seconds=seconds,
    )
    if scaling["by"] == "work":
        return by_work(policy, scaling["work"]["wait"], scaling["work"]["start"])
    return policy


def before() -> FleetPolicy:
    """The chart's defaults before they followed from the seconds of a job, to compare with."""
    return FleetPolicy(
        name="before",
        queue_length=5,
        polling_interval=15,
        cooldown=300,
        up=ScalingRules(0, (ScalingRate("Percent", 100, 30), ScalingRate("Pods", 4, 30))),
        down=ScalingRules(300, (ScalingRate("Pods", 1, 60),)),
        consolidate_after=120,
        grace=50,
        one_gpu_nodes=False,
    )


def messages_for(wait: float, seconds: float) -> int:
    """How many messages a pod may have waiting, of so many seconds each, at least one."""
    return max(1, int(wait / seconds))


def limited(policy: FleetPolicy, most: int) -> FleetPolicy:
    """The same with at most so many pods."""
    work = policy.work and replace(policy.work, most=most)
    return replace(policy, max_pods=most, min_pods=min(policy.min_pods, most), work=work)


def by_work(policy: FleetPolicy, wait: float, start: float) -> FleetPolicy:
    """The same, scaled by work: such a wait is aimed at, and a pod takes so long to start."""
    return replace(policy, work=ScalingAim(wait, start, policy.max_pods))


def _rules(values: Mapping[str, Any], without: ScalingRules) -> ScalingRules:
    rates = tuple(
        ScalingRate(rate["type"], rate["value"], rate["periodSeconds"])
        for rate in values.get("policies", ())
    )
    window = values.get("stabilizationWindowSeconds", without.window)
    return ScalingRules(window, rates or without.rates)


def seconds_of(text: str) -> float:
    """Of a duration such as `2m`."""
    return float(text[:-1]) * {"s": 1, "m": 60, "h": 3600}[text[-1]]
