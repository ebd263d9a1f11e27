"""The tensors of `.safetensors` files, as they come out of a bucket in pieces of any size."""

import asyncio
import hashlib
from collections.abc import Mapping
from typing import Any

import pytest

from queue_agent.cloud import ListedObject, Sink
from queue_agent.cloud.memory import MemoryBucket
from queue_agent.wire.errors import QueueAgentError, Unavailable
from queue_agent_diffusers.errors import ModelUnreadable


class InPieces(MemoryBucket):
    """Hands its objects out in small pieces, and may break off."""

    def __init__(self, size: int) -> None:
        super().__init__("models")
        self.size = size
        self.breaks_off: list[str] = []
        """Types of the errors that reads end with in their middle."""

    async def read_into(self, key: str, sink: Sink, *, limit: int | None = None) -> None:
        del limit
        data = self.objects[key].data
        for start in range(0, len(data), self.size):
            await sink(data[start : start + self.size])
            if start > len(data) // 2 and self.breaks_off:
                raise Unavailable("it broke off", type=self.breaks_off.pop())


def read(bucket: MemoryBucket, hashes: Mapping[str, str] | None = None) -> dict[str, Any]:
    import torch  # noqa: PLC0415  slow to load

    from queue_agent_diffusers.torch.bucket_tensors import bucket_tensors  # noqa: PLC0415
    from queue_agent_diffusers.torch.object_storage import StoredModel  # noqa: PLC0415

    files = {key: ListedObject(key) for key in bucket.objects}
    stored = StoredModel("s3://models", bucket, files, hashes or {})
    with asyncio.Runner() as runner:
        return dict(bucket_tensors(stored, list(files), torch.device("cpu"), runner))


def tensors() -> dict[str, Any]:
    import torch  # noqa: PLC0415  slow to load

    return {
        "scalar": torch.tensor(3.5, dtype=torch.float64),
        "none": torch.empty(0, 4),
        "half": torch.randn(3, 5).to(torch.bfloat16),
        "flags": torch.tensor([True, False, True]),
        "whole": torch.arange(7),
        "eight": torch.randn(9).to(torch.float8_e4m3fn),
    }


def filled(size: int, **files: bytes) -> InPieces:
    bucket = InPieces(size)
    for key, data in files.items():
        bucket.put(key, data)
    return bucket


@pytest.mark.parametrize("size", [1, 7, 4096])
def test_tensors_come_whole_whatever_pieces_their_file_comes_in(size: int) -> None:
    import torch  # noqa: PLC0415  slow to load
    from safetensors.torch import save  # noqa: PLC0415  loads torch

    one, other = tensors(), {"alone": torch.randn(11)}
    bucket = filled(size, a=save(one), b=save(other), c=save({"empty": torch.empty(0)}))
    found = read(bucket)
    expected = one | other | {"empty": torch.empty(0)}
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        ours = found[name]
        assert (ours.dtype, ours.shape) == (tensor.dtype, tensor.shape)
        assert ours.reshape(-1).view(torch.uint8).equal(tensor.reshape(-1).view(torch.uint8))


def test_what_breaks_off_on_its_way_comes_anew_and_a_refusal_is_final(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from safetensors.torch import save  # noqa: PLC0415  loads torch

    from queue_agent_diffusers.torch import object_storage  # noqa: PLC0415  beside torch

    monkeypatch.setattr(object_storage, "_PAUSE", lambda _: 0.0)
    bucket = filled(64, a=save(tensors()))
    bucket.breaks_off = ["cloud_unavailable"] * 2
    assert read(bucket).keys() == tensors().keys()
    bucket.breaks_off = ["cloud_unavailable", "cloud_access_denied"]
    with pytest.raises(QueueAgentError, match="it broke off"):
        read(bucket)
    assert bucket.breaks_off == ["cloud_unavailable"]


def test_bytes_are_compared_with_the_manifest_as_they_come() -> None:
    from safetensors.torch import save  # noqa: PLC0415  loads torch

    data = save({"x": tensors()["whole"]})
    right = hashlib.sha256(data).hexdigest()
    assert read(filled(16, a=data), {"a": right}).keys() == {"x"}
    with pytest.raises(ModelUnreadable, match="a has other content"):
        read(filled(16, a=data[:-1] + b"!"), {"a": right})


def test_what_is_cut_off_or_no_such_file_is_refused() -> None:
    from safetensors.torch import save  # noqa: PLC0415  loads torch

    def lying(shape: str, offsets: str) -> bytes:
        header = (
            f'{{"x": {{"dtype": "F32", "shape": {shape}, "data_offsets": {offsets}}}}}'.encode()
        )
        return len(header).to_bytes(8, "little") + header + bytes(8)

    data = save({"x": tensors()["whole"]})
    cases = [data[:-1], data[:20], data[:3], data + b"!", b"<html>" * 9, lying("[1]", "[4, 8]")]
    cases += [lying("[1000]", "[0, 0]")[:-8], lying("[3]", "[0, 8]"), lying("[-2]", "[0, -8]")]
    cases += [lying("[-1, -2]", "[0, 8]")]
    cases += [data.replace(b"I64", b"C64"), (2).to_bytes(8, "little") + b"[]"]
    for case in cases:
        with pytest.raises(ValueError, match=r"cut off|no \.safetensors|follow|no sense"):
            read(filled(16, a=case))
