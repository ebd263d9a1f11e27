"""Budgets of disruption: how many pods the drain of nodes may take at once."""

from typing import Any

import helm_python
import pytest
from chart_rendering import BASE, Manifest, Values, example, kinds, merged, only, render, values_of

KIND = "PodDisruptionBudget"
ENABLED: Values = {"podDisruptionBudget": {"enabled": True}}
GATEWAY = "demo-queue-agent-gateway"


def of_runtime(budget: Values, **values: Any) -> Manifest:
    own = merged(merged(ENABLED, {"podDisruptionBudget": budget}), values)
    spec: Manifest = only(render(merged(example(BASE), own)), KIND, "demo-queue-agent")["spec"]
    return spec


def of_gateway(budget: Values, **gateway: Any) -> Manifest:
    own = {"gateway": {"podDisruptionBudget": budget, **gateway}}
    spec: Manifest = only(render(merged(values_of("gateway-ingress"), own)), KIND, GATEWAY)["spec"]
    return spec


def of_four_runtimes(budget: Values) -> Manifest:
    return of_runtime(budget, scaling={"maxReplicas": 4})


def of_four_gateways(budget: Values) -> Manifest:
    return of_gateway(budget, replicas=4)


BUDGETS = pytest.mark.parametrize("spec_of", [of_four_runtimes, of_four_gateways])


def test_the_gateways_pods_go_one_by_one_and_the_runtimes_as_they_are_told() -> None:
    assert of_gateway({})["maxUnavailable"] == 1
    assert KIND not in kinds(render(example(BASE)))
    assert of_runtime({})["maxUnavailable"] == "25%"
    labels = only(render(example(BASE)), "Deployment")["spec"]["selector"]
    assert of_runtime({})["selector"] == labels


@BUDGETS
@pytest.mark.parametrize(
    "budget",
    [
        {"maxUnavailable": 2},
        {"maxUnavailable": "30%"},
        {"maxUnavailable": "100%"},
        {"maxUnavailable": "", "minAvailable": 1},
        {"maxUnavailable": "", "minAvailable": 3},
        {"maxUnavailable": "", "minAvailable": "75%"},
    ],
    ids=str,
)
def test_either_number_can_be_said_and_a_sick_pod_holds_up_nothing(
    spec_of: Any, budget: Values
) -> None:
    spec = spec_of(budget)
    said = {name: value for name, value in budget.items() if value != ""}
    assert {name: spec[name] for name in spec if name.endswith("vailable")} == said
    assert spec["unhealthyPodEvictionPolicy"] == "AlwaysAllow"


@BUDGETS
@pytest.mark.parametrize(
    ("budget", "words"),
    [
        ({"minAvailable": 1}, "not both"),
        ({"maxUnavailable": "20%", "minAvailable": "20%"}, "not both"),
        ({"maxUnavailable": ""}, "minAvailable or maxUnavailable"),
        ({"maxUnavailable": 0}, "maxUnavailable"),
        ({"maxUnavailable": "0%"}, "lets no pod go"),
        ({"maxUnavailable": "", "minAvailable": 0}, "minAvailable"),
        ({"maxUnavailable": "", "minAvailable": 4}, "lets none go"),
        ({"maxUnavailable": "", "minAvailable": 9}, "lets none go"),
        ({"maxUnavailable": "", "minAvailable": "100%"}, "lets none go"),
        ({"maxUnavailable": "", "minAvailable": "76%"}, "lets none go"),
        ({"maxUnavailable": "two"}, "maxUnavailable"),
        ({"maxUnavailable": "-1"}, "maxUnavailable"),
        ({"maxUnavailable": 1.5}, "maxUnavailable"),
    ],
)
def test_a_budget_that_no_drain_ends_with_or_that_says_nothing_is_refused(
    spec_of: Any, budget: Values, words: str
) -> None:
    with pytest.raises((helm_python.HelmError, helm_python.HelmValuesError), match=words):
        spec_of(budget)


def test_what_there_is_for_long_counts() -> None:
    least: Values = {"maxUnavailable": "", "minAvailable": 2}
    of_the_runtime: list[tuple[Values, Values]] = [
        ({"mode": "none"}, {"mode": "none"}),
        ({"minReplicas": 2}, {"minReplicas": 3}),
        ({"maxReplicas": 2}, {"maxReplicas": 3}),
    ]
    for few, more in of_the_runtime:
        with pytest.raises(helm_python.HelmError, match="2 of 2 pods"):
            of_runtime(least, scaling=few, deployment={"replicas": 2})
        spec = of_runtime(least, scaling=more, deployment={"replicas": 3})
        assert spec["minAvailable"] == 2
    scaled: Values = {"enabled": True}
    of_the_gateway: list[tuple[Values, Values]] = [
        ({"replicas": 2}, {"replicas": 3}),
        ({"hpa": {**scaled, "minReplicas": 2}}, {"hpa": {**scaled, "minReplicas": 3}}),
    ]
    for few, more in of_the_gateway:
        with pytest.raises(helm_python.HelmError, match="2 of 2 pods"):
            of_gateway(least, **few)
        assert of_gateway(least, **more)["minAvailable"] == 2


def test_jobs_have_no_budget() -> None:
    with pytest.raises(helm_python.HelmError, match="of Jobs' pods"):
        of_runtime({}, scaling={"mode": "scaledjob"})
