"""Fields of pods for which the chart has no value of its own: `extraSpec`."""

import helm_python
import pytest
from chart_rendering import (
    BASE,
    Manifest,
    Values,
    example,
    merged,
    only,
    pod_templates,
    render,
    values_of,
)

FIELDS: Values = {
    "schedulerName": "volcano",
    "preemptionPolicy": "Never",
    "hostAliases": [{"ip": "10.0.0.7", "hostnames": ["models.example.com"]}],
    "dnsConfig": {"options": [{"name": "ndots", "value": "2"}]},
    "os": {"name": "linux"},
}


@pytest.mark.parametrize(
    "values",
    [
        example(BASE),
        example("knative"),
        merged(example(BASE), {"scaling": {"mode": "scaledjob"}}),
        merged(example(BASE), {"agent": {"nativeSidecar": False}}),
    ],
    ids=["deployment", "knative", "job", "plain"],
)
def test_the_pod_has_them_beside_what_it_had(values: Values) -> None:
    (before,) = pod_templates(render(values))
    (after,) = pod_templates(render(merged(values, {"pod": {"extraSpec": FIELDS}})))
    assert after["spec"] == {**before["spec"], **FIELDS}


def gateway(values: Values) -> Manifest:
    manifests = render(merged(values_of("gateway-route"), values))
    spec: Manifest = only(manifests, "Deployment", "demo-queue-agent-gateway")["spec"]["template"]
    return spec


def test_so_has_the_gateways_pod_its_own() -> None:
    fields = {**FIELDS, "terminationGracePeriodSeconds": 90}
    after = gateway({"gateway": {"extraSpec": fields}})["spec"]
    assert after == {**gateway({})["spec"], **fields}
    assert gateway({"pod": {"extraSpec": FIELDS}}) == gateway({})


OWNED: Values = {
    "affinity": {"nodeAffinity": {}},
    "nodeSelector": {"a": "b"},
    "resourceClaims": [{"name": "gpu"}],
    "runtimeClassName": "nvidia",
    "serviceAccount": "own",
} | {
    field: value
    for template in pod_templates(render(values_of("job-per-pod")))
    for field, value in template["spec"].items()
}


@pytest.mark.parametrize("field", sorted(OWNED))
def test_a_field_that_is_the_charts_is_refused_with_the_value_to_set(field: str) -> None:
    own: Values = {"pod": {"extraSpec": {"os": {"name": "linux"}, field: OWNED[field]}}}
    with pytest.raises(helm_python.HelmError, match=rf"pod\.extraSpec\.{field}: .* set instead: "):
        render(merged(example(BASE), own))


@pytest.mark.parametrize("field", ["shareProcessNamespace", "hostPID"])
def test_a_field_that_would_keep_the_agent_from_hearing_of_its_end_is_refused(field: str) -> None:
    with pytest.raises(helm_python.HelmError, match="process 1"):
        render(merged(example(BASE), {"pod": {"extraSpec": {field: True}}}))


def test_of_the_gateways_pod_likewise() -> None:
    for field, value in gateway({})["spec"].items():
        with pytest.raises(helm_python.HelmError, match=rf"gateway\.extraSpec\.{field}: "):
            gateway({"gateway": {"extraSpec": {field: value}}})
