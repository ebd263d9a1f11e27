"""Weights that come from object storage straight to the device, from an S3 server on this host."""

import asyncio
import hashlib
import json
import logging
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from diffusers_servers import tiny_model
from queue_agent.testing.aws import REGION, EmbeddedCloud
from queue_agent_diffusers.engine.loading import LoadProgress
from queue_agent_diffusers.errors import ModelNotFound, ModelUnreadable
from queue_agent_diffusers.options import Options

UNET = "unet/diffusion_pytorch_model.safetensors"


class Stored:
    """A model under an address of its own, and what loads of it leave on disk."""

    def __init__(self, cloud: EmbeddedCloud, cache: Path) -> None:
        self.cache = cache
        self._cloud = cloud
        self._bucket = f"models-{uuid.uuid4()}"
        self.address = f"s3://{self._bucket}/sd"
        asyncio.run(self._create())

    async def _create(self) -> None:
        cloud = self._cloud.connect()
        try:
            await (await cloud.client("s3")).create_bucket(Bucket=self._bucket)
        finally:
            await cloud.aclose()

    def write(self, files: Mapping[str, bytes]) -> None:
        asyncio.run(self._write(files))

    def write_folder(self, folder: Path) -> None:
        self.write(
            {
                path.relative_to(folder).as_posix(): path.read_bytes()
                for path in folder.rglob("*")
                if path.is_file()
            }
        )

    async def _write(self, files: Mapping[str, bytes]) -> None:
        cloud = self._cloud.connect()
        try:
            for path, data in files.items():
                await cloud.bucket(self._bucket).write(f"sd/{path}", data, media_type="x/y")
        finally:
            await cloud.aclose()

    def load(self) -> tuple[Any, LoadProgress]:
        from queue_agent_diffusers.torch.loader import load_pipeline  # noqa: PLC0415  loads torch

        progress = LoadProgress(self.address)
        options = Options(
            device="cpu",
            dtype="float32",
            weights_by="runai",
            cache_dir=self.cache,
            region=REGION,
        )
        return load_pipeline(self.address, options, progress), progress

    def kept(self) -> list[Path]:
        return [path for path in self.cache.rglob("*") if path.is_file()]


