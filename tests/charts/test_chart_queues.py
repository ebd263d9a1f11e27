"""Pods that serve several queues: what agents are told, and what KEDA counts."""

from typing import Any

import pytest
from chart_rendering import BASE, Values, example, merged, only, render, values_of
from helm_python.errors import HelmError

from queue_agent.cloud.addresses import NatsAddress
from queue_agent.settings.agent import Settings
from queue_agent.settings.gateway import GatewaySettings
from queue_agent.settings.scaler import ScalerSettings

SQS = "https://sqs.us-west-2.amazonaws.com/111122223333/sd"
QUEUES: list[dict[str, Any]] = [
    {"name": "high", "url": f"{SQS}-high", "share": 6},
    {"name": "usual-one", "url": SQS, "share": 3},
    {"name": "low", "url": f"{SQS}-low"},
]
SEVERAL: Values = {"cloud": {"queueUrl": "", "queues": QUEUES}}


def rendered(more: Values | None = None) -> list[dict[str, Any]]:
    return render(merged(merged(example(BASE), SEVERAL), more or {}))


def environment(manifest: dict[str, Any], container: str) -> dict[str, str]:
    spec = manifest["spec"]["template"]["spec"]
    found = {one["name"]: one for one in [*spec["containers"], *spec.get("initContainers", [])]}
    return {it["name"]: it["value"] for it in found[container]["env"] if "value" in it}


