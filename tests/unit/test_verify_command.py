"""`queue-agent verify`: what is told of a file, and by which exit code."""

import hashlib
import io
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from output_samples import gradient, planted_jpeg, saved
from provenance_samples import signing_files, usual_files
from queue_agent.cli.app import app
from queue_agent.cli.verify import read_object, verified
from queue_agent.outputs.cleaning import cleaned
from queue_agent.outputs.provenance import OriginClaim, SigningCredentials
from queue_agent.outputs.provenance.signing import Signature, sign
from queue_agent.wire.errors import SettingsError
from queue_agent.wire.notification import Image
from queue_agent.wire.result import Result
from worker_bench import Bench

PLAIN = saved(gradient("RGB"), "PNG")
MARKED = cleaned(planted_jpeg(), "image/jpeg", "minimal")


def signed() -> bytes:
    files, target = usual_files(), io.BytesIO()
    credentials = SigningCredentials.of(files.certificate, files.key, datetime.now(UTC))
    claim = OriginClaim("webui", datetime.now(UTC), ["sdxl"])
    sign(io.BytesIO(PLAIN), target, "image/png", claim, Signature(credentials))
    return target.getvalue()


def told_of(folder: Path, data: bytes, *options: str) -> tuple[int, str]:
    file = folder / "file"
    file.write_bytes(data)
    ended = CliRunner().invoke(app, ["verify", str(file), *options])
    return ended.exit_code, ended.output


def result_of(folder: Path, data: bytes) -> str:
    image = Image(
        url="s3://b/k", media_type="image/png", bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
    )  # fmt: skip
    result = Result(runtime="r", id="order-1", status="completed", result=True, images=[image])
    path = folder / "order-1.out"
    path.write_text(result.model_dump_json())
    return str(path)


def test_a_signed_file_tells_who_and_what_made_it(tmp_path: Path) -> None:
    code, words = told_of(tmp_path, signed())
    assert code == 0
    for expected in ("the manifest holds", "signer: A signer, Tests", "models: sdxl"):
        assert expected in words


def test_a_changed_file_is_told(tmp_path: Path) -> None:
    data = bytearray(signed())
    data[data.index(PLAIN[-60:-30])] ^= 1
    code, words = told_of(tmp_path, bytes(data))
    assert (code, "the manifest does NOT hold" in words) == (1, True)


def test_a_signer_is_compared_with_those_that_are_trusted(tmp_path: Path) -> None:
    anchor = tmp_path / "anchor.pem"
    anchor.write_bytes(usual_files().anchor)
    assert told_of(tmp_path, signed(), "--trust", str(anchor))[0] == 0
    anchor.write_bytes(signing_files().anchor)
    code, words = told_of(tmp_path, signed(), "--trust", str(anchor))
    assert (code, "its signer is not trusted" in words) == (1, True)


def test_a_mark_alone_is_told(tmp_path: Path) -> None:
    code, words = told_of(tmp_path, MARKED)
    assert code == 0
    assert "C2PA: no manifest" in words
    assert "trainedAlgorithmicMedia" in words


def test_a_file_that_says_nothing_has_an_exit_code_of_its_own(tmp_path: Path) -> None:
    assert told_of(tmp_path, PLAIN)[0] == 3


def test_a_file_is_compared_with_what_its_result_tells(tmp_path: Path) -> None:
    result = result_of(tmp_path, MARKED)
    code, words = told_of(tmp_path, MARKED, "--result", result)
    assert (code, "is the one that was delivered" in words) == (0, True)
    code, words = told_of(tmp_path, MARKED + b"\0", "--result", result)
    assert (code, "is NOT the one" in words) == (1, True)


@pytest.mark.looptime
async def test_an_object_is_compared_with_the_result_beside_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = Bench()
    monkeypatch.setattr("queue_agent.cli.verify.connect", lambda **_: bench.cloud)
    await bench.publish("order-1")
    async with bench.working():
        (image,) = (await bench.settled("order-1")).images
    found = await read_object(image.url, None)
    code, lines = verified(found, None)
    assert (code, lines[-1]) == (3, "Result: the file is the one that was delivered (SHA-256)")
    key = image.url.removeprefix(bench.results.url(""))
    await bench.results.write(key, found.data + b"\0", media_type="image/png")
    code, lines = verified(await read_object(image.url, None), None)
    assert (code, "NOT the one" in lines[-1]) == (1, True)


@pytest.mark.parametrize("address", ["s3://bucket", "s3:///key", "s3://bucket/"])
async def test_an_address_of_no_object_is_told(address: str) -> None:
    with pytest.raises(SettingsError, match="names no object"):
        await read_object(address, None)


def test_without_the_extra_the_rest_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = signed()
    monkeypatch.setitem(sys.modules, "c2pa", None)
    code, words = told_of(tmp_path, data)
    assert (code, "pip install 'sd-queue-agent[provenance]'" in words) == (2, True)
