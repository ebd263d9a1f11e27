"""Models in object storage: S3-compatible and NATS servers on the loopback interface."""

import asyncio
import hashlib
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from diffusers_servers import tiny_model
from queue_agent.cloud import Cloud
from queue_agent.cloud.memory import MemoryCloud
from queue_agent.testing.aws import REGION, EmbeddedCloud
from queue_agent.testing.nats import NatsServer, deploy
from queue_agent_diffusers.engine.loading import LoadProgress
from queue_agent_diffusers.errors import ModelNotFound, ModelUnreadable
from queue_agent_diffusers.torch import object_storage
from queue_agent_diffusers.torch.hashes import check_blobs
from queue_agent_diffusers.torch.model_cache import fetch_model

INDEX = b'{"unet": ["diffusers", "UNet2DConditionModel"]}'


@pytest.fixture
def bucket(embedded_cloud: EmbeddedCloud, monkeypatch: pytest.MonkeyPatch) -> str:
    """A bucket with the tiny model under ``models/tiny`` and a neighbour."""
    for name, value in embedded_cloud.environment().items():
        monkeypatch.setenv(name, value)
    name = f"models-{uuid.uuid4()}"
    asyncio.run(_fill(embedded_cloud, name))
    return name


async def _fill(embedded_cloud: EmbeddedCloud, name: str) -> None:
    cloud = embedded_cloud.connect()
    try:
        s3 = await cloud.client("s3")
        await s3.create_bucket(Bucket=name)
        bucket = cloud.bucket(name)
        for path in tiny_model().rglob("*"):
            if path.is_file():
                key = f"models/tiny/{path.relative_to(tiny_model())}"
                await bucket.write(key, path.read_bytes(), media_type="x/y")
        await bucket.write("models/tiny-2/other.safetensors", b"other", media_type="x/y")
    finally:
        await cloud.aclose()


def test_a_prefix_is_fetched_into_a_folder_that_can_be_loaded(bucket: str, tmp_path: Path) -> None:
    from queue_agent_diffusers.options import Options  # noqa: PLC0415  beside it
    from queue_agent_diffusers.torch.loader import load_model  # noqa: PLC0415  loads torch

    address = f"s3://{bucket}/models/tiny"
    folder = fetch_model(address, tmp_path, region=REGION)
    fetched = {path.relative_to(folder) for path in folder.rglob("*") if path.suffix}
    assert Path("unet/diffusion_pytorch_model.safetensors") in fetched
    assert "other.safetensors" not in {path.name for path in fetched}
    assert load_model(address, Options(device="cpu", cache_dir=tmp_path)).max_batch == 4


def test_how_large_a_stored_model_is_shows_before_it_is_fetched(
    bucket: str, tmp_path: Path
) -> None:
    from queue_agent_diffusers.options import Options  # noqa: PLC0415  beside it
    from queue_agent_diffusers.torch.loader import load_model  # noqa: PLC0415  loads torch
    from queue_agent_diffusers.torch.model_sizes import size_in_memory  # noqa: PLC0415  likewise

    address = f"s3://{bucket}/models/tiny"
    for dtype in ("float32", "float16"):
        options = Options(device="cpu", dtype=dtype, cache_dir=tmp_path, weights_by="runai")
        size = size_in_memory(address, options)
        assert not [*tmp_path.iterdir()]
        assert size == pytest.approx(load_model(str(tiny_model()), options).memory, rel=0.02)
    assert size_in_memory(f"s3://{bucket}/nothing", options) == 0


