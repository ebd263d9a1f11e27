"""A signer of a benchmark's own: certificate and key, from an authority that nobody knows."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_PEM = serialization.Encoding.PEM


def signer(folder: Path) -> dict[str, str]:
    """The agent's settings for files made in the folder."""
    certificate, key = folder / "signer.crt", folder / "signer.key"
    if not certificate.exists():
        authority, own = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
        key.write_bytes(
            own.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        )
        certificate.write_bytes(_certificate(own, authority).public_bytes(_PEM))
    return {
        "QUEUE_AGENT_PROVENANCE_CERTIFICATE": str(certificate),
        "QUEUE_AGENT_PROVENANCE_KEY": str(key),
    }


def _certificate(
    own: ec.EllipticCurvePrivateKey, authority: ec.EllipticCurvePrivateKey
) -> x509.Certificate:
    now = datetime.now(UTC)
    usage = x509.KeyUsage(
        digital_signature=True, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, key_cert_sign=False, crl_sign=False,
        encipher_only=False, decipher_only=False,
    )  # fmt: skip
    purposes = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
    above = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key())
    return (
        x509.CertificateBuilder(_name("An authority"), _name("A signer"))
        .public_key(own.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=30))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(purposes, critical=False)
        .add_extension(above, critical=False)
        .sign(authority, hashes.SHA256())
    )


def _name(text: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Benchmark"),
            x509.NameAttribute(NameOID.COMMON_NAME, text),
        ]
    )
