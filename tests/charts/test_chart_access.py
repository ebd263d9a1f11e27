"""What pods may do: their containers, the Kubernetes API, the network."""

from typing import Final

import cel
import helm_python
import pytest
from chart_rendering import (
    BASE,
    EXAMPLES,
    FEATURES,
    NAMESPACE,
    Manifest,
    Values,
    containers,
    environment,
    example,
    kinds,
    manifests_of,
    merged,
    only,
    pod_templates,
    render,
    values_of,
)

from queue_agent.worker import pod_deletion_cost


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


def test_the_agent_may_patch_pods_and_nothing_else() -> None:
    manifests = manifests_of(BASE)
    assert only(manifests, "Role")["rules"] == [
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["patch"]}
    ]
    agent = environment(containers(next(pod_templates(manifests_of(BASE))))["agent"])
    assert agent["QUEUE_AGENT_POD_DELETION_COST"] == "true"
    assert {"POD_NAME", "POD_NAMESPACE"} <= set(agent)


POD: Final[Manifest] = {
    "metadata": {
        "name": "mine",
        "labels": {"app": "a"},
        "annotations": {"kept": "1", "karpenter.sh/do-not-disrupt": "true"},
        "ownerReferences": [{"kind": "ReplicaSet", "name": "r"}],
    },
    "spec": {"containers": [{"name": "agent", "image": "agent:1"}]},
}


def admitted(after: Manifest, *, before: Manifest = POD, bound_to: str | None = "mine") -> bool:
    """What the policy says of a change by the agent's account, as the API server asks it."""
    policy = only(manifests_of(BASE), "ValidatingAdmissionPolicy")["spec"]
    account = only(manifests_of(BASE), "ServiceAccount")["metadata"]["name"]
    extra = {} if bound_to is None else {"authentication.kubernetes.io/pod-name": [bound_to]}
    user = {"username": f"system:serviceaccount:{NAMESPACE}:{account}", "extra": extra}
    facts = {"object": after, "oldObject": before, "request": {"userInfo": user}}
    assert all(cel.evaluate(item["expression"], facts) for item in policy["matchConditions"])
    variables = {
        item["name"]: cel.evaluate(item["expression"], facts) for item in policy["variables"]
    }
    facts["variables"] = variables
    return all(cel.evaluate(item["expression"], facts) for item in policy["validations"])


def annotated(annotations: Manifest) -> Manifest:
    return {**POD, "metadata": {**POD["metadata"], "annotations": annotations}}


BUSY: Final = annotated({"kept": "1", **pod_deletion_cost.BUSY})
IDLE: Final = annotated({"kept": "1"})
BARE: Final[Manifest] = {"metadata": {"name": "mine"}, "spec": POD["spec"]}
BARE_BUSY: Final = merged(BARE, {"metadata": {"annotations": pod_deletion_cost.BUSY}})


@pytest.mark.parametrize(
    ("before", "after"),
    [(POD, BUSY), (IDLE, BUSY), (BUSY, IDLE), (BARE, BARE_BUSY), (BARE_BUSY, BARE)],
)
def test_the_agent_may_mark_its_own_pod_as_busy_and_as_idle(
    before: Manifest, after: Manifest
) -> None:
    assert admitted(after, before=before)


@pytest.mark.parametrize("pod", ["another", "mine-too", "min", "", None])
def test_the_agent_may_mark_no_other_pod(pod: str | None) -> None:
    assert not admitted(BUSY, bound_to=pod)


@pytest.mark.parametrize(
    "after",
    [
        annotated({"kept": "2"}),
        annotated({}),
        annotated({"kept": "1", "iam.amazonaws.com/role": "admin"}),
        annotated({"kept": "1", "controller.kubernetes.io/pod-deletion-cost.x": "1"}),
        merged(POD, {"metadata": {"labels": {"app": "b"}}}),
        merged(POD, {"metadata": {"labels": {"more": "b"}}}),
        merged(POD, {"metadata": {"ownerReferences": []}}),
        merged(POD, {"metadata": {"finalizers": ["example.com/never"]}}),
        merged(POD, {"spec": {"containers": [{"name": "agent", "image": "other:1"}]}}),
        merged(POD, {"spec": {"activeDeadlineSeconds": 1}}),
    ],
)
def test_the_agent_may_change_nothing_but_its_marks(after: Manifest) -> None:
    assert not admitted(after)


