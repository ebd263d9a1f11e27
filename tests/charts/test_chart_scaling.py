"""How many pods and nodes the chart's defaults bring, and how soon they go."""

import math
from typing import Any

import pytest
from chart_rendering import (
    BASE,
    POOL,
    Values,
    example,
    merged,
    only,
    render,
    render_files,
    values_of,
)

GPU_COUNT = "karpenter.k8s.aws/instance-gpu-count"


def queue_length(scaling: Values) -> str:
    manifests = render(merged(example(BASE), {"scaling": scaling}))
    kind = "ScaledJob" if scaling.get("mode") == "scaledjob" else "ScaledObject"
    length: str = only(manifests, kind)["spec"]["triggers"][0]["metadata"]["queueLength"]
    return length


@pytest.mark.parametrize(
    ("scaling", "length"),
    [
        ({"jobSeconds": 1}, "24"),
        ({"jobSeconds": 0.5}, "48"),
        ({"jobSeconds": 5}, "4"),
        ({"jobSeconds": 12}, "2"),
        ({"jobSeconds": 12.5}, "1"),
        ({"jobSeconds": 600}, "1"),
        ({}, "4"),
        ({"jobSeconds": 600, "queue": {"queueLength": 7}}, "7"),
        ({"jobSeconds": 1, "mode": "scaledjob"}, "1"),
    ],
)
def test_so_many_messages_wait_for_each_pod_as_are_done_in_24_seconds(
    scaling: Values, length: str
) -> None:
    assert queue_length(scaling) == length


def test_pods_come_at_once_and_half_of_those_that_idle_go_each_quarter_of_a_minute() -> None:
    scaled = only(render(example(BASE)), "ScaledObject")["spec"]
    behavior = scaled["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    (up,) = behavior["scaleUp"]["policies"]
    assert behavior["scaleUp"]["stabilizationWindowSeconds"] == 0
    assert (up["type"], up["value"] >= 1000) == ("Pods", True)
    assert behavior["scaleDown"] == {
        "stabilizationWindowSeconds": 30,
        "policies": [{"type": "Percent", "value": 50, "periodSeconds": 15}],
    }
    assert (scaled["pollingInterval"], scaled["cooldownPeriod"]) == (5, 120)


def notes(scaling: Values) -> str:
    files = render_files(merged(example(BASE), {"scaling": scaling}))
    return next(text for path, text in files.items() if path.endswith("NOTES.txt"))


@pytest.mark.parametrize(
    ("scaling", "told"),
    [
        ({"jobSeconds": 600}, False),
        ({"jobSeconds": 600, "queue": {"queueLength": 5}}, True),
        ({"jobSeconds": 600, "queue": {"scaleOnInFlight": False}}, True),
        ({"jobSeconds": 50, "queue": {"queueLength": 5}}, False),
        ({"jobSeconds": 600, "queue": {"queueLength": 5}, "mode": "scaledjob"}, False),
    ],
)
def test_long_jobs_keep_their_pods_or_the_notes_tell_that_they_do_not(
    scaling: Values, told: bool
) -> None:
    assert ("Busy pods are counted away" in notes(scaling)) is told


@pytest.mark.parametrize("seconds", [25, 60, 600, 3600])
def test_of_pods_with_long_jobs_no_more_are_wanted_away_than_idle(seconds: int) -> None:
    trigger = only(
        render(merged(example(BASE), {"scaling": {"jobSeconds": seconds}})), "ScaledObject"
    )
    told = trigger["spec"]["triggers"][0]["metadata"]
    assert told["scaleOnInFlight"] == "true"
    for busy in range(1, 30):
        wanted = math.ceil(busy / int(told["queueLength"]))  # each holds one message at least
        assert wanted >= busy


def requirements(values: Values) -> dict[str, list[str]]:
    pool = only(render(merged(merged(example(BASE), POOL), values)), "NodePool")
    found = pool["spec"]["template"]["spec"]["requirements"]
    assert len(found) == len({item["key"] for item in found})
    return {item["key"]: item["values"] for item in found}


@pytest.mark.parametrize(
    ("gpus", "counts"),
    [(1, ["1"]), (2, ["2", "4"]), (4, ["4"]), ("4", ["4"]), (6, ["6", "8"]), (8, ["8"])],
)
def test_a_node_has_as_many_gpus_as_a_pod(gpus: Any, counts: list[str]) -> None:
    resources = {"requests": {"nvidia.com/gpu": gpus}, "limits": {"nvidia.com/gpu": gpus}}
    assert requirements({"runtime": {"resources": resources}})[GPU_COUNT] == counts
    only_limits = {"requests": {"nvidia.com/gpu": None}, "limits": {"nvidia.com/gpu": gpus}}
    assert requirements({"runtime": {"resources": only_limits}})[GPU_COUNT] == counts


def test_other_sizes_of_nodes_are_those_that_the_values_name() -> None:
    assert requirements({"karpenter": {"gpusPerNode": [4, 8]}})[GPU_COUNT] == ["4", "8"]
    own = [{"key": GPU_COUNT, "operator": "In", "values": ["2"]}]
    assert requirements({"karpenter": {"extraRequirements": own}})[GPU_COUNT] == ["2"]
    types = requirements({"karpenter": {"instanceTypes": ["g5.12xlarge"]}})
    assert GPU_COUNT not in types
    none = {"nvidia.com/gpu": None}
    no_gpu = {"runtime": {"resources": {"requests": none, "limits": none}}}
    assert GPU_COUNT not in requirements(no_gpu)


@pytest.mark.parametrize("name", ["webui", "large-gpus"])
def test_empty_nodes_all_go_at_once_and_others_by_and_by(name: str) -> None:
    disruption = only(render(values_of(name)), "NodePool")["spec"]["disruption"]
    shares = {reason: each["nodes"] for each in disruption["budgets"] for reason in each["reasons"]}
    assert shares == {"Empty": "100%", "Underutilized": "20%", "Drifted": "20%"}
    assert disruption["consolidateAfter"] == "60s"
