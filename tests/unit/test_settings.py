"""Settings: both families of names, clear lines for mistakes, secrets kept, one answer for all."""

import io
import traceback
from pathlib import Path
from typing import Any, get_args

import pytest
import typer
from rich.console import Console
from structlog.testing import capture_logs
from typer.testing import CliRunner

from queue_agent.cli.app import app
from queue_agent.cli.check import settings_table
from queue_agent.cli.environment import load, warn_of_unknown_names
from queue_agent.cli.options import make_runtime, runtime_options, warm_up_job
from queue_agent.settings.agent import Settings
from queue_agent.settings.client import ClientSettings
from queue_agent.settings.gateway import GatewaySettings
from queue_agent.settings.known import PROGRAMS, known_names, unknown_names
from queue_agent.settings.reader import PREFIX, Reader, names_of
from queue_agent.wire.errors import SettingsError
from tls_servers import certified

REQUIRED = {
    "QUEUE_AGENT_QUEUE_URL": "https://sqs.eu-central-1.amazonaws.com/123456789012/jobs",
    "QUEUE_AGENT_TOPIC_ARN": "arn:aws:sns:eu-central-1:123456789012:notifications",
    "QUEUE_AGENT_BUCKET": "results",
    "QUEUE_AGENT_RUNTIME": "webui",
}
GATEWAY = {
    "QUEUE_AGENT_JOB_TOPIC_ARN": "arn:aws:sns:eu-central-1:123456789012:jobs",
    "QUEUE_AGENT_TOPIC_ARN": "arn:aws:sns:eu-central-1:123456789012:notifications",
    "QUEUE_AGENT_BUCKET": "results",
    "QUEUE_AGENT_RUNTIME_NAME": "sdruntime",
}
NEEDED: dict[type[Reader], dict[str, str]] = {
    Settings: REQUIRED,
    ClientSettings: {},
    GatewaySettings: GATEWAY,
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


def test_the_guidances_names_are_understood() -> None:
    settings = Settings.load(GUIDANCE)
    assert settings.runtime == "webui"
    assert settings.name == settings.runtime_name == "sdruntime"
    assert settings.bucket == "results"
    assert settings.runtime_url == "http://localhost:7860"
    assert settings.switch_models is False
    assert settings.notify_running is True
    assert settings.log_level == "DEBUG"
    assert settings.topic_arn == GUIDANCE["SNS_TOPIC_ARN"]


def test_our_own_name_wins_over_the_guidances() -> None:
    settings = Settings.load({**GUIDANCE, "QUEUE_AGENT_BUCKET": "mine"})
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
    given: str, url: str
) -> None:
    assert Settings.load({**REQUIRED, "API_BASE_URL": given}).runtime_url == url


