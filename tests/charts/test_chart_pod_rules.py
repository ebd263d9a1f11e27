"""Values that make a pod which Kubernetes refuses are refused before it is asked, in words."""

from typing import Any

import pytest
from chart_rendering import (
    BASE,
    Values,
    containers,
    example,
    kinds,
    merged,
    only,
    render,
)

GATEWAY: Values = {
    "gateway": {
        "enabled": True,
        "jobTopicArn": "arn:aws:sns:us-west-2:111122223333:jobs",
        "keys": {"secretName": "keys"},
    }
}
COLLECTOR: Values = {"telemetry": {"traces": "xray", "collector": {"enabled": True}}}
CERTIFICATE: Values = {"agent": {"provenance": {"secretName": "signing"}}}
FILES: Values = {"runtime": {"configFiles": {"a.yaml": "a: 1"}}}


def rendered(*values: Values, release: str = "demo") -> list[dict[str, Any]]:
    found = example(BASE)
    for value in values:
        found = merged(found, value)
    return render(found, release=release)


@pytest.mark.parametrize("name", ["agent", "runtime", "collector"])
@pytest.mark.parametrize("kind", ["extraContainers", "extraInitContainers"])
@pytest.mark.parametrize("scaling", ["scaledobject", "scaledjob"])
def test_a_container_called_as_one_of_the_charts_is_refused(
    scaling: str, kind: str, name: str
) -> None:
    own = {"pod": {kind: [{"name": name, "image": "r.example/x:1"}]}}
    with pytest.raises(Exception, match=f"a container is called {name} already"):
        rendered(COLLECTOR, own, {"scaling": {"mode": scaling}})


@pytest.mark.parametrize("name", ["scratch", "shm", "models", "agent-tmp", "provenance"])
def test_a_volume_called_as_one_of_the_charts_is_refused(name: str) -> None:
    own = {"pod": {"extraVolumes": [{"name": name, "emptyDir": {}}]}}
    with pytest.raises(Exception, match=f"a volume is called {name} already"):
        rendered(CERTIFICATE, own)


@pytest.mark.parametrize(
    "values",
    [
        {"runtime": {"extraVolumeMounts": [{"name": "own", "mountPath": "/models"}]}},
        {"runtime": {"extraVolumeMounts": [{"name": "own", "mountPath": "/dev/shm/"}]}},  # noqa: S108
        {"runtime": {"extraVolumeMounts": [{"name": "own", "mountPath": "/etc/runtime"}]}},
        {"runtime": {"writablePaths": ["/models"]}},
        {"agent": {"extraVolumeMounts": [{"name": "own", "mountPath": "/tmp"}]}},  # noqa: S108
        {"models": {"mountPath": "/dev/shm"}},  # noqa: S108
    ],
)
def test_two_volumes_at_one_place_are_refused(values: Values) -> None:
    own = {"pod": {"extraVolumes": [{"name": "own", "emptyDir": {}}]}}
    with pytest.raises(Exception, match="is mounted twice in the container"):
        rendered(FILES, own, values)


def test_a_mount_of_a_volume_that_is_not_there_is_refused() -> None:
    mounts = [{"name": "nowhere", "mountPath": "/x"}]
    with pytest.raises(Exception, match="the container runtime mounts nowhere"):
        rendered({"runtime": {"extraVolumeMounts": mounts}})


@pytest.mark.parametrize(
    ("own", "words"),
    [
        ({"extraVolumes": [{"name": "keys", "emptyDir": {}}]}, "a volume is called keys already"),
        ({"extraVolumes": [{"name": "tmp", "emptyDir": {}}]}, "a volume is called tmp already"),
        ({"extraVolumeMounts": [{"name": "tmp", "mountPath": "/etc/gateway/"}]}, "mounted twice"),
        ({"extraVolumeMounts": [{"name": "own", "mountPath": "/x"}]}, "gateway mounts own, and"),
        ({"extraEnv": [{"name": "A", "value": 1}]}, "A: a value is a text"),
    ],
)
def test_so_it_is_with_the_gateways_pods(own: Values, words: str) -> None:
    with pytest.raises(Exception, match=words):
        rendered(GATEWAY, {"gateway": own})


