"""A runtime whose pods serve several queues, and a front that tells queues of no tenants."""

import json
from typing import Any

import yaml
from assembly import EXAMPLES, Assembly, synthesised
from image_service.config import Config
from releases import own_releases, rendered, values_of

NAME = "priorities"
URGENT = [{"exists": False}, {"anything-but": ["high", "low"]}]


def by_name(assembly: Assembly) -> dict[str, Any]:
    found = [(values_of(assembly, release), release) for release in own_releases(assembly)]
    return {values["fullnameOverride"]: (values, release) for values, release in found}


def test_the_usual_queue_gets_what_no_other_does() -> None:
    filters = {
        lane.name: lane.filter_policy.get("priority") for lane in Config.load(EXAMPLES[NAME]).lanes
    }
    assert filters == {
        "pictures": URGENT,
        "pictures-on-demand": URGENT,
        "pictures-high": ["high"],
        "pictures-high-on-demand": ["high"],
        "pictures-low": ["low"],
        "pictures-low-on-demand": ["low"],
    }


def test_one_release_for_each_type_of_nodes_serves_all_queues() -> None:
    releases = by_name(synthesised(NAME))
    assert releases.keys() == {"pictures", "pictures-on-demand"}
    for values, _ in releases.values():
        assert "queueUrl" not in values["cloud"]
        queues = values["cloud"]["queues"]
        assert [(it["name"], it["share"]) for it in queues] == [
            ("high", 6),
            ("normal", 3),
            ("low", 1),
        ]
        assert values["agent"]["settings"]["queueRule"] == "weighted"
    sent = releases["pictures"][0]["agent"]["settings"]["onDemandQueues"]
    assert [one.partition("=")[0] for one in sent] == ["normal", "high", "low"]
    assert "onDemandQueues" not in releases["pictures-on-demand"][0]["agent"]["settings"]


def test_the_releases_render_and_their_scaler_counts_all() -> None:
    assembly = synthesised(NAME)
    _, release = by_name(assembly)["pictures"]
    objects = [it for it in yaml.safe_load_all(rendered(assembly, release)) if it]
    (scaled,) = (it for it in objects if it["kind"] == "ScaledObject")
    names = [trigger.get("name") for trigger in scaled["spec"]["triggers"]]
    assert names == ["queue_high", "queue_normal", "queue_low", "work"]


def test_pods_may_take_from_their_queues_alone() -> None:
    assembly = synthesised(NAME)
    taken = [
        statement["Resource"]
        for policy in assembly.resources("AWS::IAM::Policy")
        for statement in policy.properties["PolicyDocument"]["Statement"]
        if statement.get("Sid") == "TakeJobs"
    ]
    assert [len(resources) for resources in taken] == [3, 3]
    distinct = {json.dumps(one) for resources in taken for one in resources}
    assert len(distinct) == 6


def test_every_queue_is_watched() -> None:
    assembly = synthesised(NAME)
    text = json.dumps([it.properties for it in assembly.resources("AWS::CloudWatch::Alarm")])
    assert text.count("ApproximateAgeOfOldestMessage") == len(assembly.config.lanes) == 6


def test_a_front_that_is_not_fair_says_so_to_its_function() -> None:
    for name, expected in ((NAME, "false"), ("minimal", None)):
        function = synthesised(name).named("AWS::Lambda::Function", Handler="intake.handler.handle")
        assert function.properties["Environment"]["Variables"].get("FAIR") == expected
