"""What the README says of putting a model into the bucket gives a model that is served."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from assembly import CDK

pytest.importorskip("torch")

from queue_agent_diffusers.options import Options
from queue_agent_diffusers.torch.loader import load_pipeline
from queue_agent_diffusers.torch.tiny import build_tiny_model

README = (CDK / "README.md").read_text()
(BLOCK,) = re.findall(r"```sh\n(hf download .*?)```", README, re.DOTALL)
DOWNLOAD, RENAME, SYNC = BLOCK.replace("\\\n", " ").splitlines()
FOLDER = "stable-diffusion-xl-base-1.0"


def test_a_half_precision_model_of_the_hub_is_loaded_after_these_steps(tmp_path: Path) -> None:
    model = tmp_path / FOLDER
    build_tiny_model(model)
    halves = [it.rename(it.with_suffix(".fp16.safetensors")) for it in weights(model)]
    assert halves
    subprocess.run(RENAME, shell=True, cwd=tmp_path, check=True)  # noqa: S602
    assert len(weights(model)) == len(halves)
    assert load_pipeline(str(model), Options(device="cpu")) is not None


def test_the_hubs_command_line_has_the_options() -> None:
    words = shlex.split(DOWNLOAD)
    shown = subprocess.run(
        [Path(sys.executable).with_name("hf"), "download", "--help"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert all(word in shown for word in words if word.startswith("--"))


def test_the_folder_in_the_bucket_is_the_one_that_the_configuration_names() -> None:
    config = (CDK / "config.yaml").read_text()
    prefix = re.findall(r"models_prefix: (\S+)", config)[0]
    name = re.findall(r"model: /models/(\S+)", config)[0]
    assert f"s3://MODELS_BUCKET/{prefix}{name}" in SYNC
    assert name == FOLDER


def weights(model: Path) -> list[Path]:
    return sorted(model.rglob("*.safetensors"))
