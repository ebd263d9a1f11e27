"""The folder of workflows by name, as settings and commands have it."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from queue_agent.cli import app
from queue_agent.cli.check import check
from queue_agent.cli.options import make_runtime
from queue_agent.cli.run import run
from queue_agent.cli.runtimes import lines
from queue_agent.settings.agent import Settings
from queue_agent.wire.errors import SettingsError

NEEDED: Mapping[str, str] = {
    "QUEUE_AGENT_QUEUE_URL": "https://sqs.us-west-2.amazonaws.com/111122223333/jobs",
    "QUEUE_AGENT_TOPIC_ARN": "arn:aws:sns:us-west-2:111122223333:notifications",
    "QUEUE_AGENT_BUCKET": "results",
}
GRAPH = {"6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a dog"}}}


def settings(folder: Path, runtime: str = "comfyui") -> Settings:
    return Settings.load(
        {**NEEDED, "QUEUE_AGENT_RUNTIME": runtime, "QUEUE_AGENT_WORKFLOWS": str(folder)}
    )


@pytest.fixture
def good(tmp_path: Path) -> Path:
    told = {"workflow": GRAPH, "inputs": {"prompt": "6.text"}, "answers": ["text-to-image"]}
    (tmp_path / "flux.json").write_text(json.dumps(told))
    return tmp_path


@pytest.fixture
def faulty(good: Path) -> Path:
    told = {"workflow": GRAPH, "inputs": {"prompt": "7.text", "seed": "8.seed"}}
    (good / "wan.json").write_text(json.dumps(told))
    return good


async def test_the_folder_is_handed_to_the_adapter(good: Path) -> None:
    assert [own.name for own in make_runtime(settings(good)).workflows()] == ["flux"]


async def test_an_adapter_that_knows_no_workflows_by_name_says_so(good: Path) -> None:
    with pytest.raises(SettingsError, match="the adapter webui knows no workflows by name"):
        make_runtime(settings(good, "webui"))


async def test_check_and_run_refuse_faulty_workflows_with_a_line_for_each(faulty: Path) -> None:
    with pytest.raises(SettingsError) as of_run:
        run(settings(faulty))
    with pytest.raises(SettingsError) as of_check:
        await check(settings(faulty))
    assert of_run.value.message == of_check.value.message
    assert of_check.value.message.splitlines() == [
        f"{faulty}/wan.json: inputs.prompt: 7.text: the workflow has no node '7'",
        f"{faulty}/wan.json: inputs.seed: 8.seed: the workflow has no node '8'",
    ]


async def test_a_command_ends_with_2_where_workflows_are_faulty(
    faulty: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["queue-agent", "runtimes", "--workflows", str(faulty)])
    with pytest.raises(SystemExit) as caught:
        app.main()
    assert caught.value.code == 2
    assert f"{faulty}/wan.json" in capsys.readouterr().err


async def test_adapters_are_listed_with_the_workflows_that_they_know_by_name(good: Path) -> None:
    listed = list(lines(good))
    comfyui = next(number for number, line in enumerate(listed) if line.startswith("comfyui"))
    assert listed[comfyui + 1] == "  flux (text-to-image): prompt (text)"
    del listed[comfyui + 1]
    assert listed == list(lines(None))
