"""Manifests signed by keys that never leave KMS, against an emulator whose keys really sign."""

import io
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

import kms_server
from output_samples import gradient, saved
from provenance_samples import SigningFiles, signing_files
from queue_agent.cloud.aws import kms
from queue_agent.cloud.kms import KmsKey
from queue_agent.outputs import WorkerProcesses
from queue_agent.outputs.provenance import (
    ManifestFacts,
    OriginClaim,
    SigningCredentials,
    UnfitCredentials,
    facts_in,
    trial,
)
from queue_agent.outputs.provenance.kept_keys import KeptKeySigner
from queue_agent.outputs.provenance.signing import NotSigned, Signature, sign, sign_file
from queue_agent.testing.process import ServerProcess

PLAIN = saved(gradient("RGB"), "PNG")
CLAIM = OriginClaim("webui", datetime.now(UTC), ["sdxl"])
MEMORY = 256 * 2**20
"""As agents give their processes."""


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    with kms_server.kms_server() as started:
        yield started


@pytest.fixture(autouse=True)
def sdk(server: ServerProcess, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, value in kms_server.environment(server).items():
        monkeypatch.setenv(name, value)
    kms._client.cache_clear()
    yield
    kms._client.cache_clear()


def credentials(arn: str, files: SigningFiles) -> SigningCredentials:
    return SigningCredentials.of(files.certificate, KmsKey(arn), datetime.now(UTC))


def read_back(data: bytes, files: SigningFiles) -> ManifestFacts:
    found = facts_in(io.BytesIO(data), "image/png", files.anchor.decode()).manifest
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("spec", "algorithm", "size"),
    [
        ("ECC_NIST_P256", "es256", 64),
        ("ECC_NIST_P384", "es384", 96),
        ("ECC_NIST_P521", "es512", 132),
        ("RSA_2048", "ps256", 256),
    ],
)
def test_a_kept_key_signs_what_holds(
    server: ServerProcess, spec: str, algorithm: str, size: int
) -> None:
    """Many times: the numbers of a curve's signature are not always as long as they may be."""
    arn, files = kms_server.made_key(server, spec)
    found = credentials(arn, files)
    assert found.algorithm == algorithm
    for number in range(8):
        assert len(KeptKeySigner(found, KmsKey(arn))(bytes([number]))) == size, "as COSE has it"
        target = io.BytesIO()
        assert sign(io.BytesIO(PLAIN), target, "image/png", CLAIM, Signature(found))
        facts = read_back(target.getvalue(), files)
        assert (facts.holds, facts.is_trusted, facts.signer) == (True, True, "A signer, Tests")


async def test_it_signs_in_a_process_of_the_stage(server: ServerProcess, tmp_path: Path) -> None:
    arn, files = kms_server.made_key(server)
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(PLAIN)
    workers = WorkerProcesses(1, 300, MEMORY, network=True, environment=("AWS_*",))
    signature = Signature(credentials(arn, files))
    assert await workers.do(sign_file, source, target, "image/png", CLAIM, signature)
    assert read_back(target.read_bytes(), files).is_trusted


def test_another_key_than_the_certificates_signs_nothing(server: ServerProcess) -> None:
    arn, _ = kms_server.made_key(server)
    _, files = kms_server.made_key(server)
    reason = trial(CLAIM, credentials(arn, files))
    assert reason == "cannot be signed: the KMS key is not that of the certificate"


def test_a_key_that_may_not_be_used_is_told_with_what_to_do(server: ServerProcess) -> None:
    arn, files = kms_server.made_key(server)
    gone = arn[:-4] + "0000"
    reason = trial(CLAIM, credentials(gone, files))
    assert reason is not None
    assert "NotFoundException" in reason
    assert "kms:Sign" in reason


def test_a_key_for_other_uses_is_told(server: ServerProcess) -> None:
    _, files = kms_server.made_key(server)
    made = kms_server.client(server).create_key(KeySpec="ECC_NIST_P384", KeyUsage="SIGN_VERIFY")
    reason = trial(CLAIM, credentials(made["KeyMetadata"]["Arn"], files))
    assert reason is not None
    assert "sign with the KMS key" in reason


def test_a_kms_that_is_away_leaves_the_file_unsigned(
    server: ServerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    arn, files = kms_server.made_key(server)
    monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", "http://127.0.0.1:1")
    with pytest.raises(NotSigned, match="Could not sign with the KMS key: Could not connect"):
        sign(
            io.BytesIO(PLAIN), io.BytesIO(), "image/png", CLAIM, Signature(credentials(arn, files))
        )


def test_without_credentials_it_is_told(
    server: ServerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    arn, files = kms_server.made_key(server)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    reason = trial(CLAIM, credentials(arn, files))
    assert reason is not None
    assert "Unable to locate credentials" in reason


def test_a_kind_of_key_that_is_not_signed_with_there_is_told_at_the_start() -> None:
    from cryptography.hazmat.primitives.asymmetric import ed25519  # noqa: PLC0415

    files = signing_files(ed25519.Ed25519PrivateKey.generate())
    with pytest.raises(UnfitCredentials, match="Ed25519"):
        credentials("arn:aws:kms:us-east-1:1:key/a", files)
