"""One queue by its URL, or several by their names."""

import pytest

from queue_agent.settings.agent import Settings
from queue_agent.settings.scaler import ScalerSettings
from queue_agent.wire.errors import SettingsError

SQS = "https://sqs.eu-central-1.amazonaws.com/123456789012"
REST = {
    "QUEUE_AGENT_TOPIC_ARN": "arn:aws:sns:eu-central-1:123456789012:notifications",
    "QUEUE_AGENT_BUCKET": "results",
    "QUEUE_AGENT_RUNTIME": "webui",
}
EACH_SIXTY = f"a:60={SQS}/a,b:60={SQS}/b"


def test_one_queue_has_no_name() -> None:
    settings = Settings.load({**REST, "QUEUE_AGENT_QUEUE_URL": f"{SQS}/jobs"})
    assert settings.served == {"": f"{SQS}/jobs"}


def test_several_queues_stand_in_the_order_in_which_they_are_named() -> None:
    named = f"low:1={SQS}/low, high:6={SQS}/high,normal={SQS}/jobs"
    settings = Settings.load({**REST, "QUEUE_AGENT_QUEUES": named})
    assert list(settings.served.items()) == [
        ("low", f"{SQS}/low"), ("high", f"{SQS}/high"), ("normal", f"{SQS}/jobs")
    ]  # fmt: skip
    assert settings.shares == {"low": 1, "high": 6}


def test_servers_of_nats_stand_by_commas_within_an_entry() -> None:
    address = "nats://one:4222,two:4222/jobs"
    named = f"high={address}/sd/high,normal={address}/sd"
    settings = ScalerSettings.load({"QUEUE_AGENT_QUEUES": named, "QUEUE_AGENT_RUNTIME_NAME": "sd"})
    assert settings.served == {"high": f"{address}/sd/high", "normal": f"{address}/sd"}


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({}, "QUEUE_AGENT_QUEUE_URL or SQS_QUEUE_URL is not set"),
        (
            {"QUEUE_AGENT_QUEUES": f"a={SQS}/a", "QUEUE_AGENT_QUEUE_URL": f"{SQS}/b"},
            "QUEUE_AGENT_QUEUE_URL or SQS_QUEUE_URL: must not be set beside QUEUE_AGENT_QUEUES",
        ),
        ({"QUEUE_AGENT_QUEUES": f"{SQS}/a"}, "QUEUE_AGENT_QUEUES: must be NAME=QUEUE_URL"),
        ({"QUEUE_AGENT_QUEUES": f"a:0={SQS}/a"}, "QUEUE_AGENT_QUEUES: a: a share is 1 to 100"),
        ({"QUEUE_AGENT_QUEUES": f"a={SQS}/a,a={SQS}/b"}, "QUEUE_AGENT_QUEUES: a stands twice"),
        (
            {"QUEUE_AGENT_QUEUES": f"a={SQS}/a,b={SQS}/a"},
            f"QUEUE_AGENT_QUEUES: {SQS}/a stands twice",
        ),
        ({"QUEUE_AGENT_QUEUES": "a=no-address"}, "QUEUE_AGENT_QUEUES: "),
        (
            {
                "QUEUE_AGENT_QUEUES": EACH_SIXTY,
                "QUEUE_AGENT_QUEUE_RULE": "reserved",
            },
            "more than 100 % together",
        ),
        (
            {"QUEUE_AGENT_QUEUES": f"a={SQS}/a", "QUEUE_AGENT_ON_DEMAND_QUEUE_URL": f"{SQS}/b"},
            "set QUEUE_AGENT_ON_DEMAND_QUEUES",
        ),
        (
            {"QUEUE_AGENT_QUEUES": f"a={SQS}/a", "QUEUE_AGENT_ON_DEMAND_QUEUES": f"c={SQS}/c"},
            "'c' is none of QUEUE_AGENT_QUEUES",
        ),
    ],
)
def test_queues_that_do_not_fit_are_one_clear_line(given: dict[str, str], line: str) -> None:
    with pytest.raises(SettingsError) as raised:
        Settings.load({**REST, **given})
    (told,) = str(raised.value).splitlines()
    assert line in told


def test_weights_may_be_more_than_a_hundred_together() -> None:
    named = {
        "QUEUE_AGENT_QUEUES": EACH_SIXTY,
        "QUEUE_AGENT_QUEUE_RULE": "weighted",
    }
    assert Settings.load({**REST, **named}).queue_rule == "weighted"


def test_each_queue_may_have_one_on_demand() -> None:
    named = {
        "QUEUE_AGENT_QUEUES": f"high={SQS}/high,normal={SQS}/jobs",
        "QUEUE_AGENT_ON_DEMAND_QUEUES": f"high={SQS}/high-on-demand",
    }
    assert Settings.load({**REST, **named}).on_demand == {"high": f"{SQS}/high-on-demand"}
    one = {"QUEUE_AGENT_QUEUE_URL": f"{SQS}/a", "QUEUE_AGENT_ON_DEMAND_QUEUE_URL": f"{SQS}/b"}
    assert Settings.load({**REST, **one}).on_demand == {"": f"{SQS}/b"}