def test_every_missing_setting_is_one_line_with_both_names() -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.load({})
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
def test_a_wrong_setting_is_one_line_that_names_it(name: str, value: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.load({**REQUIRED, name: value})
    (line,) = caught.value.message.splitlines()
    assert name in line


def test_an_empty_variable_counts_as_unset() -> None:
    settings = Settings.load({**REQUIRED, "QUEUE_AGENT_RUNTIME_URL": ""})
    assert settings.runtime_url is None


def test_secrets_do_not_show() -> None:
    settings = Settings.load(
        {
            **REQUIRED,
            "QUEUE_AGENT_RUNTIME_AUTH": "me:hidden",
            "QUEUE_AGENT_RUNTIME_API_KEY": "hush",
        },
    )
    options = runtime_options(settings)
    assert (options.username, options.password, options.api_key) == ("me", "hidden", "hush")
    for shown in (repr(settings), str(settings), repr(options)):
        assert "hidden" not in shown
        assert "hush" not in shown


def test_adapters_know_which_checkpoints_are_of_use() -> None:
    settings = Settings.load({**REQUIRED, "QUEUE_AGENT_CHECKPOINT_LIMIT": "1048576"})
    assert runtime_options(settings).checkpoint_limit == settings.checkpoint_limit == 2**20


def test_prefixes_of_the_results_bucket_restrict_what_references_may_name() -> None:
    extra = {"QUEUE_AGENT_REFERENCE_BUCKETS": "inputs, results/shared/"}
    restricted = Settings.load({**REQUIRED, **extra})
    assert restricted.readable_buckets == {"inputs", "results/shared/"}
    extra = {"QUEUE_AGENT_REFERENCE_BUCKETS": "inputs"}
    opened = Settings.load({**REQUIRED, **extra})
    assert opened.readable_buckets == {"inputs", "results"}


def answer(program: type[Reader], name: str, value: str) -> tuple[Any, str] | None:
    """What a program makes of a variable: the value, or the line of the error; None: nothing."""
    field = next((field for field in program.fields() if name in names_of(program, field)), None)
    if field is None:
        return None
    needed = {key: text for key, text in NEEDED[program].items() if key != PREFIX + name}
    try:
        return getattr(program.load({**needed, name: value}), field), ""
    except SettingsError as error:
        return None, error.message


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("QUEUE_AGENT_BUCKET", "my-bucket", "my-bucket"),
        ("QUEUE_AGENT_BUCKET", "s3://my-bucket", "my-bucket"),
        ("QUEUE_AGENT_BUCKET", "s3://my-bucket/", "my-bucket"),
        ("QUEUE_AGENT_BUCKET", "My Bucket", None),
        ("QUEUE_AGENT_BUCKET", "my-bucket/folder", None),
        ("QUEUE_AGENT_TOPIC_ARN", "arn:aws-cn:sns:cn-north-1:1:n", "arn:aws-cn:sns:cn-north-1:1:n"),
        ("QUEUE_AGENT_TOPIC_ARN", "notifications", None),
        ("QUEUE_AGENT_JOB_TOPIC_ARN", "arn:aws:sns:us-east-1:1:j", "arn:aws:sns:us-east-1:1:j"),
        ("QUEUE_AGENT_JOB_TOPIC_ARN", "arn:aws:sqs:us-east-1:1:j", None),
        ("QUEUE_AGENT_QUEUE_URL", "https://sqs.example.com/1/j", "https://sqs.example.com/1/j"),
        ("QUEUE_AGENT_QUEUE_URL", "sqs.example.com/1/j", None),
        ("QUEUE_AGENT_RUNTIME_NAME", "sdruntime", "sdruntime"),
        ("QUEUE_AGENT_RUNTIME_NAME", "quarantine", None),
        ("QUEUE_AGENT_REGION", "eu-central-1", "eu-central-1"),
        ("QUEUE_AGENT_LOG_LEVEL", "debug", "DEBUG"),
        ("QUEUE_AGENT_LOG_LEVEL", "LOUD", None),
        ("QUEUE_AGENT_LOG_FORMAT", "json", "json"),
        ("QUEUE_AGENT_LOG_FORMAT", "xml", None),
    ],
)
def test_agent_client_and_gateway_make_the_same_of_the_same_value(
    name: str, value: str, expected: str | None
) -> None:
    answers = [answer(program, name, value) for program in NEEDED]
    found = [given for given in answers if given is not None]
    assert found
    for read, problem in found:
        assert read == expected
        assert (name in problem) is (expected is None)
        assert problem == found[0][1]


def test_no_setting_is_defined_twice() -> None:
    """Programs that read the same name agree on the other names, bounds, form and text."""
    seen: dict[str, Any] = {}
    for program in PROGRAMS.values():
        document = program.model_json_schema()["properties"]
        for field in program.fields():
            names = names_of(program, field)
            described = document[names[0]]
            forms = described.get("anyOf", [described])
            words = ("type", "enum", "pattern", "minimum", "maximum", "exclusiveMinimum")
            form = [[part.get(word) for word in words] for part in forms]
            form = [part for part in form if part[0] != "null"]
            assert seen.setdefault(names[0], (names, described["description"], form)) == (
                names,
                described["description"],
                form,
            )


def test_a_gateway_without_a_runtime_says_what_it_misses() -> None:
    environment = {name: value for name, value in GATEWAY.items() if "RUNTIME" not in name}
    with pytest.raises(SettingsError) as caught:
        GatewaySettings.load(environment)
    (line,) = caught.value.message.splitlines()
    assert line.startswith("QUEUE_AGENT_GATEWAY_RUNTIMES or QUEUE_AGENT_RUNTIME_NAME is not set")


def test_queues_on_several_servers_of_nats_stand_by_commas_among_runtimes() -> None:
    one, two = "one=nats://a:4222,b,c:4333/jobs/one", "two=tls://d/jobs/two"
    environment = {**GATEWAY, "QUEUE_AGENT_GATEWAY_RUNTIMES": f"{one}, {two},three"}
    assert GatewaySettings.load(environment).runtimes == (one, two, "three")
    with pytest.raises(SettingsError, match="names no stream"):
        GatewaySettings.load({**GATEWAY, "QUEUE_AGENT_GATEWAY_RUNTIMES": "one=nats://a,two"})


