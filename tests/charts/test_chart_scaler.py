"""Pods by work: what the chart deploys for it, and what it tells KEDA."""

import re
from typing import Any
from urllib.parse import urlsplit

import pytest
from chart_rendering import (
    BASE,
    NAMESPACE,
    Manifest,
    Values,
    example,
    kinds,
    manifests_of,
    merged,
    only,
    render,
    values_of,
)

from queue_agent.cli.scaler import PATH
from queue_agent.settings.scaler import ScalerSettings

NAME = "demo-queue-agent-scaler"


def by_work(**own: Any) -> list[Manifest]:
    scaling = merged({"by": "work"}, own)
    return render(merged(example(BASE), {"scaling": scaling}))


def environment(manifests: list[Manifest]) -> dict[str, str]:
    pod = only(manifests, "Deployment", NAME)["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["args"] == ["scaler"]
    return {entry["name"]: entry["value"] for entry in container["env"]}


def triggers(manifests: list[Manifest]) -> dict[str, Manifest]:
    return {it["type"]: it for it in only(manifests, "ScaledObject")["spec"]["triggers"]}


def test_by_length_there_is_no_scaler() -> None:
    manifests = render(example(BASE))
    assert set(triggers(manifests)) == {"aws-sqs-queue"}
    assert not [it for it in manifests if it["metadata"]["name"] == NAME]


def test_keda_reads_the_number_of_pods_at_the_scalers_service() -> None:
    manifests = by_work()
    asked = triggers(manifests)["metrics-api"]["metadata"]
    url = urlsplit(asked["url"])
    service = only(manifests, "Service", NAME)
    assert url.hostname == f"{NAME}.{NAMESPACE}.svc"
    assert url.port == service["spec"]["ports"][0]["port"]
    assert (url.path, asked["valueLocation"]) == (PATH, "pods")
    assert asked["targetValue"] == "1", "a pod is worth one"
    assert set(asked) == {"url", "valueLocation", "targetValue"}, "active beyond 0"


def test_the_queues_length_counts_beside_it_as_without_it() -> None:
    without = triggers(render(example(BASE)))["aws-sqs-queue"]
    assert triggers(by_work())["aws-sqs-queue"] == without
    scaled = only(by_work(), "ScaledObject")["spec"]
    assert scaled["fallback"]["behavior"] == "currentReplicasIfHigher"
    assert "scalingModifiers" not in scaled["advanced"]


def test_the_service_finds_the_scaler_and_nothing_else_does() -> None:
    manifests = by_work()
    labels = only(manifests, "Deployment", NAME)["spec"]["template"]["metadata"]["labels"]
    selector = only(manifests, "Service", NAME)["spec"]["selector"]
    assert selector.items() <= labels.items()
    runtime = only(manifests, "Deployment", "demo-queue-agent")["spec"]["selector"]["matchLabels"]
    assert not runtime.items() <= labels.items()


def test_its_settings_are_read_from_the_values() -> None:
    read = ScalerSettings.load(environment(manifests_of("by-work")))
    values = values_of("by-work")
    assert (read.wait, read.start, read.job_seconds, read.max_pods) == (20, 90, 2.5, 40)
    assert read.prefixes == ("output", "shop/results")
    assert read.runtime == "portraits"
    assert (read.queue_url, read.bucket) == (
        values["cloud"]["queueUrl"], values["cloud"]["bucket"]
    )  # fmt: skip


def test_the_charts_defaults_are_the_programs() -> None:
    read = ScalerSettings.load(environment(by_work()))
    usual = {name: field.default for name, field in ScalerSettings.model_fields.items()}
    for name in ("wait", "start", "port", "prefixes", "job_seconds", "host"):
        assert getattr(read, name) == usual[name], name


def test_it_has_the_agents_account_and_no_token_of_kubernetes() -> None:
    manifests = by_work()
    pod, agents = (
        only(manifests, "Deployment", name)["spec"]["template"]["spec"]
        for name in (NAME, "demo-queue-agent")
    )
    assert pod["serviceAccountName"] == agents["serviceAccountName"]
    assert pod["automountServiceAccountToken"] is False


def test_it_runs_on_ordinary_nodes_unless_told_otherwise() -> None:
    pod = only(by_work(), "Deployment", NAME)["spec"]["template"]["spec"]
    assert not {"nodeSelector", "tolerations", "affinity"} & set(pod)
    told = only(manifests_of("by-work"), "Deployment", NAME)["spec"]["template"]["spec"]
    assert told["nodeSelector"] == {"kubernetes.io/arch": "arm64"}
    assert told["tolerations"]
    assert told["priorityClassName"] == "high"


def test_a_new_one_answers_before_the_old_one_goes() -> None:
    spec = only(by_work(), "Deployment", NAME)["spec"]
    assert spec["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    (container,) = spec["template"]["spec"]["containers"]
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"


def test_its_metrics_are_scraped_where_the_agents_are() -> None:
    manifests = manifests_of("by-work")
    monitor = only(manifests, "PodMonitor", NAME)["spec"]
    pod = only(manifests, "Deployment", NAME)["spec"]["template"]
    assert monitor["selector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    (container,) = pod["spec"]["containers"]
    (endpoint,) = monitor["podMetricsEndpoints"]
    assert endpoint["port"] == container["ports"][0]["name"]
    assert "PodMonitor" not in kinds(by_work())


@pytest.mark.parametrize("peers", [[], [{"namespaceSelector": {}}]])
def test_the_network_lets_in_whom_the_values_name(peers: list[Values]) -> None:
    policy = only(by_work(work={"from": peers}), "NetworkPolicy", NAME)["spec"]
    (rule,) = policy["ingress"]
    assert rule.get("from", []) == peers
    assert [port["port"] for port in rule["ports"]] == ["http"]


@pytest.mark.parametrize("mode", ["scaledjob", "hpa", "none"])
def test_other_modes_have_none(mode: str) -> None:
    manifests = by_work(mode=mode, hpa={"metrics": [{"type": "Resource"}]})
    assert not [it for it in manifests if it["metadata"]["name"] == NAME]
    assert not re.search("metrics-api", str(manifests))


def test_without_network_policies_there_is_none_for_it() -> None:
    values = {"scaling": {"by": "work"}, "networkPolicy": {"enabled": False}}
    assert "NetworkPolicy" not in kinds(render(merged(example(BASE), values)))
