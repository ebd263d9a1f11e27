"""Topics and queues."""

import pytest
from assembly import EXAMPLES, Assembly, Found, synthesised

from queue_agent.wire.layout import AS_LONG_AS_MESSAGES


def queue(assembly: Assembly, name: str) -> Found:
    return assembly.named("AWS::SQS::Queue", QueueName=f"{assembly.config.name}-{name}")


def filter_policy(assembly: Assembly, name: str) -> object:
    endpoint = {"Fn::GetAtt": [queue(assembly, name).logical_id, "Arn"]}
    (found,) = [
        subscription.properties["FilterPolicy"]
        for subscription in assembly.resources("AWS::SNS::Subscription")
        if subscription.properties["Endpoint"] == endpoint
    ]
    return found


def test_a_queue_gets_the_jobs_of_its_runtime_and_priority() -> None:
    assembly = synthesised("two-runtimes")
    assert filter_policy(assembly, "comfyui") == {"runtime": ["comfyui"]}
    assert filter_policy(assembly, "webui-high") == {"runtime": ["webui"], "priority": ["high"]}
    assert filter_policy(assembly, "webui") == {
        "runtime": ["webui"],
        "priority": [{"exists": False}, {"anything-but": ["high"]}],
    }
    assert filter_policy(assembly, "failures") == {"status": ["failed"]}


def test_the_topic_tells_the_two_queues_apart_by_the_capacity() -> None:
    assembly = synthesised("deadlines")
    assert filter_policy(assembly, "videos") == {
        "runtime": ["videos"],
        "capacity_type": [{"exists": False}, {"anything-but": ["on-demand"]}],
    }
    assert filter_policy(assembly, "videos-on-demand") == {
        "runtime": ["videos"],
        "capacity_type": ["on-demand"],
    }


def test_a_lost_pods_job_is_free_after_about_the_length_of_a_job() -> None:
    assembly = synthesised("two-runtimes")
    assert queue(assembly, "webui").properties["VisibilityTimeout"] == 60
    assert queue(assembly, "comfyui").properties["VisibilityTimeout"] == 600


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_job_queue_has_dead_letters_of_its_own(name: str) -> None:
    assembly = synthesised(name)
    for lane in assembly.config.lanes:
        dead = queue(assembly, f"{lane.name}-dead")
        assert queue(assembly, lane.name).properties["RedrivePolicy"] == {
            "deadLetterTargetArn": {"Fn::GetAtt": [dead.logical_id, "Arn"]},
            "maxReceiveCount": lane.runtime.max_receives,
        }
        allowed = dead.properties["RedriveAllowPolicy"]
        assert allowed["redrivePermission"] == "byQueue"
        assert str(allowed["sourceQueueArns"]).count(f":{assembly.config.name}-{lane.name}'") == 1
        assert dead.properties["MessageRetentionPeriod"] == 14 * 24 * 3600


@pytest.mark.parametrize("name", EXAMPLES)
def test_dead_letters_outlast_the_queue_by_a_day_at_least(name: str) -> None:
    """Their age is counted from the publication, not from when they were given up."""
    assembly = synthesised(name)
    for lane in assembly.config.lanes:
        kept, kept_dead = (
            queue(assembly, name).properties["MessageRetentionPeriod"]
            for name in (lane.name, f"{lane.name}-dead")
        )
        assert kept == lane.runtime.timings.retention
        assert kept_dead >= kept + 24 * 3600


@pytest.mark.parametrize("folder", AS_LONG_AS_MESSAGES)
def test_what_belongs_to_a_message_goes_when_no_queue_keeps_the_message_any_longer(
    folder: str,
) -> None:
    assembly = synthesised("two-runtimes")
    kept = max(
        found.properties["MessageRetentionPeriod"]
        for found in assembly.resources("AWS::SQS::Queue")
        if "MessageRetentionPeriod" in found.properties
    )
    rules = [
        rule
        for bucket in assembly.resources("AWS::S3::Bucket")
        for rule in bucket.properties["LifecycleConfiguration"]["Rules"]
    ]
    (days,) = [rule["ExpirationInDays"] for rule in rules if rule.get("Prefix") == f"{folder}/"]
    assert days * 24 * 3600 == kept


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_queue_is_encrypted(name: str) -> None:
    for found in synthesised(name).resources("AWS::SQS::Queue"):
        assert found.properties["SqsManagedSseEnabled"] is True, found.place
