"""The chart's gateway: a process started with exactly what is rendered answers and publishes."""

import asyncio
import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import helm_python
import httpx
import pytest
from chart_rendering import (
    BASE,
    Manifest,
    Values,
    containers,
    environment,
    example,
    kinds,
    manifests_of,
    merged,
    only,
    render,
    values_of,
)

from harness import PATIENCE
from queue_agent.cloud import Deployment
from queue_agent.settings.gateway import GatewaySettings
from queue_agent.testing.aws import REGION, EmbeddedCloud, deploy
from queue_agent.testing.process import ServerProcess, free_port

NAME: Final = "demo-queue-agent-gateway"
KEPT: Final = ("PATH", "HOME", "PYTHONPATH")
"""What the image would bring; nothing else of the tests' environment reaches the gateway."""


def gateway_values(deployment: Deployment, **gateway: Any) -> Values:
    """Values as docs/deploying.md has them, for the emulated cloud."""
    return merged(
        example(BASE),
        {
            "cloud": {
                "region": REGION,
                "queueUrl": deployment.queue_url,
                "topicArn": deployment.notification_topic,
                "bucket": deployment.bucket,
            },
            "runtime": {"name": deployment.runtime_name},
            "gateway": {
                "enabled": True,
                "jobTopicArn": deployment.job_topic,
                "port": free_port(),
                **gateway,
            },
        },
    )


def gateway_pod(values: Values) -> Manifest:
    template: Manifest = only(render(values), "Deployment", NAME)["spec"]["template"]
    return template


@contextmanager
def started(
    pod: Manifest, cloud: EmbeddedCloud, secret_files: Mapping[str, Path], folder: Path
) -> Iterator[httpx.Client]:
    """The pod's gateway as a process, with its Secrets' files where the pod mounts them."""
    container = containers(pod)["gateway"]
    variables = environment(container)
    root = folder / "root"
    for volume in pod["spec"]["volumes"]:
        if "secret" in volume:
            (mount,) = [one for one in container["volumeMounts"] if one["name"] == volume["name"]]
            mounted = root / mount["mountPath"].lstrip("/")
            mounted.parent.mkdir(parents=True)
            mounted.symlink_to(secret_files[volume["secret"]["secretName"]])
            variables = {
                name: value.replace(f"{mount['mountPath']}/", f"{mounted}/")
                for name, value in variables.items()
            }
    system = {name: os.environ[name] for name in KEPT if name in os.environ}
    # the pod's identity and the emulated cloud's address are not the chart's to give
    whole = {**system, **cloud.environment(), **variables}
    given = [f"{name}={value}" for name, value in whole.items()]
    process = ServerProcess(
        ["env", "-i", *given, sys.executable, "-m", "queue_agent", *container["args"]],
        port=container["ports"][0]["containerPort"],
        log=folder / "gateway.log",
    )
    probe = container["readinessProbe"]["httpGet"]["path"]
    with process, httpx.Client(base_url=process.url, timeout=PATIENCE) as client:
        while (answer := client.get(probe)).status_code != 200:
            assert answer.status_code == 503, "the route answers when asked"
        yield client


def made_secret(folder: Path) -> tuple[str, Path]:
    """A key, and the Secret's folder with its keys file, made by the commands of the docs."""
    files = folder / "secret"
    files.mkdir()
    queue_agent = f'{sys.executable} -m queue_agent gateway-key "$1"'
    script = f"""printf '{{"keys": [%s]}}' "$({queue_agent})" > keys.json"""
    made = subprocess.run(
        ["sh", "-ec", script, "sh", "team-a"],
        cwd=files,
        env={name: os.environ[name] for name in KEPT if name in os.environ},
        capture_output=True,
        text=True,
        check=True,
    )
    return made.stderr.split()[-1], files


async def received(cloud: EmbeddedCloud, queue_url: str) -> dict[str, Any]:
    """The job that waits in the queue."""
    client = cloud.connect()
    try:
        async with asyncio.timeout(PATIENCE):
            while True:
                found = await client.queue(queue_url).receive(1, wait=1, visibility_timeout=30)
                for message in found:
                    job: dict[str, Any] = json.loads(json.loads(message.body)["Message"])
                    return job
    finally:
        await client.aclose()


async def deployed(cloud: EmbeddedCloud) -> Deployment:
    client = cloud.connect()
    try:
        return await deploy(client, f"chart-{secrets.token_hex(4)}")
    finally:
        await client.aclose()


async def test_the_gateway_starts_with_what_is_rendered_and_publishes_a_job(
    embedded_cloud: EmbeddedCloud, tmp_path: Path
) -> None:
    deployment = await deployed(embedded_cloud)
    key, files = made_secret(tmp_path)
    pod = gateway_pod(gateway_values(deployment, keys={"secretName": "gateway-keys"}))
    job = {"content": {"prompt": "a lighthouse at dusk", "steps": 1}}
    with started(pod, embedded_cloud, {"gateway-keys": files}, tmp_path) as client:
        assert client.post("/v1/jobs", json=job).status_code == 401
        answer = client.post("/v1/jobs", json=job, headers={"Authorization": f"Bearer {key}"})
        assert answer.status_code == 202, answer.text
        told = await received(embedded_cloud, deployment.queue_url)
    assert told["metadata"]["runtime"] == deployment.runtime_name
    assert told["metadata"]["id"] == answer.json()["id"]
    assert told["content"]["prompt"] == "a lighthouse at dusk"


