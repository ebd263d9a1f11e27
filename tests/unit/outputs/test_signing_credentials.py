"""Certificate and key: what is refused at the start, in which words, and how both are replaced."""

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID as Purpose

from provenance_samples import DAY, SigningFiles, pem_of, signing_files, usual_files
from queue_agent.cli.check import check
from queue_agent.cli.options import output_stage
from queue_agent.cli.provenance_options import SOON, certificate_warning, signs
from queue_agent.cli.provenance_options import signing_files as signing_files_of
from queue_agent.cloud.memory import MemoryCloud
from queue_agent.outputs.provenance import KeyFiles, OriginClaim, SigningCredentials, trial
from queue_agent.settings.agent import Settings
from queue_agent.telemetry.export import exporting
from queue_agent.telemetry.options import TelemetryOptions
from queue_agent.wire.errors import QueueAgentError, SettingsError

USUAL = usual_files()
SHORT = rsa.generate_private_key(65537, 1024)  # noqa: S505  which is what is to be told


def settings(**named: str | Path) -> Settings:
    return Settings.load(
        {
            "QUEUE_AGENT_RUNTIME": "webui",
            "QUEUE_AGENT_QUEUE_URL": "https://sqs.us-west-2.amazonaws.com/111122223333/q",
            "QUEUE_AGENT_TOPIC_ARN": "arn:aws:sns:us-west-2:111122223333:t",
            "QUEUE_AGENT_BUCKET": "results",
            **{f"QUEUE_AGENT_PROVENANCE_{name}": str(value) for name, value in named.items()},
        }
    )


def refusal(certificate: Path, key: Path) -> str:
    with pytest.raises(SettingsError) as refused:
        output_stage(settings(CERTIFICATE=certificate, KEY=key))
    return refused.value.message


def test_a_signer_is_taken_and_tried(tmp_path: Path) -> None:
    certificate, key = USUAL.written(tmp_path)
    stage = output_stage(settings(CERTIFICATE=certificate, KEY=key))
    assert (len(stage.steps), stage.wants_inputs) == (2, True)
    assert len(output_stage(settings()).steps) == 1


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (signing_files(begins=-9 * DAY, ends=-DAY), "CERTIFICATE: expired on 20"),
        (signing_files(begins=DAY), "CERTIFICATE: is not valid before 20"),
        (signing_files(signs=False), "CERTIFICATE: may not sign: its key usage lacks"),
        (signing_files(is_authority=True), "CERTIFICATE: is an authority's"),
        (signing_files(signs_itself=True), "CERTIFICATE: signs itself"),
        (signing_files(purposes=()), "CERTIFICATE: is for another purpose"),
        (signing_files(purposes=[Purpose.SERVER_AUTH]), "CERTIFICATE: is for another purpose"),
        (
            signing_files(purposes=[Purpose.EMAIL_PROTECTION, Purpose.ANY_EXTENDED_KEY_USAGE]),
            "CERTIFICATE: is for another purpose",
        ),
        (signing_files(SHORT), "KEY: has 1024 bits"),
        (signing_files(ec.generate_private_key(ec.SECP256K1())), "KEY: is of a kind"),
        (SigningFiles(USUAL.certificate, signing_files().key, b""), "KEY: is not the key of"),
        (SigningFiles(USUAL.certificate, b"nothing", b""), "KEY: holds no private key in PEM"),
        (SigningFiles(USUAL.certificate, USUAL.certificate, b""), "KEY: holds no private key"),
        (SigningFiles(b"nothing", USUAL.key, b""), "CERTIFICATE: holds no certificates in PEM"),
        (SigningFiles(b"", USUAL.key, b""), "CERTIFICATE: holds no certificates in PEM"),
    ],
)
def test_what_cannot_sign_is_told_at_the_start(
    files: SigningFiles, words: str, tmp_path: Path
) -> None:
    told = refusal(*files.written(tmp_path))
    assert told.startswith(f"QUEUE_AGENT_PROVENANCE_{words}")
    assert "PRIVATE" not in told