@pytest.fixture
def stored(
    embedded_cloud: EmbeddedCloud, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Stored:
    pytest.importorskip("runai_model_streamer_s3")
    for name, value in embedded_cloud.environment().items():
        monkeypatch.setenv(name, value)
    # it is set where no other is, and has to be gone after the test
    monkeypatch.setenv("RUNAI_STREAMER_S3_USE_VIRTUAL_ADDRESSING", "0")
    monkeypatch.delenv("RUNAI_STREAMER_S3_USE_VIRTUAL_ADDRESSING")
    return Stored(embedded_cloud, tmp_path / "cache")


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that came to disk."""
    from queue_agent_diffusers.torch import object_storage  # noqa: PLC0415  beside torch

    usual, seen = object_storage.StoredModel._download, []

    async def watched(self: object_storage.StoredModel, path: str, target: Path) -> None:
        seen.append(path)
        await usual(self, path, target)

    monkeypatch.setattr(object_storage.StoredModel, "_download", watched)
    return seen


def sums(folder: Path, *paths: str) -> bytes:
    """A manifest of some files."""
    lines = [
        f"{hashlib.sha256((folder / path).read_bytes()).hexdigest()}  {path}" for path in paths
    ]
    return "\n".join(lines).encode()


def weights(pipeline: Any) -> dict[str, Any]:
    import torch  # noqa: PLC0415  slow to load

    return {
        f"{part}.{name}": tensor
        for part, module in pipeline.components.items()
        if isinstance(module, torch.nn.Module)
        for name, tensor in module.state_dict().items()
    }


def check_equal(found: Any, folder: Path) -> None:
    """To the bit what diffusers loads by itself."""
    import torch  # noqa: PLC0415  slow to load

    from queue_agent_diffusers.torch.siblings import library  # noqa: PLC0415  loads torch

    plain = library.DiffusionPipeline.from_pretrained(
        folder, dtype=torch.float32, use_safetensors=True
    )
    ours, theirs = weights(found), weights(plain)
    assert ours.keys() == theirs.keys()
    assert len(theirs) > 100
    assert [name for name, one in theirs.items() if not torch.equal(ours[name], one)] == []


def test_weights_of_a_prefix_come_to_the_device_without_a_file_on_disk(
    stored: Stored, fetched: list[str]
) -> None:
    stored.write_folder(tiny_model())
    stored.write({"unet/diffusion_pytorch_model.bin": b"pickled", "sd-all.safetensors": b"twice"})
    found, progress = stored.load()
    check_equal(found, tiny_model())
    assert progress.told == {"weights-by": "runai straight from s3"}
    assert "unet/config.json" in fetched
    assert [path for path in fetched if path.endswith((".safetensors", ".bin"))] == []
    assert stored.kept() == []


def test_what_was_replaced_in_the_bucket_is_seen_at_the_next_load(stored: Stored) -> None:
    from safetensors.torch import load, save  # noqa: PLC0415  loads torch

    stored.write_folder(tiny_model())
    before = weights(stored.load()[0])
    tensors = load((tiny_model() / UNET).read_bytes())
    stored.write({UNET: save({name: tensor + 1 for name, tensor in tensors.items()})})
    after = weights(stored.load()[0])
    assert after["unet.conv_in.bias"].equal(before["unet.conv_in.bias"] + 1)


def test_streamed_weights_that_a_manifest_names_are_hashed_on_their_way(
    stored: Stored, fetched: list[str]
) -> None:
    stored.write_folder(tiny_model())
    names = [path.relative_to(tiny_model()).as_posix() for path in tiny_model().glob("*/*.s*")]
    stored.write({"SHA256SUMS": sums(tiny_model(), *names)})
    found, progress = stored.load()
    check_equal(found, tiny_model())
    assert progress.told == {"weights-by": "runai straight from s3"}
    other = bytearray((tiny_model() / UNET).read_bytes())
    other[-1] ^= 1
    stored.write({UNET: bytes(other)})
    with pytest.raises(ModelUnreadable, match=f"sd/{UNET} has other content than SHA256SUMS"):
        stored.load()
    assert UNET not in fetched


def test_a_header_that_was_changed_makes_another_hash(stored: Stored) -> None:
    stored.write_folder(tiny_model())
    stored.write({"SHA256SUMS": sums(tiny_model(), UNET)})
    data = (tiny_model() / UNET).read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    header["__metadata__"] = {"format": "pt", "by": "others"}
    changed = json.dumps(header).encode()
    stored.write({UNET: len(changed).to_bytes(8, "little") + changed + data[8 + length :]})
    with pytest.raises(ModelUnreadable, match="has other content"):
        stored.load()


def test_configurations_are_compared_with_the_manifest_too(stored: Stored) -> None:
    stored.write_folder(tiny_model())
    stored.write({"SHA256SUMS": sums(tiny_model(), "unet/config.json")})
    stored.write({"unet/config.json": b"{}"})
    with pytest.raises(ModelUnreadable, match=r"sd/unet/config\.json has other content"):
        stored.load()


def test_a_streamer_that_fails_is_told_once_and_the_weights_are_fetched(
    stored: Stored,
    fetched: list[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    streamer = pytest.importorskip("runai_model_streamer").SafetensorsStreamer
    usual = streamer.stream_files

    def elsewhere(self: Any, paths: list[str], **given: Any) -> None:
        usual(self, [f"{path}.gone" for path in paths], **given)

    monkeypatch.setattr(streamer, "stream_files", elsewhere)
    stored.write_folder(tiny_model())
    with caplog.at_level(logging.WARNING, "queue_agent_diffusers"):
        found, progress = stored.load()
    check_equal(found, tiny_model())
    [line] = [record.getMessage() for record in caplog.records]
    assert "runai straight from s3 (safetensors for text_encoder, unet, vae: " in line
    assert "File access error" in line
    assert progress.told["weights-by"] in line
    assert len([path for path in fetched if path.endswith(".safetensors")]) == 3
    assert stored.kept() == []


def test_only_the_component_that_cannot_be_streamed_is_fetched(
    stored: Stored, fetched: list[str], tmp_path: Path
) -> None:
    from safetensors.torch import load, save  # noqa: PLC0415  loads torch

    folder = tmp_path / "old"
    shutil.copytree(tiny_model(), folder)
    file = folder / "vae/diffusion_pytorch_model.safetensors"
    renamed = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    old = {}
    for name, tensor in load(file.read_bytes()).items():
        new = name
        for today, before in renamed.items():
            new = new.replace(f".{today}.", f".{before}.")
        old[new] = tensor
    file.write_bytes(save(old, metadata={"format": "pt"}))
    stored.write_folder(folder)
    found, progress = stored.load()
    check_equal(found, tiny_model())
    assert progress.told["weights-by"].startswith("runai straight from s3 (safetensors for vae: ")
    weights_fetched = [path for path in fetched if path.endswith(".safetensors")]
    assert weights_fetched == ["vae/diffusion_pytorch_model.safetensors"]


def test_without_the_package_for_s3_a_model_is_fetched_to_disk(
    stored: Stored, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from queue_agent_diffusers.torch import streamed_weights  # noqa: PLC0415  loads torch

    stored.write_folder(tiny_model())
    monkeypatch.setattr(streamed_weights, "find_spec", lambda _: None)
    with caplog.at_level(logging.WARNING, "queue_agent_diffusers"):
        _, progress = stored.load()
    [line] = [record.getMessage() for record in caplog.records]
    assert "runai_model_streamer_s3 is not installed" in line
    assert progress.told == {"weights-by": "runai"}
    assert UNET.rpartition("/")[2] in {path.name for path in stored.kept()}
    monkeypatch.undo()
    _, progress = stored.load()
    assert progress.told == {"weights-by": "runai"}, "what lies on disk is read from there"


def test_an_address_without_files_is_no_model_to_stream(stored: Stored) -> None:
    with pytest.raises(ModelNotFound, match="There is nothing under s3://"):
        stored.load()


def test_tensors_are_hashed_in_their_files_order_whatever_order_they_come_in() -> None:
    import torch  # noqa: PLC0415  slow to load
    from safetensors.torch import save  # noqa: PLC0415  loads torch

    from queue_agent_diffusers.torch.tensor_hash import TensorHash, header_length  # noqa: PLC0415

    tensors = {
        "scalar": torch.tensor(3.5),
        "none": torch.empty(0, 4),
        "half": torch.randn(3, 5).to(torch.bfloat16),
        "flags": torch.tensor([True, False, True]),
        "whole": torch.arange(7),
    }
    data = save(tensors)
    header = data[: header_length(data[:8])]
    for order in (list(tensors), list(reversed(tensors))):
        seen = TensorHash(header)
        for name in order:
            assert seen.hexdigest() is None
            seen.add(name, tensors[name])
        assert seen.hexdigest() == hashlib.sha256(data).hexdigest()
    seen = TensorHash(header)
    for name, tensor in tensors.items():
        seen.add(name, tensor.flatten())
    assert seen.hexdigest() != hashlib.sha256(data).hexdigest(), "other shapes than the header's"
    assert header_length(b"short") == header_length(b"\xff" * 8) == 0
