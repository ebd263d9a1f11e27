"""`QUEUE_AGENT_RUNTIME_FILES`: the folder that an agent shares with its runtime."""

from pathlib import Path

import pytest

from queue_agent.cli.options import make_runtime
from queue_agent.settings.agent import Settings
from queue_agent.wire.errors import SettingsError


def settings(runtime: str, files: Path | str) -> Settings:
    return Settings.load(
        {
            "QUEUE_AGENT_RUNTIME": runtime,
            "QUEUE_AGENT_RUNTIME_FILES": str(files),
            "QUEUE_AGENT_QUEUE_URL": "https://sqs.us-west-2.amazonaws.com/111122223333/q",
            "QUEUE_AGENT_TOPIC_ARN": "arn:aws:sns:us-west-2:111122223333:t",
            "QUEUE_AGENT_BUCKET": "results",
        }
    )


async def test_comfyui_takes_a_folder(tmp_path: Path) -> None:
    await make_runtime(settings("comfyui", tmp_path)).aclose()


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"QUEUE_AGENT_RUNTIME_FILES: .* is no folder"):
        make_runtime(settings("comfyui", tmp_path / "nothing"))


@pytest.mark.parametrize("runtime", ["webui", "openai", "diffusers"])
def test_an_adapter_that_removes_no_files_is_told(runtime: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=f"the adapter {runtime} removes no files"):
        make_runtime(settings(runtime, tmp_path))
