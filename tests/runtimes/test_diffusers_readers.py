"""Who reads a model's weights from disk makes no difference but in time."""

import logging
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, cast

import pytest

from diffusers_servers import tiny_model
from queue_agent_diffusers.engine.loading import LoadProgress
from queue_agent_diffusers.errors import ModelUnreadable
from queue_agent_diffusers.options import READER_PACKAGES, Options, WeightsBy

READERS: Final[tuple[WeightsBy, ...]] = ("safetensors", "fastsafetensors", "runai")


class Watched(LoadProgress):
    """What anyone sees of `done` while weights are read."""

    def __init__(self) -> None:
        self.seen: list[int | None] = []
        super().__init__("watched")
        self.all: int | None = None

    def __setattr__(self, name: str, value: object) -> None:
        super().__setattr__(name, value)
        if name == "read" and value is not None:
            self.seen.append(self.done)
            self.all = self.total


def load(folder: Path, by: WeightsBy, dtype: str = "float32") -> tuple[Any, Watched]:
    from queue_agent_diffusers.torch.loader import load_pipeline  # noqa: PLC0415  loads torch

    if by in READER_PACKAGES:
        pytest.importorskip(READER_PACKAGES[by])
    progress = Watched()
    options = Options(device="cpu", dtype=dtype, weights_by=by)
    return load_pipeline(str(folder), options, progress), progress


def weights(pipeline: Any) -> dict[str, Any]:
    """Weights and buffers of all components, by name."""
    import torch  # noqa: PLC0415  slow to load

    return {
        f"{part}.{name}": tensor
        for part, module in pipeline.components.items()
        if isinstance(module, torch.nn.Module)
        for name, tensor in [*module.state_dict().items(), *module.named_buffers()]
    }


def parts(pipeline: Any) -> dict[str, dict[str, Any]]:
    """The parameters of each component that has some."""
    import torch  # noqa: PLC0415  slow to load

    modules = {
        name: dict(part.named_parameters())
        for name, part in pipeline.components.items()
        if isinstance(part, torch.nn.Module)
    }
    return {name: found for name, found in modules.items() if found}


def check_equal(found: Any, expected: Any) -> None:
    """To the bit, in the same precision; made for use, not for training."""
    import torch  # noqa: PLC0415  slow to load

    ours, theirs = weights(found), weights(expected)
    assert ours.keys() == theirs.keys()
    assert [
        name
        for name, tensor in theirs.items()
        if ours[name].dtype != tensor.dtype or not torch.equal(ours[name], tensor)
    ] == []
    for part in found.components.values():
        assert not isinstance(part, torch.nn.Module) or not part.training


def plain(folder: Path, dtype: str = "float32") -> Any:
    """As diffusers loads it by itself."""
    import torch  # noqa: PLC0415  slow to load

    from queue_agent_diffusers.torch.siblings import library  # noqa: PLC0415  loads torch

    return library.DiffusionPipeline.from_pretrained(
        folder, dtype=getattr(torch, dtype), use_safetensors=True
    )


def saved(kind: str, folder: Path) -> Path:
    from tiny_transformers import tiny_transformer  # noqa: PLC0415  loads torch
    from tiny_videos import tiny_video  # noqa: PLC0415  loads torch

    made: dict[str, Callable[[], Any]] = {
        "Flux.2": lambda: tiny_transformer("Flux.2"),
        "Qwen-Image": lambda: tiny_transformer("Qwen-Image"),
        "Wan": lambda: tiny_video("Wan"),
    }
    if kind == "Stable Diffusion":
        return tiny_model()
    made[kind]().save_pretrained(folder, max_shard_size="40KB")
    return folder


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("kind", ["Stable Diffusion", "Flux.2", "Qwen-Image", "Wan"])
def test_weights_are_equal_to_the_bit_whoever_reads_them(
    kind: str, dtype: str, tmp_path: Path
) -> None:
    folder = saved(kind, tmp_path / "model")
    expected = plain(folder, dtype)
    for by in READERS:
        found, progress = load(folder, by, dtype)
        check_equal(found, expected)
        assert progress.told == {"weights-by": by}