def test_so_it_is_with_knatives_pods() -> None:
    own = {"pod": {"extraContainers": [{"name": "runtime", "image": "r.example/x:1"}]}}
    with pytest.raises(Exception, match="a container is called runtime already"):
        render(merged(example("knative"), own))


def test_a_variable_twice_or_that_is_no_text_is_refused() -> None:
    twice = [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]
    with pytest.raises(Exception, match="has A twice"):
        rendered({"runtime": {"extraEnv": twice}})
    with pytest.raises(Exception, match="A: a value is a text"):
        rendered({"agent": {"extraEnv": [{"name": "A", "value": 1}]}})


def test_a_runtime_at_the_agents_port_is_refused() -> None:
    with pytest.raises(Exception, match="listens on 9100/TCP, as another one"):
        rendered({"runtime": {"port": 9100}})


@pytest.mark.parametrize(("asked", "limit"), [(1, 2), (1, None), (0, 1), (0, None)])
def test_devices_that_are_asked_for_in_two_numbers_are_refused(
    asked: int, limit: int | None
) -> None:
    own = {"requests": {"nvidia.com/gpu": asked}, "limits": {"nvidia.com/gpu": limit}}
    with pytest.raises(Exception, match=r"nvidia\.com/gpu: requests and limits"):
        rendered({"runtime": {"resources": own}})


@pytest.mark.parametrize("name", ["AWS_REGION", "QUEUE_AGENT_BUCKET"])
def test_a_variable_of_the_charts_is_replaced_and_none_stands_twice(name: str) -> None:
    """Helm 4 applies by the server, which refuses lists with two entries of one name."""
    extra = {"extraEnv": [{"name": name, "value": "mine"}, {"name": "MORE", "value": "x"}]}
    manifests = rendered(
        merged(GATEWAY, {"gateway": extra}),
        {"agent": extra, "scaling": {"by": "work", "work": extra}},
    )
    for workload, container in (
        ("demo-queue-agent", "agent"),
        ("demo-queue-agent-gateway", "gateway"),
        ("demo-queue-agent-scaler", "scaler"),
    ):
        template = only(manifests, "Deployment", workload)["spec"]["template"]
        variables = containers(template)[container]["env"]
        found = {item["name"]: item.get("value") for item in variables}
        assert len(found) == len(variables)
        assert (found[name], found["MORE"]) == ("mine", "x")


@pytest.mark.parametrize("release", ["shop.eu.images", "a" * 49 + ".b", "a" * 53])
def test_a_release_may_have_dots_and_be_long(release: str) -> None:
    manifests = rendered(
        GATEWAY,
        {"scaling": {"by": "work"}, "metrics": {"serviceMonitor": {"enabled": True}}},
        release=release,
    )
    names = [item["metadata"]["name"] for item in manifests if item["kind"] == "Service"]
    assert len(names) == 3
    for name in names:
        assert len(name) <= 63
        assert all(part.isalnum() for part in name.split("-"))
    scaled = only(manifests, "ScaledObject")
    triggers = [it for it in scaled["spec"]["triggers"] if it["type"] == "metrics-api"]
    scaler = next(name for name in names if name.endswith("-scaler"))
    assert triggers
    assert all(f"//{scaler}." in it["metadata"]["url"] for it in triggers)


@pytest.mark.parametrize("name", ["A", "-a", "a_b", "a-"])
@pytest.mark.parametrize("value", ["nameOverride", "fullnameOverride"])
def test_a_name_that_no_object_can_have_is_refused(value: str, name: str) -> None:
    with pytest.raises(Exception, match=value):
        rendered({value: name})


def test_common_labels_never_replace_those_that_objects_are_told_by() -> None:
    own = {"app.kubernetes.io/component": "mine", "app.kubernetes.io/name": "mine", "team": "a"}
    manifests = rendered(GATEWAY, {"commonLabels": own})
    assert kinds(manifests) >= {"Deployment", "Service"}
    for item in manifests:
        labels = item["metadata"]["labels"]
        assert labels["team"] == "a"
        assert labels["app.kubernetes.io/name"] == "queue-agent"
        assert labels.get("app.kubernetes.io/component") != "mine"


def test_a_label_that_kubernetes_cannot_hold_is_refused() -> None:
    with pytest.raises(Exception, match="commonLabels"):
        rendered({"commonLabels": {"team": "x" * 64}})
