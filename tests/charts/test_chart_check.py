"""`helm test`: the rendered check, run as a process, and what it shares with the agents."""

import os
import secrets
import subprocess
import sys
from typing import Final

import pytest
from chart_rendering import (
    BASE,
    EXAMPLES,
    FEATURES,
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

from harness import PATIENCE
from queue_agent.cloud import Deployment
from queue_agent.testing.aws import REGION, EmbeddedCloud, deploy

NAME: Final = "demo-queue-agent-check"
KEPT: Final = ("PATH", "HOME", "PYTHONPATH")
"""What the image would bring."""
CHECKED: Final = [name for name in (*EXAMPLES, *FEATURES) if "knative" not in name]


def pod(values: Values) -> Manifest:
    return only(render(values), "Pod", NAME)


async def deployed(cloud: EmbeddedCloud) -> Deployment:
    client = cloud.connect()
    try:
        return await deploy(client, f"check-{secrets.token_hex(4)}")
    finally:
        await client.aclose()


def checked(manifest: Manifest, cloud: EmbeddedCloud) -> "subprocess.CompletedProcess[str]":
    """What the pod does, with the environment that is rendered and the pod's identity."""
    (container,) = manifest["spec"]["containers"]
    system = {name: os.environ[name] for name in KEPT if name in os.environ}
    return subprocess.run(
        [sys.executable, "-m", "queue_agent", *container["args"]],
        env={**system, **cloud.environment(), **environment(container), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )


async def test_it_passes_where_the_agents_would_work_and_tells_what_is_wrong_elsewhere(
    embedded_cloud: EmbeddedCloud,
) -> None:
    deployment = await deployed(embedded_cloud)
    cloud = {
        "region": REGION,
        "queueUrl": deployment.queue_url,
        "topicArn": deployment.notification_topic,
        "bucket": deployment.bucket,
    }
    values = merged(example(BASE), {"cloud": cloud})
    ended = checked(pod(values), embedded_cloud)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    for name in ("queue", "topic", "bucket", "wiring", "clock"):
        assert f"✓ {name}: " in ended.stdout
    assert "runtime is" not in ended.stdout, "there is none in the pod"
    ended = checked(
        pod(merged(values, {"cloud": {"bucket": deployment.bucket + "-none"}})), embedded_cloud
    )
    assert ended.returncode == 1
    assert "✗ bucket: " in ended.stdout


@pytest.mark.parametrize("name", CHECKED)
def test_it_is_what_the_agents_are_but_for_the_gpu(name: str) -> None:
    manifests = manifests_of(name)
    check = only(manifests, "Pod", NAME)
    (container,) = check["spec"]["containers"]
    template = next(pod_templates(manifests))
    agent = containers(template)["agent"]
    assert container["env"] == agent["env"]
    assert container.get("envFrom") == agent.get("envFrom")
    assert container["image"] == agent["image"]
    assert container["securityContext"] == agent["securityContext"]
    for field in ("serviceAccountName", "securityContext", "imagePullSecrets", "dnsConfig"):
        assert check["spec"].get(field) == template["spec"].get(field)
    volumes = {volume["name"] for volume in check["spec"]["volumes"]}
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    assert volumes == set(mounts.values())
    of_agent = {mount["mountPath"] for mount in agent["volumeMounts"]}
    assert of_agent - set(mounts) <= {"/var/run/secrets/kubernetes.io/serviceaccount"}
    assert not any("gpu" in resource for resource in container["resources"]["limits"])


def test_it_is_run_by_helm_test_alone_and_ends() -> None:
    check = pod(example(BASE))
    assert check["metadata"]["annotations"]["helm.sh/hook"] == "test"
    assert check["spec"]["restartPolicy"] == "Never"
    assert check["spec"]["activeDeadlineSeconds"] == 300
    (container,) = check["spec"]["containers"]
    assert not set(container) & {"livenessProbe", "readinessProbe", "startupProbe", "lifecycle"}


@pytest.mark.parametrize("name", CHECKED)
def test_no_other_object_selects_it_but_the_agents_network_policy(name: str) -> None:
    manifests = manifests_of(name)
    labels = only(manifests, "Pod", NAME)["metadata"]["labels"]
    for item in manifests:
        selector = item.get("spec", {}).get("selector", {})
        wanted = selector.get("matchLabels", selector) if isinstance(selector, dict) else {}
        if wanted:
            assert not wanted.items() <= labels.items(), item["kind"]
    if "NetworkPolicy" in kinds(manifests):
        selected = only(manifests, "NetworkPolicy", "demo-queue-agent")["spec"]["podSelector"]
        assert selected["matchLabels"].items() <= labels.items()
        (expression,) = selected["matchExpressions"]
        assert labels[expression["key"]] in expression["values"]


def test_it_is_placed_by_its_own_values_and_can_be_left_out() -> None:
    place = {"nodeSelector": {"pool": "small"}, "tolerations": [{"operator": "Exists"}]}
    spec = pod(merged(values_of("comfyui"), {"helmTest": place}))["spec"]
    assert {name: spec[name] for name in place} == place
    assert not set(place) & set(pod(values_of("comfyui"))["spec"])
    assert "Pod" not in kinds(render(merged(example(BASE), {"helmTest": {"enabled": False}})))
    assert "Pod" not in kinds(manifests_of("knative"))
