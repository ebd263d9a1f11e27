"""Models in object storage: an S3-compatible server on the loopback interface."""

import asyncio
import uuid
from pathlib import Path

import pytest

from diffusers_servers import tiny_model
from queue_agent.cloud import Sink
from queue_agent.cloud.memory import ManualClock, MemoryBucket, MemoryCloud
from queue_agent.testing.aws import REGION, EmbeddedCloud
from queue_agent.wire.errors import Unavailable
from queue_agent_diffusers.errors import ModelNotFound
from queue_agent_diffusers.torch import object_storage
from queue_agent_diffusers.torch.object_storage import fetch_model


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


class _InPieces(MemoryBucket):
    """Hands out an object in three pieces, and sees how much of it lies on disk before each."""

    def __init__(self, cache: Path) -> None:
        super().__init__("models", ManualClock())
        self._cache = cache
        self.on_disk: list[int] = []
        self.breaks_off = False

    async def read_into(self, key: str, sink: Sink, *, limit: int | None = None) -> None:
        del key, limit
        for _ in range(3):
            files = await asyncio.to_thread(lambda: list(self._cache.rglob("*.bin")))
            self.on_disk.append(sum(path.stat().st_size for path in files))
            await sink(bytes(2**20))
            if self.breaks_off:
                raise Unavailable("the connection broke", type="cloud_unavailable")


@pytest.fixture
def in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> _InPieces:
    bucket = _InPieces(tmp_path)
    asyncio.run(bucket.write("sd/unet.bin", b"", media_type="x/y"))
    cloud = MemoryCloud()
    monkeypatch.setattr(cloud, "bucket", lambda _: bucket)
    monkeypatch.setattr(object_storage, "connect", lambda **_: cloud)
    return bucket


def test_a_file_is_written_as_it_comes_in(in_pieces: _InPieces, tmp_path: Path) -> None:
    file = fetch_model("s3://models/sd", tmp_path, region=REGION)
    assert in_pieces.on_disk == [0, 2**20, 2 * 2**20]
    assert file.stat().st_size == 3 * 2**20


def test_a_fetch_that_broke_off_is_begun_again(in_pieces: _InPieces, tmp_path: Path) -> None:
    in_pieces.breaks_off = True
    with pytest.raises(ModelNotFound, match="s3://models/sd cannot be fetched: the connection"):
        fetch_model("s3://models/sd", tmp_path, region=REGION)
    in_pieces.breaks_off = False
    file = fetch_model("s3://models/sd", tmp_path, region=REGION)
    assert file.stat().st_size == 3 * 2**20
