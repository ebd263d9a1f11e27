"""What commands say where servers of NATS are away, lack something or refuse: with what to do."""

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from command_here import Ended, queue_agent_here
from queue_agent.testing.nats import NatsServer
from queue_agent.testing.process import free_port

ACCOUNTS = """
accounts {
  few: {jetstream: {max_streams: 2}, users: [{user: few, password: secret}]}
  bounded: {jetstream: {max_bytes_required: true}, users: [{user: bounded, password: secret}]}
  limited: {jetstream: {max_bytes_required: true}, users: [{user: limited, password: secret}]}
  none: {users: [{user: none, password: secret}]}
  empty: {jetstream: {}, users: [{user: empty, password: secret}]}
  all: {jetstream: {}, users: [{user: all, password: secret}]}
}
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    with NatsServer(tmp_path_factory.mktemp("nats"), configuration=ACCOUNTS) as server:
        yield server


def settings(address: str) -> dict[str, str]:
    return {
        "QUEUE_AGENT_QUEUE_URL": f"{address}/jobs/sdruntime",
        "QUEUE_AGENT_JOB_TOPIC_ARN": f"{address}/jobs",
        "QUEUE_AGENT_TOPIC_ARN": f"{address}/notifications",
        "QUEUE_AGENT_BUCKET": f"{address}/results",
        "QUEUE_AGENT_RUNTIME": "webui",
        "QUEUE_AGENT_RUNTIME_NAME": "sdruntime",
        "COLUMNS": "500",
    }


def asked(address: str, *arguments: str, user: str = "", **others: str) -> Ended:
    given = {"NATS_USER": user, "NATS_PASSWORD": "secret"} if user else {}
    return queue_agent_here(*arguments, environment={**settings(address), **given, **others})


def hints(ended: Ended) -> Mapping[str, str]:
    """What `check` says to do, by what does not work."""
    lines = ended.stdout.splitlines()
    return {
        line.partition(":")[0].removeprefix("✗ "): hint
        for line, hint in itertools.pairwise(lines)
        if line.startswith("✗ ")
    }


def test_check_of_what_is_not_there_names_setting_and_remedy_and_no_right_of_aws(
    server: NatsServer,
) -> None:
    ended = asked(server.address, "check", "--no-runtime", user="empty")
    assert ended.returncode == 1
    told = hints(ended)
    assert set(told) == {"queue", "topic", "bucket"}
    for name, setting in (("queue", "QUEUE_URL"), ("topic", "TOPIC_ARN"), ("bucket", "BUCKET")):
        assert f"QUEUE_AGENT_{setting}" in told[name]
        assert "`queue-agent setup`" in told[name]
    for words in ("sqs:", "sns:", "s3:Put", "AWS"):
        assert words not in ended.stdout


def test_check_ticks_nothing_where_nobody_answered() -> None:
    ended = asked(f"nats://127.0.0.1:{free_port()}", "check", "--no-runtime")
    assert ended.returncode == 1
    assert set(hints(ended)) == {"queue", "topic", "bucket"}
    assert "✓" not in ended.stdout


@pytest.mark.parametrize(
    ("user", "says"),
    [
        ("few", ("Could not make", "max_streams")),
        ("bounded", ("Could not make stream jobs", "max_bytes_required", "--stream-bytes")),
        ("none", ("Enable JetStream for this account",)),
    ],
)
def test_what_an_account_does_not_allow_is_said_with_what_to_do(
    server: NatsServer, user: str, says: tuple[str, ...]
) -> None:
    ended = asked(server.address, "setup", user=user)
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert all(words in line for words in says)


def test_an_account_that_wants_limits_is_set_up_with_them(server: NatsServer) -> None:
    limits = ("--stream-bytes", "67108864", "--bucket-bytes", "268435456")
    ended = asked(server.address, "setup", *limits, user="limited")
    assert ended.returncode == 0, ended.stderr
    assert asked(server.address, "setup", *limits, user="limited").stdout.count("stream") == 0


def test_credentials_of_nats_are_asked_for_and_not_those_of_aws(server: NatsServer) -> None:
    for command in ("setup", "list", "watch"):
        ended = asked(server.address, command)
        assert ended.returncode == 2
        (line,) = ended.stderr.splitlines()
        assert "NATS_CREDS" in line
        assert "AWS" not in line


@pytest.mark.parametrize("command", ["setup", "list", "redrive", "clean"])
def test_a_server_without_jetstream_is_told_with_what_to_do(tmp_path: Path, command: str) -> None:
    dead = "QUEUE_AGENT_DEAD_LETTER_QUEUE_URL"
    with WithoutJetStream(tmp_path) as server:
        others = {dead: f"{server.address}/jobs-dead/sdruntime"} if command == "redrive" else {}
        ended = asked(server.address, command, **others)
        assert ended.returncode == 1
        assert "JetStream does not answer. Is it enabled" in ended.stderr


class WithoutJetStream(NatsServer):
    """As it is without a configuration."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        (folder / "nats.conf").write_text(f'listen: "127.0.0.1:{self.port}"\n')


def test_addresses_of_different_servers_are_named() -> None:
    ended = asked(
        "nats://one:4222", "check", QUEUE_AGENT_BUCKET="nats://two:4222,three:4222/results"
    )
    assert ended.returncode == 2
    for server in ("nats://one:4222", "nats://two:4222", "nats://three:4222"):
        assert server in ended.stderr


def test_jobs_of_another_runtime_are_told_of_in_words_that_hold_on_nats(server: NatsServer) -> None:
    def of(name: str, *arguments: str) -> Ended:
        return asked(server.address, *arguments, user="all", QUEUE_AGENT_RUNTIME_NAME=name)

    assert of("sdruntime", "setup").returncode == 0
    assert of("sdruntime", "submit", "--runtime", "sdruntime", "--prompt", "a").returncode == 0
    ended = of("webui", "check", "--no-runtime")
    assert ended.returncode == 0
    assert "Some are for other runtimes: sdruntime (1)" in ended.stdout
    assert "on NATS its address ends with /webui" in ended.stdout