def test_what_is_given_wins_over_the_environment_by_whichever_name() -> None:
    given = {"QUEUE_AGENT_BUCKET": "given", "QUEUE_AGENT_TOPIC_ARN": None}
    settings = ClientSettings.load({**GUIDANCE, "QUEUE_AGENT_BUCKET": "mine"}, given)
    assert settings.bucket == "given"
    assert settings.notification_topic == GUIDANCE["SNS_TOPIC_ARN"]
    assert ClientSettings.load(GUIDANCE, given).bucket == "given"


def test_an_error_with_its_causes_repeats_nothing_of_the_environment() -> None:
    environment = {
        "QUEUE_AGENT_RUNTIME_AUTH": "planted-auth",
        "QUEUE_AGENT_RUNTIME_API_KEY": "planted key",
        "QUEUE_AGENT_WEBHOOK_SECRET": "planted-secret",
        "AWS_SECRET_ACCESS_KEY": "planted-aws",
    }
    with pytest.raises(SettingsError) as caught:
        Settings.load(environment)
    assert "planted" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("QUEUE_AGENT_BUKET", "QUEUE_AGENT_BUCKET"),
        ("QUEUE_AGENT_PREFETCHES", "QUEUE_AGENT_PREFETCH"),
        ("QUEUE_AGENT_prefetch", "QUEUE_AGENT_PREFETCH"),
        ("QUEUE_AGENT_GATEWAY_KEY_FILE", "QUEUE_AGENT_GATEWAY_KEYS_FILE"),
        ("QUEUE_AGENT_HEALT_PORT", "QUEUE_AGENT_HEALTH_PORT"),
        ("QUEUE_AGENT_XYZZY", None),
    ],
)
def test_a_name_that_is_no_setting_is_told_with_the_nearest_that_is(
    name: str, nearest: str | None
) -> None:
    (found,) = unknown_names({**REQUIRED, **GATEWAY, name: "9100", "OTHER_BUKET": "1"})
    assert (found.name, found.nearest) == (name, nearest)
    assert name in str(found)
    assert (nearest or "no setting.") in str(found)


def test_what_kubernetes_tells_of_a_service_called_queue_agent_is_no_mistake() -> None:
    links = {
        "QUEUE_AGENT_SERVICE_HOST": "10.0.0.1",
        "QUEUE_AGENT_SERVICE_PORT": "80",
        "QUEUE_AGENT_WEB_SERVICE_PORT_HTTP": "80",
        "QUEUE_AGENT_PORT": "tcp://10.0.0.1:80",
        "QUEUE_AGENT_PORT_80_TCP": "tcp://10.0.0.1:80",
        "QUEUE_AGENT_PORT_80_TCP_ADDR": "10.0.0.1",
    }
    assert unknown_names(links) == []


def test_every_setting_and_every_variable_of_an_option_is_known() -> None:
    options = [
        parameter.envvar or ()
        for command in typer.main.get_group(app).commands.values()
        for parameter in command.params
    ]
    named = {name for names in options for name in ([names] if isinstance(names, str) else names)}
    assert "QUEUE_AGENT_DEAD_LETTER_QUEUE_URL" in named
    assert unknown_names(dict.fromkeys(named | known_names(), "x")) == []


@pytest.mark.parametrize("value", ["nan", "inf"])
@pytest.mark.parametrize(
    "command",
    [
        ("clean", "--older-than"),
        ("setup", "--lease"),
        ("submit", "--cfg"),
        ("submit", "--seconds"),
        ("submit", "--strength"),
        ("submit", "--expires-in"),
        ("submit", "--within"),
        ("submit", "--timeout"),
        ("plan", "--days"),
    ],
)
def test_no_option_takes_a_number_that_is_none(command: tuple[str, str], value: str) -> None:
    result = CliRunner().invoke(app, [*command, value])
    assert result.exit_code == 2
    assert command[1] in result.output


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_no_setting_of_any_program_takes_a_number_that_is_none(value: str) -> None:
    fractions = 0
    for program in PROGRAMS.values():
        names = {
            names_of(program, name)[0]
            for name, field in program.model_fields.items()
            if float in (field.annotation, *get_args(field.annotation))
        }
        if not names:
            continue
        with pytest.raises(SettingsError) as error:
            program.load(dict.fromkeys(names, value))
        assert [name for name in names if name not in error.value.message] == []
        fractions += len(names)
    assert fractions > 10