def test_what_was_fetched_once_is_not_fetched_again(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = f"s3://{bucket}/models/tiny-2/"
    first = fetch_model(address, tmp_path, region=REGION)
    assert (first.name, first.read_bytes()) == ("other.safetensors", b"other")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    assert fetch_model(address, tmp_path, region=REGION) == first


def test_one_file_can_be_named(bucket: str, tmp_path: Path) -> None:
    address = f"s3://{bucket}/models/tiny-2/other.safetensors"
    assert fetch_model(address, tmp_path, region=REGION).read_bytes() == b"other"


@pytest.mark.parametrize("prefix", ["nothing", "models/tin"])
def test_a_prefix_without_files_is_no_model(bucket: str, tmp_path: Path, prefix: str) -> None:
    with pytest.raises(ModelNotFound, match="nothing under"):
        fetch_model(f"s3://{bucket}/{prefix}", tmp_path, region=REGION)


async def _write(cloud: Cloud, bucket: str, contents: Mapping[str, bytes]) -> None:
    for key, content in contents.items():
        await cloud.bucket(bucket).write(key, content, media_type="x/y")


def test_what_a_manifest_names_is_compared_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud = MemoryCloud()
    right = hashlib.sha256(b"weights").hexdigest()
    files = {"sd/SHA256SUMS": f"{right}  unet/model.safetensors\n".encode()}
    files |= {"sd/unet/model.safetensors": b"weights", "sd/model_index.json": INDEX}
    asyncio.run(_write(cloud, "models", files))
    monkeypatch.setattr(object_storage, "connect", lambda **_: cloud)
    folder = fetch_model("s3://models/sd", tmp_path / "right", region=REGION)
    assert (folder / "unet/model.safetensors").read_bytes() == b"weights"
    asyncio.run(_write(cloud, "models", {"sd/unet/model.safetensors": b"others"}))
    with pytest.raises(ModelUnreadable, match=r"sd/unet/model\.safetensors has other content"):
        fetch_model("s3://models/sd", tmp_path / "wrong", region=REGION)
    asyncio.run(_write(cloud, "models", {"sd/unet/model.safetensors": b"weights"}))
    fetch_model("s3://models/sd", tmp_path / "wrong", region=REGION)


def test_files_of_the_hub_with_other_content_than_their_name_says_are_deleted(
    tmp_path: Path,
) -> None:
    right = tmp_path / hashlib.sha256(b"weights").hexdigest()
    wrong = tmp_path / hashlib.sha256(b"other weights").hexdigest()
    small = tmp_path / "ab12"
    for file in (right, wrong, small):
        file.write_bytes(b"weights")
    with pytest.raises(ModelUnreadable, match=wrong.name):
        check_blobs([right, wrong, small])
    assert sorted(tmp_path.iterdir()) == sorted([right, small])


def test_a_model_comes_from_a_bucket_on_nats_by_disk_or_straight(tmp_path: Path) -> None:
    from queue_agent_diffusers.options import Options  # noqa: PLC0415  beside it
    from queue_agent_diffusers.torch.loader import load_model, load_pipeline  # noqa: PLC0415
    from queue_agent_diffusers.torch.model_sizes import size_in_memory  # noqa: PLC0415  likewise

    with NatsServer(tmp_path / "nats", sync="1m") as server:
        address = f"{server.address}/models-results"
        asyncio.run(_fill_nats(server, address))
        options = Options(device="cpu", cache_dir=tmp_path / "cache")
        size = size_in_memory(f"{address}/sd/tiny", options)
        straight = replace(options, weights_by="runai")
        progress, model = LoadProgress(), load_model(f"{address}/sd/tiny", options)
        assert size == pytest.approx(model.memory, rel=0.02), "known before anything is fetched"
        streamed: Any = load_pipeline(f"{address}/sd/tiny", straight, progress)
        assert progress.told == {"weights-by": "runai"}, "it lies on disk"
        shutil.rmtree(options.cache_dir)
        streamed = load_pipeline(f"{address}/sd/tiny", straight, progress)
        assert progress.told == {"weights-by": "straight from nats"}
        assert not [*options.cache_dir.rglob("*.safetensors")]
        plain: Any = load_pipeline(str(tiny_model()), options)
        for part in ("unet", "vae", "text_encoder"):
            ours, theirs = (getattr(one, part).state_dict() for one in (streamed, plain))
            assert ours.keys() == theirs.keys()
            assert all(ours[name].equal(tensor) for name, tensor in theirs.items())
        with pytest.raises(ModelNotFound, match="nothing under"):
            fetch_model(f"{address}/sd/other", tmp_path / "cache", region=REGION)


async def _fill_nats(server: NatsServer, address: str) -> None:
    cloud = server.connect()
    try:
        await deploy(cloud, server.address, "models")
        for path in tiny_model().rglob("*"):
            if path.is_file():
                key = f"sd/tiny/{path.relative_to(tiny_model())}"
                await _write(cloud, address, {key: path.read_bytes()})
    finally:
        await cloud.aclose()


def test_the_size_of_a_model_counts_the_weights_that_are_read_once(tmp_path: Path) -> None:
    from queue_agent_diffusers.options import Options  # noqa: PLC0415  beside it
    from queue_agent_diffusers.torch.loader import load_model  # noqa: PLC0415  loads torch
    from queue_agent_diffusers.torch.model_sizes import size_in_memory  # noqa: PLC0415  likewise

    folder = tmp_path / "both"
    shutil.copytree(tiny_model(), folder)
    for file in folder.glob("*/*.safetensors"):
        shutil.copy(file, file.with_name(f"{file.stem}.fp16.safetensors"))
    for dtype in ("float32", "float16"):
        options = Options(device="cpu", dtype=dtype)
        loaded = load_model(str(folder), options).memory
        assert size_in_memory(str(folder), options) == pytest.approx(loaded, rel=0.02)
    assert size_in_memory("org/name", Options(device="cpu")) == 0


def test_the_budget_on_cuda_leaves_others_what_they_have() -> None:
    from queue_agent_diffusers.torch.memory import cuda_budget  # noqa: PLC0415  loads torch

    gib = 2**30
    assert cuda_budget(free=80 * gib, taken=0) == 56 * gib
    assert cuda_budget(free=30 * gib, taken=10 * gib) == 28 * gib
