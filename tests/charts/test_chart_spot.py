"""Pods on spot nodes, which are gone two minutes after a notice."""

import helm_python
import pytest
from chart_rendering import (
    BASE,
    POOL,
    Values,
    containers,
    environment,
    example,
    kinds,
    merged,
    only,
    pod_templates,
    render,
    render_files,
)

from queue_agent.settings.agent import Settings
from queue_agent.worker.interruption import LAST_WORDS

NOTICE = 120
CAPACITY = "karpenter.sh/capacity-type"
MANAGED = "eks.amazonaws.com/capacityType"


@pytest.mark.parametrize(
    ("karpenter", "wanted", "marked"),
    [
        ({"capacityTypes": ["spot"]}, "auto", False),
        ({"capacityTypes": ["spot", "on-demand"]}, "auto", False),
        ({"capacityTypes": ["on-demand"]}, "auto", True),
        ({"enabled": False}, "auto", True),
        ({"enabled": False}, "never", False),
        ({"capacityTypes": ["spot"]}, "always", True),
    ],
)
def test_nothing_holds_up_the_drain_of_a_spot_node_that_is_taken_away(
    karpenter: Values, wanted: str, marked: bool
) -> None:
    own = {"karpenter": karpenter, "podDeletionCost": {"doNotDisrupt": wanted}}
    values = merged(merged(example(BASE), POOL), own)
    manifests = render(values)
    agent = containers(next(pod_templates(manifests)))["agent"]
    assert Settings.load(environment(agent)).pod_do_not_disrupt is marked
    jobs = only(render(merged(values, {"scaling": {"mode": "scaledjob"}})), "ScaledJob")
    annotations = jobs["spec"]["jobTargetRef"]["template"]["metadata"]["annotations"]
    assert ("karpenter.sh/do-not-disrupt" in annotations) is marked
    if karpenter.get("enabled", True):
        disruption = only(manifests, "NodePool")["spec"]["disruption"]
        policy = "WhenEmptyOrUnderutilized" if marked else "WhenEmpty"
        assert disruption["consolidationPolicy"] == policy


@pytest.mark.parametrize(
    ("values", "spot"),
    [
        ({"karpenter": {"capacityTypes": ["spot"]}}, True),
        ({"karpenter": {"capacityTypes": ["spot", "on-demand"]}}, True),
        ({"karpenter": {"capacityTypes": ["on-demand", "reserved"]}}, False),
        ({"pod": {"nodeSelector": {CAPACITY: "on-demand"}}}, False),
        ({"karpenter": {"enabled": False}}, False),
        ({"karpenter": {"enabled": False}, "pod": {"nodeSelector": {CAPACITY: "spot"}}}, True),
        ({"karpenter": {"enabled": False}, "pod": {"nodeSelector": {MANAGED: "SPOT"}}}, True),
        ({"karpenter": {"enabled": False}, "pod": {"nodeSelector": {MANAGED: "ON_DEMAND"}}}, False),
    ],
)
@pytest.mark.parametrize("mode", ["scaledobject", "scaledjob"])
def test_all_that_a_pod_does_after_the_notice_fits_in_the_two_minutes(
    values: Values, spot: bool, mode: str
) -> None:
    long = {"agent": {"shutdownGrace": 600}, "scaling": {"mode": mode}}
    own = merged(merged(merged(example(BASE), POOL), values), long)
    template = next(pod_templates(render(own)))
    pod = template["spec"]["terminationGracePeriodSeconds"]
    agent = Settings.load(environment(containers(template)["agent"])).shutdown_grace
    assert agent == (100 if spot else 600)
    assert pod == agent + 10
    assert (pod < NOTICE) is spot
    notes = next(text for path, text in render_files(own).items() if path.endswith("NOTES.txt"))
    assert ("a pod told to stop has 100 seconds" in notes) is spot
    if mode == "scaledobject":
        (hook,) = containers(template)["runtime"]["lifecycle"]["preStop"]["exec"]["command"][2:]
        assert f"monotonic() + {agent:g}\n" in hook


def test_a_grace_that_fits_is_kept_on_spot_nodes_too() -> None:
    for grace, stop in [(0, 8), (50, 10), (30, 80), (100, 10)]:
        own = {"agent": {"shutdownGrace": grace}, "pod": {"stopSeconds": stop}}
        manifests = render(merged(merged(example(BASE), POOL), own))
        pod = only(manifests, "Deployment")["spec"]["template"]["spec"]
        assert pod["terminationGracePeriodSeconds"] == grace + stop


def test_an_end_that_leaves_nothing_of_the_notice_is_refused() -> None:
    own: Values = {"pod": {"stopSeconds": 111}}
    with pytest.raises(helm_python.HelmError, match=r"pod\.stopSeconds: nodes may be spot"):
        render(merged(merged(example(BASE), POOL), own))
    render(merged(example(BASE), own))


def test_after_the_grace_there_is_time_for_the_last_words() -> None:
    with pytest.raises(helm_python.HelmValuesError, match="stopSeconds"):
        render(merged(example(BASE), {"pod": {"stopSeconds": int(LAST_WORDS) - 1}}))
    render(merged(example(BASE), {"pod": {"stopSeconds": int(LAST_WORDS)}}))


SPOT: Values = merged(POOL, {"karpenter": {"capacityTypes": ["spot"]}})


def test_an_agent_that_watches_its_node_marks_its_pod_on_spot_nodes_too() -> None:
    own = merged(SPOT, {"podDeletionCost": {"watchNode": True}})
    manifests = render(merged(example(BASE), own))
    container = containers(next(pod_templates(manifests)))["agent"]
    agent = Settings.load(environment(container))
    assert (agent.pod_watch_node, agent.pod_do_not_disrupt) == (True, True)
    fields = {
        item["name"]: item["valueFrom"]["fieldRef"]["fieldPath"]
        for item in container["env"]
        if "fieldRef" in item.get("valueFrom", {})
    }
    assert fields["NODE_NAME"] == "spec.nodeName"
    disruption = only(manifests, "NodePool")["spec"]["disruption"]
    assert disruption["consolidationPolicy"] == "WhenEmptyOrUnderutilized"
    role = only(manifests, "ClusterRole")
    assert role["rules"] == [{"apiGroups": [""], "resources": ["nodes"], "verbs": ["watch"]}]
    binding = only(manifests, "ClusterRoleBinding")
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    (subject,) = binding["subjects"]
    assert (
        subject["name"]
        == only(manifests, "Deployment")["spec"]["template"]["spec"]["serviceAccountName"]
    )


@pytest.mark.parametrize(
    "own",
    [
        {},
        {"podDeletionCost": {"watchNode": True, "doNotDisrupt": "never"}},
        {"podDeletionCost": {"watchNode": True, "enabled": False}},
        {"podDeletionCost": {"watchNode": True}, "scaling": {"mode": "scaledjob"}},
    ],
    ids=str,
)
def test_without_such_a_watch_nobody_may_see_nodes_and_nothing_is_marked_on_spot(
    own: Values,
) -> None:
    manifests = render(merged(example(BASE), merged(SPOT, own)))
    assert not {"ClusterRole", "ClusterRoleBinding"} & kinds(manifests)
    template = next(pod_templates(manifests))
    assert "karpenter.sh/do-not-disrupt" not in template["metadata"]["annotations"]
    variables = environment(containers(template)["agent"])
    assert not set(variables) & {"QUEUE_AGENT_POD_WATCH_NODE", "NODE_NAME"}
    assert variables.get("QUEUE_AGENT_POD_DO_NOT_DISRUPT", "false") == "false"