@pytest.mark.parametrize("kind", ["Stable Diffusion", "Qwen-Image", "Wan"])
def test_nothing_is_read_again_that_was_read(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch  # noqa: PLC0415  slow to load
    from safetensors.torch import load_file  # noqa: PLC0415  loads torch

    from queue_agent_diffusers.torch.weight_readers import READERS as PACKAGES  # noqa: PLC0415

    def reader(files: Any, device: Any) -> Any:
        del device
        for file in files:
            yield from ((name, tensor + 1) for name, tensor in load_file(file).items())

    folder = saved(kind, tmp_path / "model")
    usual = parts(plain(folder))
    monkeypatch.setitem(cast("dict[str, Any]", PACKAGES), "runai", reader)
    found = parts(load(folder, "runai")[0])
    assert found.keys() == usual.keys()
    for part, tensors in found.items():
        assert any(not torch.equal(one, usual[part][name]) for name, one in tensors.items()), part


@pytest.mark.parametrize("by", READERS)
def test_the_bytes_read_so_far_are_told_and_come_near_all(by: WeightsBy) -> None:
    _, progress = load(tiny_model(), by)
    seen = [one for one in progress.seen if one is not None]
    assert seen == sorted(seen)
    assert seen[0] == 0
    assert len(set(seen)) > 3
    assert progress.all is not None
    assert 0.9 * progress.all < seen[-1] <= progress.all, "all but the files' headers"
    assert progress.done is None, "the load has ended"


@pytest.mark.parametrize("by", READERS)
def test_weights_that_are_missing_are_not_made_up(by: WeightsBy, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file  # noqa: PLC0415  loads torch

    for part in ("text_encoder", "unet"):
        folder = tmp_path / part
        shutil.copytree(tiny_model(), folder)
        [file] = (folder / part).glob("*.safetensors")
        tensors = load_file(file)
        missing = sorted(tensors)[len(tensors) // 2]
        del tensors[missing]
        save_file(tensors, file, metadata={"format": "pt"})
        with pytest.raises(ModelUnreadable, match=f"{part} lacks 1 of its weights: .*{missing}"):
            load(folder, by)


@pytest.mark.parametrize("by", READERS)
def test_a_part_that_is_missing_is_not_made_up(by: WeightsBy, tmp_path: Path) -> None:
    folder = tmp_path / "parts"
    plain(tiny_model()).save_pretrained(folder, max_shard_size="100KB")
    [_first, second, *_] = sorted((folder / "text_encoder").glob("*-of-*.safetensors"))
    second.unlink()
    with pytest.raises(ModelUnreadable, match=second.name):
        load(folder, by)


@pytest.mark.parametrize("by", ["fastsafetensors", "runai"])
def test_weights_under_names_of_old_are_left_to_the_usual_reading(
    by: WeightsBy, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from safetensors.torch import load_file, save_file  # noqa: PLC0415  loads torch

    folder = tmp_path / "old"
    shutil.copytree(tiny_model(), folder)
    file = folder / "vae/diffusion_pytorch_model.safetensors"
    renamed = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    old = {}
    for name, tensor in load_file(file).items():
        new = name
        for today, before in renamed.items():
            new = new.replace(f".{today}.", f".{before}.")
        old[new] = tensor
    save_file(old, file, metadata={"format": "pt"})
    with caplog.at_level(logging.WARNING, "queue_agent_diffusers"):
        found, progress = load(folder, by)
    check_equal(found, plain(tiny_model()))
    assert progress.told["weights-by"].startswith(f"{by} (safetensors for vae: ")
    assert len(caplog.records) == 1


def test_a_reader_that_fails_is_told_once_and_the_usual_reading_goes_on(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    streamer = pytest.importorskip("runai_model_streamer")
    good = streamer.SafetensorsStreamer.get_tensors
    calls = []

    def broken(self: Any) -> Any:
        calls.append(1)
        tensors = good(self)
        yield next(tensors)
        raise RuntimeError("the disk\nis gone")

    monkeypatch.setattr(streamer.SafetensorsStreamer, "get_tensors", broken)
    with caplog.at_level(logging.WARNING, "queue_agent_diffusers"):
        found, progress = load(tiny_model(), "runai")
    check_equal(found, plain(tiny_model()))
    assert len(calls) == 1, "the next component would fare no better"
    [line] = [record.getMessage() for record in caplog.records]
    assert "runai (safetensors for text_encoder, unet, vae: " in line
    assert "the disk is gone" in line
    assert progress.seen[-1] == progress.all


@pytest.mark.parametrize("by", ["fastsafetensors", "runai"])
def test_files_that_diffusers_does_not_read_are_not_read_by_others(
    by: WeightsBy, tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file  # noqa: PLC0415  loads torch

    folder = tmp_path / "more"
    shutil.copytree(tiny_model(), folder)
    file = folder / "unet/diffusion_pytorch_model.safetensors"
    other = {name: 0 * tensor for name, tensor in load_file(file).items()}
    save_file(other, file.with_name("diffusion_pytorch_model.non_ema.safetensors"))
    found, progress = load(folder, by)
    check_equal(found, plain(tiny_model()))
    assert progress.told == {"weights-by": by}


def test_which_files_are_a_checkpoint_is_told_by_their_names() -> None:
    from queue_agent_diffusers.torch.weight_files import checkpoint_files  # noqa: PLC0415

    parts = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    half = ["diffusion_pytorch_model.fp16-00001-of-00002.safetensors"]
    assert checkpoint_files([Path(part) for part in parts]) == [Path(part) for part in parts]
    assert checkpoint_files([Path(*half), Path("lora.safetensors")]) == [Path(*half)]
    for unclear in (["lora.safetensors"], [*parts, "model.safetensors"]):
        with pytest.raises(ValueError, match="not named"):
            checkpoint_files([Path(name) for name in unclear])


@pytest.mark.parametrize("by", ["fastsafetensors", "runai"])
def test_a_reader_that_is_not_installed_is_said_at_the_start(by: str, tmp_path: Path) -> None:
    code = (
        f"import sys; sys.modules[{READER_PACKAGES[by]!r}] = None\n"
        "from queue_agent_diffusers.__main__ import app\n"
        f"sys.argv = ['serve', '--model', {str(tmp_path)!r}, '--weights-by', {by!r}]; app()"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True
    )
    assert ended.returncode == 2, ended.stderr
    assert f"pip install 'sd-queue-agent[diffusers,{by}]'" in ended.stderr
    assert "Traceback" not in ended.stderr