def test_a_certificate_that_expires_while_the_agent_runs_signs_nothing_any_more() -> None:
    files = signing_files(begins=-9 * DAY, ends=-DAY)
    held = SigningCredentials.of(files.certificate, files.key, datetime.now(UTC) - 2 * DAY)
    reason = trial(OriginClaim("a-runtime", datetime.now(UTC)), held)
    assert reason == "cannot be signed: Signature: the certificate was not valid at time of signing"


def test_an_encrypted_key_is_told(tmp_path: Path) -> None:
    hidden = pem_of(ec.generate_private_key(ec.SECP256R1()), b"password")
    told = refusal(*SigningFiles(USUAL.certificate, hidden, b"").written(tmp_path))
    assert told == "QUEUE_AGENT_PROVENANCE_KEY: is encrypted: it must not be."


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    certificate, key = USUAL.written(tmp_path)
    assert "CERTIFICATE: /none cannot be read: No such file" in refusal(Path("/none"), key)
    assert "KEY: /none cannot be read: No such file" in refusal(certificate, Path("/none"))


def test_what_the_library_refuses_is_told_in_its_words(tmp_path: Path) -> None:
    """One that does not name its issuer's key, which only a trial shows."""
    told = refusal(*signing_files(names_key_above=False).written(tmp_path))
    assert told.startswith("QUEUE_AGENT_PROVENANCE_CERTIFICATE: a trial shows that it cannot be")


@pytest.mark.parametrize("missing", ["CERTIFICATE", "KEY"])
def test_one_without_the_other_is_told(missing: str, tmp_path: Path) -> None:
    certificate, key = USUAL.written(tmp_path)
    named = {"CERTIFICATE": certificate, "KEY": key}
    del named[missing]
    with pytest.raises(SettingsError, match="go together"):
        settings(**named)


def test_without_the_extra_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    told = refusal(*USUAL.written(tmp_path))
    assert told.endswith("needs the extra provenance: pip install 'sd-queue-agent[provenance]'.")


@pytest.mark.parametrize("address", ["ftp://authority.test", "authority.test", "http://"])
def test_a_timestamp_authority_is_an_address(address: str) -> None:
    with pytest.raises(SettingsError, match="TIMESTAMP_URL"):
        settings(TIMESTAMP_URL=address)


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [
        (ec.generate_private_key(ec.SECP384R1()), "es384"),
        (ec.generate_private_key(ec.SECP521R1()), "es512"),
        (rsa.generate_private_key(65537, 2048), "ps256"),
        (ed25519.Ed25519PrivateKey.generate(), "ed25519"),
    ],
)
def test_each_kind_of_key_signs(
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey,
    algorithm: str,
) -> None:
    files = signing_files(key)
    found = SigningCredentials.of(files.certificate, files.key, datetime.now(UTC))
    assert found.algorithm == algorithm
    assert trial(OriginClaim("a-runtime", datetime.now(UTC)), found) is None


def test_files_that_are_replaced_are_read_again(tmp_path: Path) -> None:
    files = KeyFiles(*USUAL.written(tmp_path))
    first = files.current()
    assert files.current() is first
    certificate, key = signing_files(name="another").written(tmp_path)
    os.utime(key, (1, 1))
    second = files.current()
    assert second.certificates != first.certificates
    certificate.write_bytes(b"half of one")
    os.utime(certificate, (2, 2))
    assert files.current() is second, "what is unfit replaces nothing"
    key.unlink()
    assert files.current() is second
    USUAL.written(tmp_path)
    assert files.current() == first


@pytest.mark.parametrize(
    "arn",
    [
        "1234abcd-12ab-34cd-56ef-1234567890ab",
        "alias/signing",
        "arn:aws:kms:us-east-1:111122223333:alias/signing",
        "arn:aws:s3:::key/a",
    ],
)
def test_a_kms_key_is_named_by_its_own_arn(arn: str, tmp_path: Path) -> None:
    certificate, _ = USUAL.written(tmp_path)
    with pytest.raises(SettingsError, match="is no ARN of a KMS key"):
        settings(CERTIFICATE=certificate, KMS_KEY=arn)


