"""ComfyUI in the chart finds models wherever its users put them."""

import json
from pathlib import Path
from typing import Any, Final

import yaml
from chart_rendering import example, render

KNOWN: Final[dict[str, Any]] = json.loads(
    Path(__file__).with_name("comfyui-0.33.0-folders.json").read_text()
)
CODE: Final = "custom_nodes"
"""No models: what lies there is run."""


def mapped() -> dict[str, list[str]]:
    """The folders that the rendered file names, each with where ComfyUI then looks."""
    files = [
        manifest["data"]["extra_model_paths.yaml"]
        for manifest in render(example("comfyui"))
        if manifest["kind"] == "ConfigMap" and "extra_model_paths.yaml" in manifest["data"]
    ]
    (told,) = yaml.safe_load(files[0]).values()
    base = told.pop("base_path")
    return {
        name: [f"{base}/{folder}" for folder in folders.split("\n") if folder]
        for name, folders in told.items()
    }


def test_every_folder_that_the_server_knows_is_mapped_except_that_of_code() -> None:
    assert mapped().keys() == set(KNOWN["models"]) - {CODE}


def test_the_folders_are_called_as_in_the_servers_own_models_folder() -> None:
    found = mapped()
    for name, folders in KNOWN["folders"].items():
        names = {folder.removeprefix("models/") for folder in folders}
        assert {path.removeprefix("/models/") for path in found[name]} == names
        assert found[name][0] == f"/models/{name}", "new files belong under the present name"