def test_unknown_names_stand_beside_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in known_names():
        monkeypatch.delenv(name, raising=False)
    for name in REQUIRED.keys() - {"QUEUE_AGENT_BUCKET"}:
        monkeypatch.setenv(name, REQUIRED[name])
    monkeypatch.setenv("QUEUE_AGENT_BUKET", "results")
    with pytest.raises(SettingsError) as caught:
        load(Settings)
    missing, unknown = caught.value.message.splitlines()
    assert missing.startswith("QUEUE_AGENT_BUCKET or S3_BUCKET is not set")
    assert unknown == "QUEUE_AGENT_BUKET is no setting; is QUEUE_AGENT_BUCKET meant?"


def test_unknown_names_are_warned_of_in_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUEUE_AGENT_BUKET", "results")
    with capture_logs() as logs:
        warn_of_unknown_names()
    (line,) = logs
    assert line["log_level"] == "warning"
    assert (line["name"], line["nearest"]) == ("QUEUE_AGENT_BUKET", "QUEUE_AGENT_BUCKET")


def test_the_check_shows_each_setting_and_where_it_comes_from_but_no_secret() -> None:
    environment = {
        **REQUIRED,
        "RUNTIME_NAME": "sdruntime",
        "QUEUE_AGENT_RUNTIME_AUTH": "me:planted",
        "QUEUE_AGENT_OTLP_ENDPOINT": "http://me:planted@127.0.0.1:4318",
        "QUEUE_AGENT_WEBHOOK_HOSTS": "a.example, b.example",
        "QUEUE_AGENT_WEBHOOK_SECRET": "whsec_" + 32 * "a",
    }
    console = Console(file=io.StringIO(), record=True, width=200)
    console.print(settings_table(Settings.load(environment), environment))
    shown = console.export_text()
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in shown.splitlines()]
    cells = {row[0]: row[1:] for row in rows if row}
    assert set(cells) == {names_of(Settings, field)[0] for field in Settings.fields()}
    assert cells["QUEUE_AGENT_RUNTIME_NAME"] == ["sdruntime", "RUNTIME_NAME"]
    assert cells["QUEUE_AGENT_PREFETCH"] == ["20", "default"]
    assert cells["QUEUE_AGENT_WEBHOOK_HOSTS"] == [
        "a.example, b.example",
        "QUEUE_AGENT_WEBHOOK_HOSTS",
    ]
    for secret in ("RUNTIME_AUTH", "WEBHOOK_SECRET"):
        assert cells[f"QUEUE_AGENT_{secret}"] == ["********", f"QUEUE_AGENT_{secret}"]
    assert "planted" not in shown
    assert "whsec" not in shown


HEADERS = "QUEUE_AGENT_RUNTIME_HEADERS"


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        (
            '{"Cookie": "a=b; c=d", "X-Team": " images "}',
            {"Cookie": "a=b; c=d", "X-Team": "images"},
        ),
        ("Cookie: a=b\r\nX-Url: http://x:1/y\n\n", {"Cookie": "a=b", "X-Url": "http://x:1/y"}),
        ("X-Empty:\n", {"X-Empty": ""}),
    ],
)
def test_headers_for_the_runtime_come_from_variable_and_file(
    text: str, fields: dict[str, str], tmp_path: Path
) -> None:
    settings = Settings.load({**REQUIRED, HEADERS: text})
    assert runtime_options(settings).headers == fields
    file = tmp_path / "headers"
    file.write_text(text)
    settings = Settings.load({**REQUIRED, HEADERS + "_FILE": str(file)})
    assert runtime_options(settings).headers == fields
    both = Settings.load({**REQUIRED, HEADERS: "X-Other: 1", HEADERS + "_FILE": str(file)})
    assert runtime_options(both).headers == {"X-Other": "1", **fields}


