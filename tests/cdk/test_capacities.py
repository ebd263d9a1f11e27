"""A runtime with queues for spot and for on demand."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from assembly import EXAMPLES, Assembly, synthesised
from image_service.config import Config, ConfigError
from releases import rendered, values_of

NAME = "deadlines"


def test_each_queue_has_nodes_of_its_type_and_pods_that_stay_on_them() -> None:
    lanes = Config.load(EXAMPLES[NAME]).lanes
    assert [lane.name for lane in lanes] == ["videos", "videos-on-demand"]
    for lane, capacity in zip(lanes, ("spot", "on-demand"), strict=True):
        assert lane.runtime.values["karpenter"] == {"capacityTypes": [capacity]}
        selector = {"karpenter.sh/capacity-type": capacity}
        assert lane.runtime.values["pod"] == {"nodeSelector": selector}
        assert lane.runtime.has_spot is (capacity == "spot")


def test_the_releases_render_with_the_other_queue_and_the_nodes_of_their_type() -> None:
    assembly = synthesised(NAME)
    found = {
        values_of(assembly, release)["fullnameOverride"]: release
        for release in assembly.resources("Custom::AWSCDK-EKS-HelmChart")
        if "fullnameOverride" in str(release.properties["Values"])
    }
    assert found.keys() == {"videos", "videos-on-demand"}
    for name, capacity in (("videos", "spot"), ("videos-on-demand", "on-demand")):
        text = rendered(assembly, found[name])
        assert ("QUEUE_AGENT_ON_DEMAND_QUEUE_URL" in text) is (capacity == "spot")
        objects = [it for it in yaml.safe_load_all(text) if it]
        (pool,) = [it for it in objects if it["kind"] == "NodePool"]
        requirements = pool["spec"]["template"]["spec"]["requirements"]
        (types,) = [it for it in requirements if it["key"] == "karpenter.sh/capacity-type"]
        assert types["values"] == [capacity]


def test_only_spot_is_stopped_within_two_minutes() -> None:
    spot, on_demand = Config.load(EXAMPLES[NAME]).lanes
    assert spot.runtime.timings.shutdown_grace < 120
    assert on_demand.runtime.timings.shutdown_grace >= 2 * 300


def test_so_many_on_demand_pods_stay() -> None:
    text = EXAMPLES[NAME].read_text().replace("on_demand_pods: 0", "on_demand_pods: 2")
    spot, on_demand = Config.model_validate(yaml.safe_load(text)).lanes
    assert (spot.runtime.min_pods, on_demand.runtime.min_pods) == (0, 2)


def test_priorities_have_both_as_well() -> None:
    more = "on_demand_pods: 0\n    priorities: [high]"
    text = EXAMPLES[NAME].read_text().replace("on_demand_pods: 0", more)
    lanes = Config.model_validate(yaml.safe_load(text)).lanes
    assert [lane.name for lane in lanes] == [
        "videos", "videos-on-demand", "videos-high", "videos-high-on-demand",
    ]  # fmt: skip
    assert lanes[3].filter_policy == {
        "runtime": ["videos"],
        "priority": ["high"],
        "capacity_type": ["on-demand"],
    }
    assert lanes[2].on_demand == "videos-high-on-demand"


def statements(assembly: Assembly, sid: str) -> list[dict[str, Any]]:
    return [
        statement
        for policy in assembly.resources("AWS::IAM::Policy")
        for statement in policy.properties["PolicyDocument"]["Statement"]
        if statement.get("Sid") == sid
    ]


def test_spot_pods_may_send_on_demand_and_nowhere_else() -> None:
    (sending,) = statements(synthesised(NAME), "SendOnDemand")
    assert sending["Action"] == "sqs:SendMessage"
    assert isinstance(sending["Resource"], dict), "one queue"
    assert statements(synthesised("two-runtimes"), "SendOnDemand") == []


def test_the_function_knows_the_spot_queue_and_may_ask_it() -> None:
    assembly = synthesised(NAME)
    function = assembly.named("AWS::Lambda::Function", Handler="intake.handler.handle")
    spot = str(function.properties["Environment"]["Variables"]["SPOT"])
    assert '{"videos":{"job":300,"start":120,"on_demand_stays":false,"queues":{"":"' in spot
    assert len(statements(assembly, "SeeSpotQueues")) == 1
    other = synthesised("two-runtimes").named(
        "AWS::Lambda::Function", Handler="intake.handler.handle"
    )
    assert "SPOT" not in other.properties["Environment"]["Variables"]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("max_receives: 2", "max_receives must be 3 or more"),
        ("values: {karpenter: {capacityTypes: [spot]}}", "capacityTypes says another thing"),
        ("on_demand_pods: 21", "more than max_pods"),
    ],
)
def test_what_cannot_be_meant_together_is_refused(tmp_path: Path, more: str, said: str) -> None:
    config = yaml.safe_load(EXAMPLES[NAME].read_text())
    config["runtimes"][0] |= yaml.safe_load(more)
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(config))
    with pytest.raises(ConfigError, match=said):
        Config.load(file)