def test_without_the_deletion_cost_there_is_no_role_and_no_token() -> None:
    manifests = manifests_of("fixed-size")
    assert not kinds(manifests) & {"Role", "RoleBinding", "ValidatingAdmissionPolicy"}
    agent = environment(containers(next(pod_templates(manifests)))["agent"])
    assert not set(agent) & {"QUEUE_AGENT_POD_DELETION_COST", "POD_NAME"}


def test_the_admission_policy_can_be_turned_off_alone() -> None:
    own = {"podDeletionCost": {"admissionPolicy": False}}
    manifests = render(merged(example(BASE), own))
    assert "Role" in kinds(manifests)
    assert not {kind for kind in kinds(manifests) if kind.startswith("ValidatingAdmission")}


def test_agents_and_gateway_have_accounts_and_so_rights_of_their_own() -> None:
    manifests = manifests_of("gateway-ingress")
    accounts = {
        item["metadata"]["labels"]["app.kubernetes.io/component"]: item["spec"]["template"]["spec"][
            "serviceAccountName"
        ]
        for item in manifests
        if item["kind"] == "Deployment"
    }
    assert accounts["gateway"] != accounts["runtime"]
    gateway = only(manifests, "ServiceAccount", accounts["gateway"])
    agent = only(manifests, "ServiceAccount", accounts["runtime"])
    role = "arn:aws:iam::111122223333:role/gateway"
    assert gateway["metadata"]["annotations"] == {"eks.amazonaws.com/role-arn": role}
    assert "annotations" not in agent["metadata"]
    (subject,) = only(manifests, "RoleBinding")["subjects"]
    assert subject["name"] == accounts["runtime"]


@pytest.mark.parametrize(
    ("account", "name"),
    [
        ({}, "demo-queue-agent-gateway"),
        ({"name": "own"}, "own"),
        ({"create": False}, "default"),
        ({"create": False, "name": "given"}, "given"),
        ({"annotations": {"a": "b"}}, "demo-queue-agent-gateway"),
    ],
)
def test_the_gateways_account_is_the_one_that_the_values_name(account: Values, name: str) -> None:
    own = {"gateway": {"serviceAccount": account}}
    manifests = render(merged(values_of("gateway-route"), own))
    pod = only(manifests, "Deployment", "demo-queue-agent-gateway")["spec"]["template"]
    assert pod["spec"]["serviceAccountName"] == name
    made = {item["metadata"]["name"] for item in manifests if item["kind"] == "ServiceAccount"}
    assert made == {"demo-queue-agent"} | ({name} if account.get("create", True) else set())


MONITORING: Final = {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}
PEERS: Final[list[Manifest]] = [
    {"podSelector": {"matchLabels": {"app": "prometheus"}}},
    {"ipBlock": {"cidr": "10.1.0.0/16"}},
    {"namespaceSelector": {}},
]
PORTS: Final = [{"protocol": "TCP", "port": "health"}]


@pytest.mark.parametrize(
    ("values", "ingress"),
    [
        ({}, [{"ports": PORTS, "from": [{"namespaceSelector": MONITORING}]}]),
        ({"metricsFrom": []}, []),
        ({"metricsFrom": None}, []),
        *(({"metricsFrom": [peer]}, [{"ports": PORTS, "from": [peer]}]) for peer in PEERS),
    ],
)
def test_metrics_are_read_by_those_who_are_named(values: Values, ingress: list[Manifest]) -> None:
    manifests = render(merged(example(BASE), {"networkPolicy": values}))
    policy = only(manifests, "NetworkPolicy")["spec"]
    assert policy["ingress"] == ingress
    assert "Ingress" in policy["policyTypes"]


def test_a_peer_that_would_be_everybody_is_refused() -> None:
    with pytest.raises(helm_python.HelmValuesError, match="metricsFrom"):
        render(merged(example(BASE), {"networkPolicy": {"metricsFrom": [{}]}}))


def test_the_network_lets_out_to_public_addresses_and_the_named_private_ones() -> None:
    policy = only(manifests_of(BASE), "NetworkPolicy")["spec"]
    blocks = [peer["ipBlock"] for rule in policy["egress"] for peer in rule.get("to", [])]
    public = next(block for block in blocks if block["cidr"] == "0.0.0.0/0")
    assert {"169.254.0.0/16", "10.0.0.0/8"} <= set(public["except"])
