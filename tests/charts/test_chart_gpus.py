"""GPUs that are asked for by other names than `nvidia.com/gpu`, or by claims."""

import helm_python
import pytest
from chart_rendering import (
    BASE,
    POOL,
    Manifest,
    Values,
    containers,
    example,
    merged,
    only,
    pod_templates,
    render,
)

WHOLE = "nvidia.com/gpu"
CLAIM = {"name": "gpu", "resourceClaimTemplateName": "one-gpu"}


def pod(values: Values) -> Manifest:
    template = next(pod_templates(render(merged(example(BASE), values))))
    spec: Manifest = template["spec"]
    return spec


def resources(values: Values) -> Manifest:
    found: Manifest = containers({"spec": pod(values)})["runtime"]["resources"]
    return found


@pytest.mark.parametrize("mode", ["scaledobject", "scaledjob"])
@pytest.mark.parametrize(
    "name",
    [
        "nvidia.com/mig-1g.10gb",
        "nvidia.com/mig-3g.20gb.me",
        "nvidia.com/gpu.shared",
        "amd.com/gpu",
        "gpu.intel.com/i915",
    ],
)
def test_a_gpu_by_another_name_is_meant_instead_of_a_whole_one(name: str, mode: str) -> None:
    asked = {"requests": {name: 1}, "limits": {name: 1}}
    own = {"runtime": {"resources": asked}, "scaling": {"mode": mode}}
    found = resources(own)
    assert found["limits"] == {"memory": "12Gi", name: 1}
    assert found["requests"] == {"cpu": "2", "memory": "10Gi", name: 1}
    found = resources(merged(own, {"runtime": {"resources": {"requests": {name: None}}}}))
    assert (found["limits"][name], WHOLE in found["requests"]) == (1, False)


@pytest.mark.parametrize("name", ["ephemeral-storage", "hugepages-2Mi", "vpc.amazonaws.com/efa"])
def test_what_is_no_gpu_comes_beside_the_whole_one(name: str) -> None:
    found = resources({"runtime": {"resources": {"limits": {name: 1}}}})
    assert (found["limits"][WHOLE], found["requests"][WHOLE]) == (1, 1)


def test_a_claim_is_the_runtimes_instead_of_a_whole_gpu() -> None:
    spec = pod({"pod": {"resourceClaims": [CLAIM]}})
    assert spec["resourceClaims"] == [CLAIM]
    found = containers({"spec": spec})["runtime"]["resources"]
    assert found["claims"] == [{"name": "gpu"}]
    assert WHOLE not in {**found["limits"], **found["requests"]}
    assert "claims" not in containers({"spec": spec})["agent"]["resources"]


def test_the_runtime_has_those_claims_that_its_resources_name() -> None:
    nic = {"name": "nic", "resourceClaimName": "shared-nic"}
    claims = {"resourceClaims": [CLAIM, nic]}
    named = [{"name": "gpu", "request": "first"}]
    own = {"pod": claims, "runtime": {"resources": {"claims": named}}}
    assert resources(own)["claims"] == named
    assert resources({"pod": claims})["claims"] == [{"name": "gpu"}, {"name": "nic"}]
    with pytest.raises(helm_python.HelmError, match=r"resources\.claims: gpu is none of"):
        resources({"runtime": {"resources": {"claims": named}}})


@pytest.mark.parametrize(
    "claim",
    [
        {"name": "gpu"},
        {"resourceClaimName": "one"},
        {**CLAIM, "resourceClaimName": "one"},
        {"name": "gpu", "source": {"resourceClaimName": "one"}},
    ],
    ids=str,
)
def test_a_claim_that_kubernetes_would_not_take_is_refused(claim: Values) -> None:
    with pytest.raises(helm_python.HelmValuesError, match="resourceClaims"):
        pod({"pod": {"resourceClaims": [claim]}})


def test_knative_which_knows_no_claims_is_refused_them() -> None:
    own = {"pod": {"resourceClaims": [CLAIM]}}
    with pytest.raises(helm_python.HelmError, match=r"pod\.resourceClaims: Knative"):
        render(merged(example("knative"), own))


def test_of_slices_no_number_of_gpus_of_a_node_follows() -> None:
    slices = {"runtime": {"resources": {"limits": {"nvidia.com/mig-1g.10gb": 1}}}}
    manifests = render(merged(merged(example(BASE), POOL), slices))
    needed = only(manifests, "NodePool")["spec"]["template"]["spec"]["requirements"]
    assert "karpenter.k8s.aws/instance-gpu-count" not in {item["key"] for item in needed}
