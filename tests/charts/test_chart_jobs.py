"""One pod per job (`scaling.mode: scaledjob`), which ends with its job."""

import helm_python
import pytest
from chart_rendering import (
    BASE,
    Manifest,
    Values,
    containers,
    environment,
    example,
    merged,
    only,
    pod_templates,
    render,
)

from queue_agent.settings.agent import Settings

OWN = {"name": "proxy", "image": "registry.example.com/proxy:1", "args": ["serve"]}


def scaled_job(values: Values) -> Manifest:
    jobs: Values = {"scaling": {"mode": "scaledjob"}}
    spec: Manifest = only(render(merged(merged(example(BASE), jobs), values)), "ScaledJob")["spec"]
    return spec


def test_the_agent_takes_one_message_and_is_the_last_that_the_job_waits_for() -> None:
    extras = {
        "pod": {"extraContainers": [OWN]},
        "telemetry": {"traces": "xray", "collector": {"enabled": True}},
    }
    target = scaled_job(extras)["jobTargetRef"]
    assert (target["parallelism"], target["completions"], target["backoffLimit"]) == (1, 1, 0)
    pod = target["template"]["spec"]
    assert pod["restartPolicy"] == "Never"
    assert [item["name"] for item in pod["containers"]] == ["agent"]
    beside = {item["name"]: item["restartPolicy"] for item in pod["initContainers"]}
    assert beside == dict.fromkeys(("collector", "runtime", "proxy"), "Always")
    agent = pod["containers"][0]
    assert "restartPolicy" not in agent
    assert "lifecycle" not in agent, "Kubernetes stops it first"
    assert Settings.load(environment(agent)).max_jobs == 1


def test_a_pod_that_finds_no_job_goes_after_the_cool_down() -> None:
    for seconds in (0, 120, 45):
        target = scaled_job({"scaling": {"cooldownPeriod": seconds}})["jobTargetRef"]
        agent = Settings.load(environment(target["template"]["spec"]["containers"][0]))
        assert agent.idle_limit == seconds
    deployed = containers(next(pod_templates(render(example(BASE)))))["agent"]
    assert Settings.load(environment(deployed)).idle_limit is None


@pytest.mark.parametrize(
    ("strategy", "in_flight", "words"),
    [
        ("accurate", True, "accurate counts the pods at work itself"),
        ("eager", True, "eager counts the pods at work itself"),
        ("default", False, "take accurate"),
    ],
)
def test_a_strategy_that_counts_pods_twice_or_messages_away_is_refused(
    strategy: str, in_flight: bool, words: str
) -> None:
    own: Values = {"scaledJob": {"strategy": strategy}, "queue": {"scaleOnInFlight": in_flight}}
    with pytest.raises(helm_python.HelmError, match=words):
        scaled_job({"scaling": own})
    own["queue"]["enabled"] = False
    scaled_job({"scaling": {**own, "extraTriggers": [{"type": "cron", "metadata": {}}]}})


@pytest.mark.parametrize(
    ("strategy", "in_flight"),
    [("default", True), ("accurate", False), ("eager", False), ("custom", True)],
)
def test_a_strategy_and_what_it_counts_fit(strategy: str, in_flight: bool) -> None:
    own = {"scaledJob": {"strategy": strategy}, "queue": {"scaleOnInFlight": in_flight}}
    spec = scaled_job({"scaling": own})
    assert spec["scalingStrategy"] == {"strategy": strategy}
    assert spec["triggers"][0]["metadata"]["scaleOnInFlight"] == str(in_flight).lower()


@pytest.mark.parametrize(
    ("deadline", "settings", "fits"),
    [
        (3600, {}, True),
        (900, {}, False),
        (3600, {"runTimeout": 3600}, False),
        (901, {}, True),
        (3600, {"runTimeouts": ["a=60", "text-to-video=3599.5"]}, False),
        (3601, {"runTimeouts": ["a=60", "text-to-video=3599.5"]}, True),
    ],
)
def test_a_deadline_within_a_run_is_refused(deadline: int, settings: Values, fits: bool) -> None:
    own = {
        "scaling": {"scaledJob": {"activeDeadlineSeconds": deadline}},
        "agent": {"settings": settings},
    }
    if fits:
        assert scaled_job(own)["jobTargetRef"]["activeDeadlineSeconds"] == deadline
    else:
        with pytest.raises(helm_python.HelmError, match="activeDeadlineSeconds"):
            scaled_job(own)


def test_a_job_with_a_plain_container_of_the_agent_is_refused() -> None:
    with pytest.raises(helm_python.HelmError, match=r"needs agent\.nativeSidecar"):
        scaled_job({"agent": {"nativeSidecar": False}})
