"""Settings: both families of names, clear lines for mistakes, secrets kept."""

import pytest

from queue_agent.settings.agent import Settings, environment_names
from queue_agent.wire.errors import SettingsError

REQUIRED = {
    "QUEUE_AGENT_QUEUE_URL": "https://sqs.eu-central-1.amazonaws.com/123456789012/jobs",
    "QUEUE_AGENT_TOPIC_ARN": "arn:aws:sns:eu-central-1:123456789012:notifications",
    "QUEUE_AGENT_BUCKET": "results",
    "QUEUE_AGENT_RUNTIME": "webui",
}
GUIDANCE = {
    "SQS_QUEUE_URL": "https://sqs.eu-central-1.amazonaws.com/123456789012/jobs",
    "SNS_TOPIC_ARN": "arn:aws-cn:sns:cn-north-1:123456789012:notifications",
    "S3_BUCKET": "s3://results/",
    "RUNTIME_TYPE": "sdwebui",
    "RUNTIME_NAME": "sdruntime",
    "API_BASE_URL": "localhost:7860",
    "DYNAMIC_SD_MODEL": "False",
    "EXP_CALLBACK_WHEN_RUNNING": "true",
    "LOGLEVEL": "debug",
    "DISABLE_XRAY": "true",
}


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for field in Settings.model_fields:
        for name in environment_names(field):
            monkeypatch.delenv(name, raising=False)


def load(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> Settings:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return Settings.load()


def test_the_guidances_names_are_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(monkeypatch, GUIDANCE)
    assert settings.runtime == "webui"
    assert settings.name == settings.runtime_name == "sdruntime"
    assert settings.bucket == "results"
    assert settings.runtime_url == "http://localhost:7860"
    assert settings.switch_models is False
    assert settings.notify_running is True
    assert settings.log_level == "DEBUG"
    assert settings.aws_region == "cn-north-1"


def test_our_own_name_wins_over_the_guidances(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(monkeypatch, {**GUIDANCE, "QUEUE_AGENT_BUCKET": "mine"})
    assert settings.bucket == "mine"


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("127.0.0.1:7860", "http://127.0.0.1:7860"),
        ("http://runtime:7860/", "http://runtime:7860"),
        ("http://runtime:7860/sdapi/v1", "http://runtime:7860"),
        ("http://runtime:7860/sdapi/v1/", "http://runtime:7860"),
        ("https://runtime/under/sdapi/v1/", "https://runtime/under"),
    ],
)
def test_the_runtimes_address_is_taken_with_and_without_scheme_and_path(
    monkeypatch: pytest.MonkeyPatch, given: str, url: str
) -> None:
    assert load(monkeypatch, {**REQUIRED, "API_BASE_URL": given}).runtime_url == url


def test_every_missing_setting_is_one_line_with_both_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(SettingsError) as caught:
        load(monkeypatch, {})
    lines = caught.value.message.splitlines()
    assert len(lines) == 4
    assert lines[0].startswith("QUEUE_AGENT_QUEUE_URL or SQS_QUEUE_URL is not set: ")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("QUEUE_AGENT_QUEUE_URL", "jobs"),
        ("QUEUE_AGENT_TOPIC_ARN", "notifications"),
        ("QUEUE_AGENT_BUCKET", "No Bucket"),
        ("QUEUE_AGENT_RUNTIME_URL", "http://"),
        ("QUEUE_AGENT_RUNTIME_AUTH", "only-a-user"),
        ("QUEUE_AGENT_HEALTH_PORT", "70000"),
        ("QUEUE_AGENT_SHUTDOWN_GRACE", "-1"),
        ("QUEUE_AGENT_RECEIVE_WAIT", "21"),
        ("QUEUE_AGENT_NOTIFY_RUNNING", "perhaps"),
        ("QUEUE_AGENT_LOG_LEVEL", "LOUD"),
        ("QUEUE_AGENT_REFERENCE_ALLOW", "300.0.0.0/8"),
    ],
)
def test_a_wrong_setting_is_one_line_that_names_it(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        load(monkeypatch, {**REQUIRED, name: value})
    (line,) = caught.value.message.splitlines()
    assert name in line


def test_an_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(monkeypatch, {**REQUIRED, "QUEUE_AGENT_RUNTIME_URL": ""})
    assert settings.runtime_url is None


def test_secrets_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(
        monkeypatch,
        {
            **REQUIRED,
            "QUEUE_AGENT_RUNTIME_AUTH": "me:hidden",
            "QUEUE_AGENT_RUNTIME_API_KEY": "hush",
        },
    )
    options = settings.runtime_options()
    assert (options.username, options.password, options.api_key) == ("me", "hidden", "hush")
    for shown in (repr(settings), str(settings), repr(options)):
        assert "hidden" not in shown
        assert "hush" not in shown


def test_prefixes_of_the_results_bucket_restrict_what_references_may_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    extra = {"QUEUE_AGENT_REFERENCE_BUCKETS": "inputs, results/shared/"}
    restricted = load(monkeypatch, {**REQUIRED, **extra})
    assert restricted.readable_buckets == {"inputs", "results/shared/"}
    extra = {"QUEUE_AGENT_REFERENCE_BUCKETS": "inputs"}
    opened = load(monkeypatch, {**REQUIRED, **extra})
    assert opened.readable_buckets == {"inputs", "results"}
