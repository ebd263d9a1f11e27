"""How new pods take the place of old ones."""

from typing import Any

import helm_python
import pytest
from chart_rendering import BASE, POOL, Manifest, Values, example, merged, only, render

NEW_FIRST = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 0}}
OLD_FIRST = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": "25%"}}
GPU = "nvidia.com/gpu"


def strategy(values: Values) -> Manifest:
    manifests = render(merged(example(BASE), values))
    found: Manifest = only(manifests, "Deployment")["spec"]["strategy"]
    return found


@pytest.mark.parametrize(
    ("limit", "most", "gpus", "expected"),
    [
        (16, 10, 1, NEW_FIRST),
        (10, 10, 1, OLD_FIRST),
        (11, 10, 1, NEW_FIRST),
        ("10", 10, 1, OLD_FIRST),
        ("11", 10, 1, NEW_FIRST),
        (16, 4, 4, OLD_FIRST),
        (20, 4, 4, NEW_FIRST),
        (8, 16, 1, OLD_FIRST),
        (None, 500, 1, NEW_FIRST),
    ],
)
def test_a_new_pod_comes_first_where_there_can_be_a_gpu_for_one_more(
    limit: Any, most: int, gpus: int, expected: Manifest
) -> None:
    own: Values = {
        "karpenter": {"limits": {GPU: limit}},
        "scaling": {"maxReplicas": most},
        "runtime": {"resources": {"requests": {GPU: gpus}, "limits": {GPU: gpus}}},
    }
    assert strategy(merged(POOL, own)) == expected


def test_where_the_chart_brings_no_nodes_an_old_pod_goes_first() -> None:
    assert strategy({}) == OLD_FIRST
    assert strategy({"scaling": {"mode": "none"}, "deployment": {"replicas": 1}}) == OLD_FIRST


def test_a_fixed_number_of_pods_counts_as_the_most() -> None:
    fixed: Values = {"scaling": {"mode": "none"}, "karpenter": {"limits": {GPU: 4}}}
    assert strategy(merged(merged(POOL, fixed), {"deployment": {"replicas": 4}})) == OLD_FIRST
    assert strategy(merged(merged(POOL, fixed), {"deployment": {"replicas": 3}})) == NEW_FIRST


@pytest.mark.parametrize("own", [{"type": "Recreate"}, NEW_FIRST, OLD_FIRST], ids=str)
def test_a_strategy_of_ones_own_stands_as_it_is(own: Manifest) -> None:
    assert strategy({"deployment": {"strategy": own}}) == own
    assert strategy(merged(POOL, {"deployment": {"strategy": own}})) == own


REVISION = "serving.knative.dev/progress-deadline"


def annotations(values: Values) -> Manifest:
    service = only(render(merged(example("knative"), values)), "Service")
    found: Manifest = service["spec"]["template"]["metadata"]["annotations"]
    return found


def test_knative_waits_for_a_node_and_a_model_as_long_as_a_deployment_does() -> None:
    deadline = only(render(example(BASE)), "Deployment")["spec"]["progressDeadlineSeconds"]
    assert annotations({})[REVISION] == f"{deadline}s"
    assert annotations({"knative": {"progressDeadlineSeconds": 3600}})[REVISION] == "3600s"
    own = {REVISION: "50m", "autoscaling.knative.dev/min-scale": "2"}
    assert annotations({"knative": {"annotations": own}}).items() >= own.items()


def test_a_deadline_of_knative_within_the_start_of_a_runtime_is_refused() -> None:
    with pytest.raises(helm_python.HelmError, match=r"progressDeadlineSeconds: .* 1800 s"):
        annotations({"knative": {"progressDeadlineSeconds": 600}})
    probe = {"startupProbe": {"periodSeconds": 5, "failureThreshold": 120}}
    own: Values = {"knative": {"progressDeadlineSeconds": 600}, "runtime": probe}
    assert annotations(own)[REVISION] == "600s"
