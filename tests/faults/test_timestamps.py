"""Timestamps of signed files: what a real authority adds, and what becomes of a file without."""

import asyncio
import io
import os
import platform
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from output_samples import gradient, saved
from provenance_samples import usual_files
from queue_agent.cli.app import app
from queue_agent.outputs import ConversionPolicy, Order, OutputStage, WorkerLost, WorkerProcesses
from queue_agent.outputs.provenance import (
    ManifestFacts,
    OriginClaim,
    Signing,
    SigningCredentials,
    SigningPolicy,
    facts_in,
)
from queue_agent.outputs.provenance.signing import NotSigned, Signature, sign, sign_file
from queue_agent.runtime import Artifact
from queue_agent.wire.errors import Unavailable
from queue_agent.wire.job import parse_job
from queue_agent.wire.output import OutputOptions
from timestamp_authority import Manner, TimestampAuthority, timestamp_authority
from worker_bench import Bench

PLAIN = saved(gradient("RGB"), "PNG")
CLAIM = OriginClaim("webui", datetime.now(UTC), ["sdxl"])
FAKETIME = next(Path("/usr/lib").glob(f"{platform.machine()}-*/faketime/libfaketime.so.1"), None)
MEMORY = 256 * 2**20
"""As agents give their processes."""


@pytest.fixture
def authority(tmp_path: Path) -> Iterator[TimestampAuthority]:
    (tmp_path / "authority").mkdir()
    with timestamp_authority(tmp_path / "authority") as opened:
        yield opened


def credentials() -> SigningCredentials:
    files = usual_files()
    return SigningCredentials.of(files.certificate, files.key, datetime.now(UTC))


def signed(authority: TimestampAuthority | None) -> bytes:
    target = io.BytesIO()
    url = None if authority is None else authority.url
    sign(io.BytesIO(PLAIN), target, "image/png", CLAIM, Signature(credentials(), url))
    return target.getvalue()


def read(data: bytes, *anchors: bytes) -> ManifestFacts:
    found = facts_in(io.BytesIO(data), "image/png", b"".join(anchors).decode() or None).manifest
    assert found is not None
    return found


def test_a_file_has_the_authoritys_time(authority: TimestampAuthority) -> None:
    before = datetime.now(UTC) - timedelta(seconds=1)
    data = signed(authority)
    assert len(authority.asked) == 1
    found = read(data, usual_files().anchor, authority.anchor)
    assert (found.holds, found.is_trusted, found.timestamp_faults) == (True, True, ())
    assert found.timestamp is not None
    assert before <= datetime.fromisoformat(found.timestamp.time) <= datetime.now(UTC)
    assert found.timestamp.authority == "A timestamp authority"
    assert found.timestamp.is_trusted


def test_an_authority_that_nobody_trusts_is_told_as_not_known(
    authority: TimestampAuthority,
) -> None:
    found = read(signed(authority), usual_files().anchor)
    assert (found.is_trusted, found.timestamp is not None) == (True, True)
    assert found.timestamp is not None
    assert not found.timestamp.is_trusted


def test_without_an_authority_there_is_no_time_but_the_signers() -> None:
    assert read(signed(None)).timestamp is None


def test_verify_tells_the_time_and_whose_it_is(
    authority: TimestampAuthority, tmp_path: Path
) -> None:
    file, anchors = tmp_path / "file", tmp_path / "anchors"
    file.write_bytes(signed(authority))
    anchors.write_bytes(usual_files().anchor + authority.anchor)
    ended = CliRunner().invoke(app, ["verify", str(file), "--trust", str(anchors)])
    assert (ended.exit_code, "by A timestamp authority (trusted)" in ended.output) == (0, True)
    ended = CliRunner().invoke(app, ["verify", str(file)])
    assert (ended.exit_code, "by A timestamp authority (not known)" in ended.output) == (0, True)


@pytest.mark.skipif(FAKETIME is None, reason="Debian's libfaketime is not installed")
async def test_a_file_outlives_its_certificate_by_a_trusted_timestamp_and_not_else(
    authority: TimestampAuthority, tmp_path: Path
) -> None:
    file, anchors = tmp_path / "file", tmp_path / "anchors"
    stamped, plain = signed(authority), signed(None)
    both = usual_files().anchor + authority.anchor
    for data, trusted, holds in (
        (stamped, both, True),
        (stamped, usual_files().anchor, False),
        (plain, both, False),
    ):
        file.write_bytes(data)
        anchors.write_bytes(trusted)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "queue_agent", "verify", str(file), "--trust", str(anchors)),
            env={**os.environ, "LD_PRELOAD": str(FAKETIME), "FAKETIME": "+60d"},
            stdout=asyncio.subprocess.PIPE,
        )
        words, _ = await process.communicate()
        assert (process.returncode == 0, b"the manifest holds" in words) == (holds, holds), words
        assert (b"certificate expired" in words) is not holds


@pytest.mark.parametrize(
    ("manner", "words"),
    [("refuses", "503"), ("babbles", "decode error"), ("answers another", "nonce mismatch")],
)
def test_an_answer_that_is_no_timestamp_of_the_file_leaves_it_unsigned(
    manner: Manner, words: str, authority: TimestampAuthority
) -> None:
    signed(authority)
    authority.manner = manner
    with pytest.raises(NotSigned, match=words):
        signed(authority)


async def test_an_authority_that_is_away_fails_the_attempt(authority: TimestampAuthority) -> None:
    """The step's own answer: the message is given back, and nothing is delivered."""
    conversion = ConversionPolicy(OutputOptions())
    workers = WorkerProcesses(1, 300, MEMORY, network=True)
    policy = SigningPolicy("a-runtime", timestamps="http://127.0.0.1:1/")
    stage = OutputStage((Signing(policy, conversion, credentials, workers),))
    order = Order(parse_job(Bench().body("order-1")))
    with order.files, pytest.raises(Unavailable) as failed:
        await stage.products(order, [Artifact(PLAIN, "image/png")])
    assert failed.value.type == "signing_failed"
    assert "127.0.0.1:1" in failed.value.message


@pytest.mark.parametrize(
    ("manner", "limit", "words"),
    [("is silent", 3, "took more than"), ("talks on", 300, "ended the process")],
)
async def test_an_authority_that_does_not_come_to_an_end_costs_a_process_and_no_more(
    manner: Manner, limit: float, words: str, authority: TimestampAuthority, tmp_path: Path
) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(PLAIN)
    stamped = Signature(credentials(), authority.url)
    authority.manner = manner
    while not authority.asked:  # unless the process itself needs longer to begin
        workers = WorkerProcesses(1, limit, MEMORY, network=True)
        with pytest.raises(WorkerLost, match=words):
            await workers.do(sign_file, source, target, "image/png", CLAIM, stamped)
        limit *= 2
    authority.manner = "answers"
    workers = WorkerProcesses(1, 300, MEMORY, network=True)
    assert await workers.do(sign_file, source, target, "image/png", CLAIM, stamped)
    assert read(target.read_bytes()).timestamp is not None
