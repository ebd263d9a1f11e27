"""What a command cannot do is a line that says what to do, never a trace."""

import io
import sys
from pathlib import Path

import pytest

from queue_agent import __version__
from queue_agent.cli.app import main

TOPIC = "arn:aws:sns:eu-central-1:123456789012:jobs"


class Keyboard(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def nothing_given(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "S3_BUCKET"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))


def told(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    *arguments: str,
    given: io.StringIO | None = None,
) -> str:
    """The one line on stderr of a command that ends with exit code 2."""
    monkeypatch.setattr(sys, "argv", ["queue-agent", *arguments])
    monkeypatch.setattr(sys, "stdin", given or io.StringIO())
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    out, errors = capsys.readouterr()
    assert out == ""
    (line,) = errors.splitlines()
    return line


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("", "Standard input is empty: give --prompt"),
        (" \n\t", "Standard input is empty: give --prompt"),
        ('{"prompt": "a cat"}', "The job has no `content`. A job looks like"),
        ('{"metadata": {"id": "one"}}', "The job has no `content`. A job looks like"),
        ("[]", "The body is JSON, but not an object with 'content' and 'metadata'."),
        ("a cat", "The body is not usable JSON"),
    ],
)
def test_what_is_no_job_is_said_with_how_one_looks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], given: str, says: str
) -> None:
    assert told(
        monkeypatch, capsys, "submit", "--topic", TOPIC, given=io.StringIO(given)
    ).startswith(says)


def test_nobody_is_left_waiting_for_a_job_that_would_be_typed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    line = told(monkeypatch, capsys, "submit", "--topic", TOPIC, given=Keyboard())
    assert line.startswith("No job: give --prompt, or --file, or a job on standard input.")


def test_an_empty_file_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "job.json"
    file.touch()
    line = told(monkeypatch, capsys, "submit", "--topic", TOPIC, "--file", str(file))
    assert line.startswith(f"{file} is empty")


@pytest.mark.parametrize("topic", ["jobs", "arn:aws:sqs:eu-central-1:1:jobs"])
def test_what_is_no_topic_is_said_with_how_one_looks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], topic: str
) -> None:
    line = told(monkeypatch, capsys, "submit", "--topic", topic, "--prompt", "a cat")
    assert "it looks like arn:aws:sns:REGION:ACCOUNT:NAME" in line


@pytest.mark.parametrize(
    "arguments",
    [
        ("submit", "--topic", TOPIC, "--prompt", "a cat", "--runtime", "sd"),
        ("status", "order-1", "--bucket", "results"),
        ("cancel", "order-1", "--bucket", "results"),
    ],
)
def test_where_credentials_are_missing_it_is_said_where_they_are_taken_from(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
) -> None:
    line = told(monkeypatch, capsys, *arguments)
    assert "Unable to locate credentials" in line
    assert "AWS_PROFILE" in line
    assert "aws sts get-caller-identity" in line


def test_a_missing_bucket_is_said_with_the_option(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    line = told(monkeypatch, capsys, "status", "order-1")
    assert line == "The client has no bucket: give --bucket or QUEUE_AGENT_BUCKET."


def test_what_can_be_no_id_is_said_in_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    line = told(monkeypatch, capsys, "status", "an id", "--bucket", "results")
    assert line == "'an id' can be no job's id or prefix."


def test_the_version_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["queue-agent", "--version"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"queue-agent {__version__}\n"


def test_shells_are_told_the_commands_that_begin_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["queue-agent"])
    monkeypatch.setenv("_QUEUE_AGENT_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "queue-agent can")
    monkeypatch.setenv("COMP_CWORD", "1")
    with pytest.raises(SystemExit):
        main()
    assert capsys.readouterr().out.split() == ["cancel"]
