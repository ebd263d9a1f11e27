"""Certificates made for a test, by an authority of its own."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

Key = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey
PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey

PEM: Final = serialization.Encoding.PEM
DAY: Final = timedelta(days=1)


@dataclass(frozen=True)
class SigningFiles:
    """What an operator has in files."""

    certificate: bytes
    key: bytes
    anchor: bytes
    """The authority's own certificate."""

    def written(self, folder: Path) -> tuple[Path, Path]:
        """Certificate and key in files."""
        certificate, key = folder / "certificate.pem", folder / "key.pem"
        certificate.write_bytes(self.certificate)
        key.write_bytes(self.key)
        return certificate, key


def _name(text: str) -> x509.Name:
    organization = x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Tests")
    return x509.Name([organization, x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _usage(*, signs: bool, certifies: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=signs,
        content_commitment=False,
        key_encipherment=not signs and not certifies,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=certifies,
        crl_sign=certifies,
        encipher_only=False,
        decipher_only=False,
    )


def pem_of(key: Key, password: bytes | None = None) -> bytes:
    hidden: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if password is not None:
        hidden = serialization.BestAvailableEncryption(password)
    return key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, hidden)


def signing_files(
    key: Key | PublicKey | None = None,
    *,
    name: str = "A signer",
    begins: timedelta = -DAY,
    ends: timedelta = 30 * DAY,
    signs: bool = True,
    is_authority: bool = False,
    purposes: Sequence[x509.ObjectIdentifier] = (ExtendedKeyUsageOID.EMAIL_PROTECTION,),
    is_purpose_critical: bool = False,
    signs_itself: bool = False,
    names_key_above: bool = True,
) -> SigningFiles:
    """A signer's certificate, its authority's behind it, and the signer's key.

    Of a key that is kept elsewhere there is the public one alone.
    """
    now = datetime.now(UTC)
    above = ec.generate_private_key(ec.SECP256R1())
    identifier = x509.SubjectKeyIdentifier.from_public_key(above.public_key())
    authority = (
        x509.CertificateBuilder(_name("An authority"), _name("An authority"))
        .public_key(above.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - 400 * DAY)
        .not_valid_after(now + 400 * DAY)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(_usage(signs=False, certifies=True), critical=True)
        .add_extension(identifier, critical=False)
        .sign(above, hashes.SHA256())
    )
    key = key or ec.generate_private_key(ec.SECP256R1())
    if isinstance(key, (ec.EllipticCurvePublicKey, rsa.RSAPublicKey)):
        public: CertificatePublicKeyTypes = key
        secret = b""
    else:
        public, secret = key.public_key(), pem_of(key)
    issuer = _name(name) if signs_itself else authority.subject
    builder = (
        x509.CertificateBuilder(issuer, _name(name))
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + begins)
        .not_valid_after(now + ends)
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        .add_extension(_usage(signs=signs), critical=True)
    )
    if names_key_above:
        key_above = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)
        builder = builder.add_extension(key_above, critical=False)
    if purposes:
        usage = x509.ExtendedKeyUsage(purposes)
        builder = builder.add_extension(usage, critical=is_purpose_critical)
    own = builder.sign(above, hashes.SHA256())
    anchor = authority.public_bytes(PEM)
    return SigningFiles(own.public_bytes(PEM) + anchor, secret, anchor)


@cache
def usual_files() -> SigningFiles:
    """One signer for all tests that need just any."""
    return signing_files()
