"""What fetches models, as the settings have it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from queue_agent.cli.model_options import model_fetcher
from queue_agent.cli.options import make_runtime
from queue_agent.inputs.models.fetcher import ModelFetcher
from queue_agent.runtime import ModelFile
from queue_agent.settings.agent import Settings
from queue_agent.wire.errors import SettingsError

NEEDED: Mapping[str, str] = {
    "QUEUE_AGENT_QUEUE_URL": "https://sqs.us-west-2.amazonaws.com/111122223333/jobs",
    "QUEUE_AGENT_TOPIC_ARN": "arn:aws:sns:us-west-2:111122223333:notifications",
    "QUEUE_AGENT_BUCKET": "results",
}
ENTRY = {"name": "a.safetensors", "url": "https://models.example.org/a", "directory": "loras"}


def fetcher(runtime: str = "comfyui", **given: Any) -> ModelFetcher | None:
    named = {f"QUEUE_AGENT_{name}": str(value) for name, value in given.items()}
    settings = Settings.load({**NEEDED, "QUEUE_AGENT_RUNTIME": runtime, **named})
    return model_fetcher(settings, make_runtime(settings))


def written(folder: Path, value: Any) -> Path:
    file = folder / "file.json"
    file.write_text(value if isinstance(value, str) else json.dumps(value))
    return file


def refused(**given: Any) -> str:
    with pytest.raises(SettingsError) as caught:
        fetcher(**given)
    return caught.value.message


async def test_nothing_is_fetched_until_hosts_or_a_list_are_named(tmp_path: Path) -> None:
    assert fetcher() is None
    assert fetcher(MODELS_FOLDER=tmp_path) is None
    assert fetcher("diffusers", MODELS_FOLDER=tmp_path) is None
    assert fetcher(MODELS_FOLDER=tmp_path, MODEL_HOSTS="huggingface.co") is not None
    assert fetcher(MODELS_FOLDER=tmp_path, MODELS=written(tmp_path, [ENTRY])) is not None


async def test_hosts_and_lists_need_a_folder_and_an_adapter_that_has_one(tmp_path: Path) -> None:
    assert "MODELS_FOLDER must be set" in refused(MODEL_HOSTS="huggingface.co")
    assert "MODELS_FOLDER must be set" in refused(MODELS=written(tmp_path, [ENTRY]))
    of_bundled = refused(runtime="diffusers", MODELS_FOLDER=tmp_path, MODEL_HOSTS="huggingface.co")
    assert "the adapter diffusers has no folder of models" in of_bundled


async def test_hosts_must_be_hosts(tmp_path: Path) -> None:
    told = refused(MODELS_FOLDER=tmp_path, MODEL_HOSTS="https://huggingface.co")
    assert told.startswith("QUEUE_AGENT_MODEL_HOSTS")


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ("{", "holds no JSON"),
        ({"a": 1}, "must be a list"),
        ([{**ENTRY, "url": "https://user:pw@models.example.org/a"}], "carries credentials"),
        ([{**ENTRY, "url": ""}], "nobody says where it comes from"),
        ([{**ENTRY, "url": "http://models.example.org/a"}], "by https only"),
        ([{**ENTRY, "name": "../a.safetensors"}], "no name of a file"),
        ([{**ENTRY, "name": "a.ckpt"}], "hold code"),
        ([{**ENTRY, "sha256": "12"}], r"[0]: the SHA-256"),
        ([ENTRY, {"name": "a"}], "[1]: directory"),
    ],
)
async def test_a_list_that_cannot_be_used_is_one_line(
    tmp_path: Path, told: Any, words: str
) -> None:
    message = refused(MODELS_FOLDER=tmp_path, MODELS=written(tmp_path, told))
    assert message.startswith("QUEUE_AGENT_MODELS: ")
    assert words in message
    assert len(message.splitlines()) == 1


async def test_files_that_are_not_there_are_named(tmp_path: Path) -> None:
    missing = tmp_path / "missing.json"
    hosts = {"MODELS_FOLDER": tmp_path, "MODEL_HOSTS": "huggingface.co"}
    assert f"{missing} cannot be read" in refused(MODELS=missing, **hosts)
    assert f"{missing} cannot be read" in refused(MODEL_CREDENTIALS=missing, **hosts)


async def test_the_list_is_the_operators(tmp_path: Path) -> None:
    entries = [{**ENTRY, "directory": "ipadapter", "sha256": "A" * 64}] * 200
    made = fetcher(MODELS_FOLDER=tmp_path, MODELS=written(tmp_path, entries))
    assert made is not None
    (model,) = await made.wanted([ModelFile("a.safetensors")])
    assert (model.by_operator, model.folder, model.sha256) == (True, "ipadapter", "a" * 64)
    await made.aclose()


@pytest.mark.parametrize(
    "told",
    [
        ["s3cret"],
        {"models.example.org": 5},
        {"models.example.org": {"Authorization": ["s3cret"]}},
        {"models.example.org": {"Authorization": "s3cret\nX: y"}},
        {"models.example.org": {"Content-Length": "s3cret"}},
        '{"models.example.org": "s3cret"',
    ],
)
async def test_credentials_that_cannot_be_used_are_refused_and_not_repeated(
    tmp_path: Path, told: Any
) -> None:
    file = written(tmp_path, told)
    message = refused(MODELS_FOLDER=tmp_path, MODEL_HOSTS="huggingface.co", MODEL_CREDENTIALS=file)
    assert message.startswith("QUEUE_AGENT_MODEL_CREDENTIALS: ")
    assert "s3cret" not in message