@pytest.mark.parametrize(
    "text",
    [
        "s3cret",
        "{s3cret",
        '["s3cret"]',
        '{"Cookie": 53}',
        '{"Cookie": {"a": "s3cret"}}',
        "X Y: s3cret",
        ": s3cret",
        "Cookie: s3\u2028cret",
        '{"Cookie": "s3cret\\r\\nX-Other: 1"}',
        "Cookie: s3cret\ncookie: s3cret",
        "Content-Length: 5",
        "Transfer-Encoding: chunked",
        "\n\n",
        "{}",
    ],
)
def test_what_no_header_can_hold_is_refused_without_being_repeated(
    text: str, tmp_path: Path
) -> None:
    file = tmp_path / "headers"
    file.write_text(text)
    for name, value in ((HEADERS, text), (HEADERS + "_FILE", str(file))):
        with pytest.raises(SettingsError) as caught:
            runtime_options(Settings.load({**REQUIRED, name: value}))
        assert name in caught.value.message
        assert "s3cret" not in caught.value.message


def test_headers_for_the_runtime_are_never_shown() -> None:
    settings = Settings.load({**REQUIRED, HEADERS: "Cookie: s3cret"})
    assert "s3cret" not in settings.shown("runtime_headers")
    assert "s3cret" not in repr(settings)
    assert "s3cret" not in repr(runtime_options(settings))


def test_a_file_of_authorities_must_hold_certificates(tmp_path: Path) -> None:
    _, pem = certified("localhost", tmp_path)
    name = "QUEUE_AGENT_RUNTIME_CA_FILE"
    settings = Settings.load({**REQUIRED, name: str(pem)})
    assert runtime_options(settings).ca_file == pem
    empty = tmp_path / "empty.pem"
    empty.write_text("no certificate")
    for wrong in (empty, tmp_path / "missing.pem"):
        with pytest.raises(SettingsError, match=name):
            runtime_options(Settings.load({**REQUIRED, name: str(wrong)}))


PORTABLE_BODY = '{"metadata": {"tasktype": "text-to-image"}, "content": {"prompt": "a cat"}}'


@pytest.mark.parametrize(
    ("text", "task_type"),
    [
        (PORTABLE_BODY, "text-to-image"),
        (f"\n {PORTABLE_BODY}", "text-to-image"),
        (f'{{"task": {PORTABLE_BODY}}}', "text-to-image"),
        ('{"content": {"image": "https://x/y.png"}}', "extra-single-image"),
    ],
)
def test_the_warm_up_is_a_jobs_body_or_a_file_that_holds_it(
    text: str, task_type: str, tmp_path: Path
) -> None:
    file = tmp_path / "warm-up.json"
    file.write_text(text)
    for value in (text, str(file)):
        settings = Settings.load({**REQUIRED, "QUEUE_AGENT_WARM_UP": value})
        job = warm_up_job(settings, make_runtime(settings))
        assert job is not None
        assert (job.id, job.task_type) == ("warm-up", task_type)


def test_the_adapter_has_a_warm_up_of_its_own_for_who_asks_for_it() -> None:
    settings = Settings.load({**REQUIRED, "QUEUE_AGENT_WARM_UP": "default"})
    job = warm_up_job(settings, make_runtime(settings))
    assert job is not None
    assert (job.id, job.task_type, job.content["steps"]) == ("warm-up", "text-to-image", 1)


def test_an_adapter_without_one_is_a_wrong_setting() -> None:
    settings = Settings.load({**REQUIRED, "QUEUE_AGENT_WARM_UP": "default"})
    runtime = make_runtime(settings)
    runtime.task_types = frozenset({"pipeline"})  # type: ignore[misc]
    with pytest.raises(SettingsError, match="has no job of its own for that"):
        warm_up_job(settings, runtime)


def test_nothing_can_be_kept_warm_without_a_warm_up() -> None:
    settings = Settings.load({**REQUIRED, "QUEUE_AGENT_KEEP_WARM": "600"})
    with pytest.raises(SettingsError, match="QUEUE_AGENT_KEEP_WARM: needs QUEUE_AGENT_WARM_UP"):
        warm_up_job(settings, make_runtime(settings))


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("/nowhere/warm-up.json", "No such file"),
        ("{", "not usable JSON"),
        ("{}", "content"),
        ('{"metadata": {"tasktype": "pipeline"}, "content": {}}', "no task 'pipeline'"),
        ('{"metadata": {"tasktype": "text-to-image"}, "content": 5}', "content"),
    ],
)
def test_a_warm_up_that_is_no_job_for_the_runtime_is_a_wrong_setting(
    value: str, words: str
) -> None:
    settings = Settings.load({**REQUIRED, "QUEUE_AGENT_WARM_UP": value})
    with pytest.raises(SettingsError, match=words) as caught:
        warm_up_job(settings, make_runtime(settings))
    assert caught.value.message.startswith("QUEUE_AGENT_WARM_UP: ")
