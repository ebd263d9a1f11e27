"""Someone is told when something is wrong."""

import json

import pytest
from assembly import EXAMPLES, synthesised
from image_service.config import Config


def expected(config: Config) -> set[str]:
    lanes = {f"{kind}-{lane.name}" for lane in config.lanes for kind in ("Waiting", "DeadLetters")}
    front = {"ServerErrors"} if config.api.enabled else set()
    return lanes | {"FailedJobs", "UnroutedJobs"} | front


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_alarm_goes_to_the_topic(name: str) -> None:
    assembly = synthesised(name)
    topic = assembly.named("AWS::SNS::Topic", TopicName=f"{assembly.config.name}-alarms")
    alarms = list(assembly.resources("AWS::CloudWatch::Alarm"))
    assert len(alarms) == len(expected(assembly.config))
    for alarm in alarms:
        assert alarm.properties["AlarmActions"] == [{"Ref": topic.logical_id}], alarm.place
        assert alarm.properties["AlarmDescription"], alarm.place


def test_the_limits_are_those_of_the_configuration() -> None:
    assembly = synthesised("two-runtimes")
    limits = {
        alarm.properties["Threshold"]
        for alarm in assembly.resources("AWS::CloudWatch::Alarm")
        if alarm.properties.get("MetricName") == "ApproximateAgeOfOldestMessage"
    }
    assert limits == {300}
    subscription = assembly.named("AWS::SNS::Subscription", Protocol="email")
    assert subscription.properties["Endpoint"] == "operations@example.com"


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_dashboard_shows_every_queue(name: str) -> None:
    assembly = synthesised(name)
    (dashboard,) = assembly.resources("AWS::CloudWatch::Dashboard")
    text = json.dumps(dashboard.properties["DashboardBody"])
    assert text.count("Jobs waiting") == 1
    assert text.count("ApproximateNumberOfMessagesNotVisible") == len(assembly.config.lanes)