async def test_one_gateway_offers_the_runtimes_of_other_releases(
    embedded_cloud: EmbeddedCloud, tmp_path: Path
) -> None:
    deployment = await deployed(embedded_cloud)
    runtimes = [
        {"name": "first"},
        {"name": deployment.runtime_name, "queueUrl": deployment.queue_url},
    ]
    own = {"runtimes": runtimes, "settings": {"open": True, "linkSeconds": 0}}
    pod = gateway_pod(gateway_values(deployment, **own))
    job = {"metadata": {"runtime": deployment.runtime_name}, "content": {"prompt": "a cat"}}
    with started(pod, embedded_cloud, {}, tmp_path) as client:
        offered = client.get("/v1/runtimes").json()["runtimes"]
        assert [one["name"] for one in offered] == ["first", deployment.runtime_name]
        assert client.post("/v1/jobs", json=job).status_code == 202
        told = await received(embedded_cloud, deployment.queue_url)
    assert told["content"]["prompt"] == "a cat"


def test_a_gateway_that_would_not_start_is_not_rendered() -> None:
    without = merged(values_of("gateway-ingress"), {"gateway": {"keys": {"secretName": ""}}})
    with pytest.raises(helm_python.HelmError, match=r"gateway\.keys\.secretName"):
        render(without)
    for enough in (
        {"settings": {"open": True}},
        {"extraEnv": [{"name": "QUEUE_AGENT_GATEWAY_OPEN", "value": "true"}]},
        {"envFrom": [{"configMapRef": {"name": "own"}}]},
    ):
        assert gateway_pod(merged(without, {"gateway": enough}))


def test_its_settings_reach_the_gateway_as_it_reads_them() -> None:
    own = {
        "rate": 60,
        "jobsInFlight": 5,
        "bodyLimit": 67_108_864,
        "corsOrigins": ["https://a.example.com", "https://b.example.com"],
        "prefixes": ["shop/a"],
        "syncTimeout": 90.5,
        "logLevel": "DEBUG",
        "tenant": "house",
        "fair": False,
    }
    pod = gateway_pod(merged(values_of("gateway-ingress"), {"gateway": {"settings": own}}))
    settings = GatewaySettings.load(environment(containers(pod)["gateway"]))
    assert (settings.rate, settings.jobs_in_flight, settings.sync_timeout) == (60, 5, 90.5)
    assert settings.body_limit == 67_108_864
    assert settings.cors_origins == ("https://a.example.com", "https://b.example.com")
    assert settings.prefixes == ("shop/a",)
    assert settings.log_level == "DEBUG"
    assert (settings.tenant, settings.fair) == ("house", False)


@pytest.mark.parametrize("settings", [{"rates": 1}, {"rate": -1}, {"port": 8000}, {"host": "::"}])
def test_what_the_gateway_would_not_read_is_refused(settings: Values) -> None:
    with pytest.raises(helm_python.HelmValuesError, match="settings"):
        render(merged(values_of("gateway-ingress"), {"gateway": {"settings": settings}}))


def test_readiness_asks_whether_it_can_work_and_liveness_only_whether_it_lives() -> None:
    container = containers(gateway_pod(values_of("gateway-ingress")))["gateway"]
    paths = {
        kind: container[kind]["httpGet"]["path"]
        for kind in ("startupProbe", "readinessProbe", "livenessProbe")
    }
    assert paths == {
        "startupProbe": "/healthz",
        "readinessProbe": "/readyz",
        "livenessProbe": "/healthz",
    }


def test_its_pods_stand_where_the_values_say_and_not_where_the_runtimes_do() -> None:
    own: Values = {
        "nodeSelector": {"kubernetes.io/arch": "arm64"},
        "tolerations": [{"key": "system", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "priorityClassName": "front",
        "podLabels": {"team": "images", "app.kubernetes.io/component": "other"},
        "podAnnotations": {"a": "b"},
        "extraVolumes": [{"name": "ca", "configMap": {"name": "ca"}}],
        "extraVolumeMounts": [{"name": "ca", "mountPath": "/etc/ca"}],
    }
    base = merged(values_of("gateway-ingress"), {"pod": {"nodeSelector": {"gpu": "yes"}}})
    pod = gateway_pod(merged(base, {"gateway": own}))
    for name in ("nodeSelector", "tolerations", "affinity", "priorityClassName"):
        assert pod["spec"][name] == own[name]
    assert pod["metadata"]["annotations"] == {"a": "b"}
    assert pod["metadata"]["labels"]["team"] == "images"
    assert pod["metadata"]["labels"]["app.kubernetes.io/component"] == "gateway"
    assert own["extraVolumes"][0] in pod["spec"]["volumes"]
    assert own["extraVolumeMounts"][0] in containers(pod)["gateway"]["volumeMounts"]
    plain = gateway_pod(base)["spec"]
    assert not {"nodeSelector", "tolerations", "affinity", "priorityClassName"} & set(plain)


def test_a_drain_of_nodes_takes_its_pods_one_by_one() -> None:
    manifests = manifests_of("gateway-ingress")
    budget = only(manifests, "PodDisruptionBudget")
    pod = only(manifests, "Deployment", NAME)["spec"]
    assert (budget["spec"]["maxUnavailable"], budget["spec"]["selector"]) == (1, pod["selector"])
    without = {"gateway": {"podDisruptionBudget": {"enabled": False}}}
    assert "PodDisruptionBudget" not in kinds(render(merged(values_of("gateway-ingress"), without)))