def deployments(manifests: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    found = [it for it in manifests if it["kind"] == "Deployment"]
    return {it["metadata"]["name"]: it for it in found}


def test_agents_are_told_all_queues_in_their_order() -> None:
    manifests = rendered({"agent": {"settings": {"queueRule": "weighted"}}})
    (deployment,) = deployments(manifests).values()
    told = environment(deployment, "agent")
    assert "QUEUE_AGENT_QUEUE_URL" not in told
    settings = Settings.load(told)
    assert list(settings.served.items()) == [(it["name"], it["url"]) for it in QUEUES]
    assert settings.shares == {"high": 6, "usual-one": 3}
    assert settings.queue_rule == "weighted"


def test_keda_counts_all_queues_together() -> None:
    spec = only(rendered({"scaling": {"jobSeconds": 5}}), "ScaledObject")["spec"]
    triggers = {it["name"]: it["metadata"]["queueURL"] for it in spec["triggers"]}
    assert triggers == {
        "queue_high": f"{SQS}-high", "queue_usual_one": SQS, "queue_low": f"{SQS}-low"
    }  # fmt: skip
    assert spec["advanced"]["scalingModifiers"] == {
        "formula": "queue_high + queue_usual_one + queue_low",
        "target": "4",
        "activationTarget": "0",
        "metricType": "AverageValue",
    }
    assert spec["advanced"]["horizontalPodAutoscalerConfig"]


def test_the_gateway_counts_all_queues_of_its_release() -> None:
    gateway = {
        "enabled": True,
        "jobTopicArn": "arn:aws:sns:us-west-2:111122223333:jobs",
        "settings": {"open": True},
    }
    manifests = rendered({"gateway": gateway})
    (deployment,) = (it for name, it in deployments(manifests).items() if name.endswith("gateway"))
    settings = GatewaySettings.load(environment(deployment, "gateway"))
    assert list(settings.queues.values()) == [tuple(it["url"] for it in QUEUES)]


def test_one_queue_needs_no_sum() -> None:
    spec = only(render(example(BASE)), "ScaledObject")["spec"]
    assert "scalingModifiers" not in spec["advanced"]
    assert [it["name"] for it in spec["triggers"]] == ["queue"]


def test_jobs_are_started_for_the_messages_of_all_queues() -> None:
    spec = only(rendered({"scaling": {"mode": "scaledjob"}}), "ScaledJob")["spec"]
    assert spec["scalingStrategy"]["multipleScalersCalculation"] == "sum"
    assert len(spec["triggers"]) == 3
    one = only(render(merged(example(BASE), {"scaling": {"mode": "scaledjob"}})), "ScaledJob")
    assert "multipleScalersCalculation" not in one["spec"]["scalingStrategy"]


def test_the_scaler_adds_them_up_itself_and_each_trigger_counts() -> None:
    cron = {"timezone": "UTC", "start": "0 8 * * *", "end": "0 9 * * *", "desiredReplicas": 2}
    manifests = rendered({"scaling": {"by": "work", "cron": [cron]}})
    spec = only(manifests, "ScaledObject")["spec"]
    assert "scalingModifiers" not in spec["advanced"]
    assert [it["type"] for it in spec["triggers"]] == ["aws-sqs-queue"] * 3 + [
        "metrics-api",
        "cron",
    ]
    scaler = next(it for name, it in deployments(manifests).items() if name.endswith("scaler"))
    told = ScalerSettings.load(environment(scaler, "scaler"))
    assert [*told.served] == ["high", "usual-one", "low"]


@pytest.mark.parametrize("mode", ["scaledobject", "scaledjob"])
def test_a_sum_beside_other_triggers_is_refused_in_words(mode: str) -> None:
    cron = {"timezone": "UTC", "start": "0 8 * * *", "end": "0 9 * * *", "desiredReplicas": 2}
    with pytest.raises(HelmError, match=r"scaling\.cron: .* scaling\.by: work"):
        rendered({"scaling": {"mode": mode, "cron": [cron]}})


def test_one_url_beside_several_is_refused() -> None:
    with pytest.raises(HelmError, match=r"cloud\.queueUrl: cloud\.queues names all queues"):
        rendered({"cloud": {"queueUrl": SQS}})


def test_consumers_of_nats_are_counted_and_set_up_all() -> None:
    servers = values_of("nats")["cloud"]["topicArn"].rpartition("/")[0]
    usual = f"{servers}/jobs/sd/xl"
    queues = [
        {"name": "high", "url": f"{usual}/high"},
        {"name": "normal", "url": usual},
        {"name": "low", "url": f"{usual}/low"},
    ]
    manifests = render(
        merged(
            values_of("nats"),
            {"cloud": {"queueUrl": "", "queues": queues}, "scaling": {"by": "length"}},
        )
    )
    spec = only(manifests, "ScaledObject")["spec"]
    addresses = [NatsAddress.parse(it["url"]) for it in queues]
    consumers = [name for it in addresses for name in (it.consumer, it.turns)]
    assert [it["metadata"]["consumer"] for it in spec["triggers"]] == consumers
    names = [name for it in queues for name in (f"queue_{it['name']}", f"queue_{it['name']}_turns")]
    assert spec["advanced"]["scalingModifiers"]["formula"] == " + ".join(names)
    setup = next(
        it for it in manifests if it["kind"] == "Job" and it["metadata"]["name"].endswith("setup")
    )
    assert environment(setup, "setup")["QUEUE_AGENT_QUEUE_URL"] == usual
    (container,) = setup["spec"]["template"]["spec"]["containers"]
    assert container["args"][-2:] == ["--priorities", "high,low"]


def test_the_setup_of_queues_of_several_runtimes_is_refused() -> None:
    servers = values_of("nats")["cloud"]["topicArn"].rpartition("/")[0]
    queues = [{"name": name, "url": f"{servers}/jobs/{name}"} for name in ("sd", "flux")]
    with pytest.raises(HelmError, match=r"cloud\.queues: .* queues of one runtime"):
        render(merged(values_of("nats"), {"cloud": {"queueUrl": "", "queues": queues}}))


def on_nats(nats: dict[str, Any], **scaling: Any) -> list[dict[str, Any]]:
    """One queue, whose length KEDA asks."""
    values = {"cloud": {"nats": nats}, "scaling": {"by": "length", **scaling}}
    return render(merged(values_of("nats"), values))


def counted(manifests: list[dict[str, Any]]) -> tuple[list[str], str]:
    """The names of the triggers, and their sum where there is one."""
    spec = only(manifests, "ScaledObject")["spec"]
    sum_of = spec["advanced"].get("scalingModifiers", {}).get("formula", "")
    return [it.get("name", it["type"]) for it in spec["triggers"]], sum_of


def set_up_with(manifests: list[dict[str, Any]]) -> list[str]:
    (container,) = next(
        it for it in manifests if it["kind"] == "Job" and it["metadata"]["name"].endswith("setup")
    )["spec"]["template"]["spec"]["containers"]
    arguments: list[str] = container["args"]
    return arguments


def test_the_turns_of_tenants_are_counted_where_they_are_set_up() -> None:
    both = (["queue", "queue_turns"], "queue + queue_turns")
    made = on_nats({"setup": {"enabled": True}})
    assert counted(made) == both
    assert "--no-fair" not in set_up_with(made)
    assert counted(on_nats({"setup": {"enabled": False}})) == (["queue"], "")
    assert counted(on_nats({"setup": {"enabled": False}, "fair": "on"})) == both


def test_turns_of_tenants_can_be_switched_off_on_nats() -> None:
    manifests = on_nats({"setup": {"enabled": True}, "fair": "off"})
    assert counted(manifests) == (["queue"], "")
    assert set_up_with(manifests)[-1] == "--no-fair"


def test_beside_other_triggers_the_turns_of_tenants_count_for_themselves() -> None:
    cron = {"timezone": "UTC", "start": "0 8 * * *", "end": "0 9 * * *", "desiredReplicas": 2}
    manifests = on_nats({"setup": {"enabled": True}}, cron=[cron])
    assert counted(manifests) == (["queue", "queue_turns", "cron"], "")
