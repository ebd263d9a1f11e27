"""What pods may do: their containers, the Kubernetes API, the network."""

import pytest
from chart_rendering import (
    BASE,
    EXAMPLES,
    FEATURES,
    NAMESPACE,
    containers,
    environment,
    kinds,
    manifests_of,
    only,
    pod_templates,
)


@pytest.mark.parametrize("name", [*EXAMPLES, *FEATURES])
def test_no_container_may_do_more_than_it_needs(name: str) -> None:
    for template in pod_templates(manifests_of(name)):
        spec = template["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["automountServiceAccountToken"] is False
        for container in containers(template).values():
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False
            assert context["readOnlyRootFilesystem"] is True
            assert context["capabilities"]["drop"] == ["ALL"]


def test_the_agents_token_is_mounted_in_no_other_container() -> None:
    found = containers(next(pod_templates(manifests_of(BASE))))
    holders = [
        name
        for name, container in found.items()
        if any(mount["name"] == "kubernetes-api" for mount in container["volumeMounts"])
    ]
    assert holders == ["agent"]


def test_the_agent_may_patch_pods_and_nothing_else_and_only_its_own() -> None:
    manifests = manifests_of(BASE)
    assert only(manifests, "Role")["rules"] == [
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["patch"]}
    ]
    policy = only(manifests, "ValidatingAdmissionPolicy")["spec"]
    account = only(manifests, "ServiceAccount")["metadata"]["name"]
    assert (
        f"system:serviceaccount:{NAMESPACE}:{account}" in policy["matchConditions"][0]["expression"]
    )
    agent = environment(containers(next(pod_templates(manifests_of(BASE))))["agent"])
    assert agent["QUEUE_AGENT_POD_DELETION_COST"] == "true"
    assert {"POD_NAME", "POD_NAMESPACE"} <= set(agent)


def test_without_the_deletion_cost_there_is_no_role_and_no_token() -> None:
    manifests = manifests_of("fixed-size")
    assert not kinds(manifests) & {"Role", "RoleBinding", "ValidatingAdmissionPolicy"}
    agent = environment(containers(next(pod_templates(manifests)))["agent"])
    assert not set(agent) & {"QUEUE_AGENT_POD_DELETION_COST", "POD_NAME"}


def test_the_network_lets_in_health_and_metrics_alone() -> None:
    policy = only(manifests_of(BASE), "NetworkPolicy")["spec"]
    assert policy["ingress"] == [{"ports": [{"protocol": "TCP", "port": "health"}]}]
    blocks = [peer["ipBlock"] for rule in policy["egress"] for peer in rule.get("to", [])]
    public = next(block for block in blocks if block["cidr"] == "0.0.0.0/0")
    assert {"169.254.0.0/16", "10.0.0.0/8"} <= set(public["except"])