def test_a_key_has_one_place(tmp_path: Path) -> None:
    certificate, key = USUAL.written(tmp_path)
    arn = "arn:aws-cn:kms:cn-north-1:111122223333:key/mrk-1234"
    assert settings(CERTIFICATE=certificate, KMS_KEY=arn).provenance_kms_key == arn
    with pytest.raises(SettingsError, match="not both"):
        settings(CERTIFICATE=certificate, KEY=key, KMS_KEY=arn)
    with pytest.raises(SettingsError, match="go together"):
        settings(KMS_KEY=arn)


async def test_check_says_until_when_files_are_signed(tmp_path: Path) -> None:
    certificate, key = USUAL.written(tmp_path)
    told = settings(CERTIFICATE=certificate, KEY=key)
    files = signing_files_of(told)
    assert files is not None
    assert await signs(told, files) == f"signs until {files.current().expires:%Y-%m-%d}"
    assert await certificate_warning(files) == ""
    assert signing_files_of(settings()) is None


async def test_check_warns_of_a_certificate_that_expires_soon(tmp_path: Path) -> None:
    certificate, key = signing_files(ends=9.5 * DAY).written(tmp_path)
    files = signing_files_of(settings(CERTIFICATE=certificate, KEY=key))
    assert files is not None
    assert (await certificate_warning(files)).startswith("expires in 9 days (20")


async def test_check_asks_the_timestamp_authority(tmp_path: Path) -> None:
    certificate, key = USUAL.written(tmp_path)
    told = settings(
        CERTIFICATE=certificate, KEY=key, TIMESTAMP_URL="http://127.0.0.1:1/?key=secret"
    )
    files = signing_files_of(told)
    assert files is not None
    with pytest.raises(QueueAgentError, match="gives no timestamps") as refused:
        await signs(told, files)
    assert "secret" not in refused.value.message


def test_the_alert_and_the_check_mean_the_same_time() -> None:
    rules = Path("charts/queue-agent/files/rules/queue-agent.yaml").read_text()
    assert f"certificate_remaining_seconds) < {SOON.days} * 86400" in rules


async def test_the_metric_follows_the_certificate(tmp_path: Path) -> None:
    certificate, key = signing_files(ends=2 * DAY).written(tmp_path)
    options = TelemetryOptions(metrics="prometheus")
    async with exporting(options, runtime="sd", task_types=frozenset()) as exports:
        output_stage(settings(CERTIFICATE=certificate, KEY=key), metrics=exports.telemetry.metrics)
        assert exports.exposition is not None
        assert 1.9 * 86400 < remaining_in(exports.exposition("")[0].decode()) <= 2 * 86400
        signing_files(ends=20 * DAY).written(tmp_path)
        os.utime(certificate, (1, 1))
        assert 19.9 * 86400 < remaining_in(exports.exposition("")[0].decode()) <= 20 * 86400


def remaining_in(page: str) -> float:
    name = "queue_agent_signing_certificate_remaining_seconds{"
    (line,) = [line for line in page.splitlines() if line.startswith(name)]
    return float(line.rpartition(" ")[2])


@pytest.mark.parametrize(
    ("more", "days", "told"),
    [
        ({}, 30, "✓ signing: signs until 20"),
        ({}, 9.5, "! certificate: expires in 9 days"),
        ({"TIMESTAMP_URL": "http://127.0.0.1:1/"}, 30, "✗ signing: http://127.0.0.1:1/ gives no"),
    ],
)
async def test_the_check_command_says_what_it_knows_of_signing(
    more: dict[str, str],
    days: float,
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("queue_agent.cli.check.connect", lambda *_, **__: MemoryCloud())
    certificate, key = signing_files(ends=days * DAY).written(tmp_path)
    works = await check(settings(CERTIFICATE=certificate, KEY=key, **more), with_runtime=False)
    shown = " ".join(capsys.readouterr().out.split())
    assert (told in shown, works) == (True, not told.startswith("✗")), shown
    assert ("PROVENANCE_TIMESTAMP_URL an authority by RFC 3161" in shown) is not works
