"""Which models can be loaded, and how it is said that one cannot."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from diffusers_servers import tiny_model
from queue_agent.testing.process import free_port
from queue_agent_diffusers.engine.loading import LoadProgress
from queue_agent_diffusers.engine.requests import ImageRequest
from queue_agent_diffusers.errors import (
    DeviceUnavailable,
    InvalidRequest,
    ModelError,
    ModelNotFound,
    ModelUnreadable,
    OutOfMemory,
    WeightsTooLarge,
)
from queue_agent_diffusers.options import Options


def ignore(_step: int, _steps: int) -> None:
    """For tests that do not care about progress."""


def test_importing_the_package_and_its_server_loads_no_torch() -> None:
    code = "import sys, queue_agent_diffusers.http.server; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_server_whose_model_cannot_be_loaded_ends_and_says_why(tmp_path: Path) -> None:
    model = tmp_path / "nothing"
    command = [sys.executable, "-m", "queue_agent_diffusers", "--model", str(model)]
    ended = subprocess.run(
        [*command, "--port", str(free_port())], check=False, capture_output=True, text=True
    )
    assert ended.returncode == 1
    assert f"no file or folder '{model}'" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_models_that_cannot_be_loaded_are_refused_clearly(tmp_path: Path) -> None:
    from queue_agent_diffusers.torch.loader import load_model  # noqa: PLC0415  loads torch

    (tmp_path / "empty").mkdir()
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged/model_index.json").write_text("{")
    (tmp_path / "truncated.safetensors").write_bytes(b"\x40\0\0\0\0\0\0\0{")
    (tmp_path / "pickled.ckpt").write_bytes(b"\x80\x02")
    no_checkpoint = tiny_model() / "unet/diffusion_pytorch_model.safetensors"
    cases: list[tuple[str, type[ModelError], str]] = [
        (str(tmp_path / "absent"), ModelNotFound, "no file or folder"),
        (str(tmp_path / "empty"), ModelUnreadable, "no model_index.json"),
        (str(tmp_path / "damaged"), ModelUnreadable, "cannot be loaded"),
        (str(tmp_path / "truncated.safetensors"), ModelUnreadable, "cannot be loaded"),
        (str(tmp_path / "pickled.ckpt"), ModelUnreadable, "pickled weights, which are refused"),
        (str(no_checkpoint), ModelUnreadable, "no Stable Diffusion checkpoint"),
    ]
    for model, kind, words in cases:
        with pytest.raises(kind, match=words):
            load_model(model, Options(device="cpu"))


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("CUDA error: an illegal memory access was encountered", RuntimeError),
        ("CUDA out of memory. Tried to allocate 2.00 MiB", WeightsTooLarge),
        ("size mismatch for conv_in.weight", ModelUnreadable),
    ],
)
def test_no_model_is_blamed_for_the_device_that_it_is_loaded_onto(
    monkeypatch: pytest.MonkeyPatch, words: str, kind: type[Exception]
) -> None:
    from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import (  # noqa: PLC0415
        StableDiffusionPipeline,
    )

    from queue_agent_diffusers.torch.loader import load_model  # noqa: PLC0415  loads torch

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError(words)

    monkeypatch.setattr(StableDiffusionPipeline, "from_pretrained", broken)
    with pytest.raises(kind) as raised:
        load_model(str(tiny_model()), Options(device="cpu"))
    assert raised.type is kind


def test_pickled_weights_are_read_only_where_the_operator_allows_them(tmp_path: Path) -> None:
    import torch  # noqa: PLC0415  slow to load

    from queue_agent_diffusers.torch.loader import load_model  # noqa: PLC0415  loads torch

    allowing = Options(device="cpu", allow_pickles=True)
    torch.save({"state_dict": {"x": torch.zeros(1)}}, tmp_path / "tensors.ckpt")
    torch.save({"state_dict": Path()}, tmp_path / "objects.ckpt")
    with pytest.raises(ModelUnreadable, match="no Stable Diffusion checkpoint"):
        load_model(str(tmp_path / "tensors.ckpt"), allowing)
    with pytest.raises(ModelUnreadable, match="cannot be loaded"):
        load_model(str(tmp_path / "objects.ckpt"), allowing)
    with pytest.raises(ModelUnreadable, match="refused"):
        load_model(str(tmp_path / "tensors.ckpt"), Options(device="cpu"))


def test_half_precision_files_are_read_where_they_are_wanted_and_there(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file  # noqa: PLC0415  loads torch

    from queue_agent_diffusers.torch.loader import load_pipeline  # noqa: PLC0415  loads torch

    folder = tmp_path / "both"
    shutil.copytree(tiny_model(), folder)
    for file in folder.glob("*/*.safetensors"):
        half = {name: (0 * one).half() for name, one in load_file(file).items()}
        save_file(half, file.with_suffix(".fp16.safetensors"), metadata={"format": "pt"})
    for dtype, zero in (("float32", False), ("float16", True), ("bfloat16", True)):
        pipeline: Any = load_pipeline(str(folder), Options(device="cpu", dtype=dtype))
        weights = list(pipeline.unet.parameters())
        assert all(not weight.any() for weight in weights) is zero
        assert str(weights[0].dtype) == f"torch.{dtype}"
    for file in folder.glob("*/diffusion_pytorch_model.safetensors"):
        file.unlink()
    pipeline = load_pipeline(str(folder), Options(device="cpu", dtype="float32"))
    assert all(not weight.any() for weight in pipeline.unet.parameters()), "there is nothing else"


def test_a_hub_id_names_a_revision_and_its_half_precision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants  # noqa: PLC0415  beside what loads torch

    from queue_agent_diffusers.torch.loader import load_pipeline  # noqa: PLC0415  loads torch

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    kept, commit = tmp_path / "models--org--tiny", "a" * 40
    (kept / "refs").mkdir(parents=True)
    (kept / "blobs").mkdir()
    (kept / "refs/v1").write_text(commit)
    shutil.copytree(tiny_model(), kept / "snapshots" / commit)
    for model in ("org/tiny@v1", f"org/tiny@{commit}"):
        progress = LoadProgress(model)
        load_pipeline(model, Options(device="cpu"), progress)
        assert (progress.revision, progress.stage) == (commit, None)
    for model in ("org/tiny", "org/tiny@v2", "org/tiny@", "org/other@v1"):
        with pytest.raises(ModelNotFound):
            load_pipeline(model, Options(device="cpu"))


def test_the_variant_is_chosen_by_dtype_and_by_what_components_have() -> None:
    from queue_agent_diffusers.torch.weight_files import (  # noqa: PLC0415  beside torch's
        variant_for,
        weight_bytes,
    )

    full = {"unet/model-00001-of-00002.safetensors": 4, "vae/model.safetensors": 2}
    half = {"unet/model.fp16-00001-of-00002.safetensors": 2}
    other = {
        "vae_1_0/model.fp16.safetensors": 1,
        "sd.fp16.safetensors": 9,
        "unet/model.fp16.bin": 3,
    }
    parts = {"unet", "vae"}
    cases = [
        (full | half, "float16", "fp16", 4),
        (full | half, "bfloat16", "fp16", 4),
        (full | half | {"vae/model.bf16.safetensors": 1}, "bfloat16", "bf16", 5),
        (full | half, "float32", None, 6),
        (full | other, "float16", None, 6),
        (half, "float32", "fp16", 2),
        ({}, "float16", None, 0),
    ]
    for files, dtype, variant, size in cases:
        assert variant_for(dtype, files, parts) == variant
        assert weight_bytes(files, variant, parts) == size


def test_an_unknown_device_or_dtype_is_refused() -> None:
    from queue_agent_diffusers.torch.loader import load_model  # noqa: PLC0415  loads torch

    for options in (Options(device="abacus"), Options(device="cpu", dtype="int3")):
        with pytest.raises(DeviceUnavailable):
            load_model(str(tiny_model()), options)


def test_the_same_seed_builds_the_same_weights_and_another_seed_others(tmp_path: Path) -> None:
    from queue_agent_diffusers.torch.tiny import build_tiny_model  # noqa: PLC0415  loads torch

    weights = "unet/diffusion_pytorch_model.safetensors"
    build_tiny_model(tmp_path / "again")
    build_tiny_model(tmp_path / "other", seed=1)
    first = (tiny_model() / weights).read_bytes()
    assert (tmp_path / "again" / weights).read_bytes() == first
    assert (tmp_path / "other" / weights).read_bytes() != first


@pytest.mark.parametrize(
    "words", ["CUDA out of memory.", "DefaultCPUAllocator: can't allocate memory"]
)
def test_running_out_of_memory_has_an_error_of_its_own(words: str) -> None:
    from queue_agent_diffusers.torch.pipeline_model import PipelineModel  # noqa: PLC0415  loads torch
    from queue_agent_diffusers.torch.siblings import library  # noqa: PLC0415  loads torch

    pipeline = library.StableDiffusionPipeline.from_pretrained(tiny_model())

    def run_out_of_memory(*_: object) -> None:
        raise RuntimeError(words)

    pipeline.unet.register_forward_pre_hook(run_out_of_memory)
    with pytest.raises(OutOfMemory, match=r"2 image\(s\) of 64x64"):
        PipelineModel(pipeline).generate(
            ImageRequest("x", seed=1, count=2, width=64, height=64), ignore
        )


def test_a_pipeline_that_cannot_edit_refuses_images() -> None:
    from queue_agent_diffusers.torch.pipeline_model import PipelineModel  # noqa: PLC0415  loads torch
    from queue_agent_diffusers.torch.siblings import library  # noqa: PLC0415  loads torch

    unet = library.UNet2DModel(
        block_out_channels=(32,), down_block_types=("DownBlock2D",), up_block_types=("UpBlock2D",)
    )
    pipeline = library.DDPMPipeline(unet=unet, scheduler=library.DDPMScheduler())
    image = Image.new("RGB", (64, 64))
    with pytest.raises(InvalidRequest, match="cannot work with a given image"):
        PipelineModel(pipeline).check(ImageRequest("x", seed=1, image=image))
