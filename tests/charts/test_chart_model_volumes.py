"""The volume and the claim of models in a bucket, whose specifications Kubernetes changes never."""

import pytest
from chart_rendering import (
    Manifest,
    Values,
    example,
    merged,
    only,
    pod_templates,
    render,
)

CLAIM = "PersistentVolumeClaim"
SOURCES: list[Values] = [
    {"models": {"bucket": "other-models"}},
    {"models": {"prefix": "sdxl/"}},
    {"models": {"size": "200Gi"}},
    {"models": {"s3": {"cacheSize": "10Gi"}}},
    {"models": {"s3": {"metadataTtl": 60}}},
    {"models": {"s3": {"authenticationSource": "pod"}}},
    {"models": {"s3": {"mountOptions": ["allow-root"]}}},
    {"cloud": {"region": "eu-central-1"}},
]


def volume(values: Values, *, release: str = "demo") -> tuple[Manifest, Manifest, str]:
    """The volume, the claim, and the claim that the pod mounts."""
    manifests = render(merged(example("webui"), values), release=release)
    pod = next(pod_templates(manifests))["spec"]
    (mounted,) = [item for item in pod["volumes"] if item["name"] == "models"]
    name = mounted["persistentVolumeClaim"]["claimName"]
    return only(manifests, "PersistentVolume"), only(manifests, CLAIM), name


@pytest.mark.parametrize("values", SOURCES, ids=str)
def test_another_source_of_models_has_a_volume_and_a_claim_of_its_own(values: Values) -> None:
    before, claim_before, _ = volume({})
    after, claim_after, mounted = volume(values)
    assert before["spec"] != after["spec"]
    assert before["metadata"]["name"] != after["metadata"]["name"]
    assert claim_before["metadata"]["name"] != claim_after["metadata"]["name"]
    assert before["spec"]["csi"]["volumeHandle"] != after["spec"]["csi"]["volumeHandle"]
    assert mounted == claim_after["metadata"]["name"]


@pytest.mark.parametrize("values", [{}, *SOURCES], ids=str)
def test_the_volume_and_the_claim_name_each_other(values: Values) -> None:
    made, claim, mounted = volume(values)
    assert claim["spec"]["volumeName"] == made["metadata"]["name"]
    assert made["spec"]["claimRef"]["name"] == claim["metadata"]["name"] == mounted
    assert made["spec"]["csi"]["volumeHandle"] == made["metadata"]["name"]


@pytest.mark.parametrize(
    "values",
    [
        {"runtime": {"image": {"tag": "1.11.0"}}},
        {"scaling": {"maxReplicas": 3}},
        {"models": {"mountPath": "/checkpoints"}},
        {"agent": {"settings": {"prefetch": 2}}},
    ],
    ids=str,
)
def test_what_is_no_source_leaves_volume_and_claim_as_they_are(values: Values) -> None:
    before, claim_before, _ = volume({})
    after, claim_after, _ = volume(values)
    assert (before, claim_before) == (after, claim_after)


def test_long_names_keep_what_tells_sources_apart() -> None:
    names = [
        item["metadata"]["name"]
        for values in ({}, SOURCES[0])
        for item in volume(values, release="r" * 53)[:2]
    ]
    assert len(set(names)) == 4
    assert all(len(name) <= 63 for name in names)
