"""What manifests are signed with: a chain of certificates and the key of its first."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, Self, TypeVar

from queue_agent.cloud.kms import KmsKey

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes

E = TypeVar("E", bound="x509.ExtensionType")

Algorithm = Literal["es256", "es384", "es512", "ps256", "ed25519"]

_OF_CURVES: Final[dict[str, Algorithm]] = {
    "secp256r1": "es256",
    "secp384r1": "es384",
    "secp521r1": "es512",
}
_SHORTEST_RSA: Final = 2048
_MINUTES: Final = "%Y-%m-%d %H:%M"
_PURPOSES: Final = frozenset(
    {
        "1.3.6.1.5.5.7.3.4",  # emailProtection
        "1.3.6.1.5.5.7.3.36",  # documentSigning
        "1.3.6.1.4.1.62558.2.1",  # C2PA's own
    }
)
"""Extended key usages of claims' signers: https://spec.c2pa.org, "X.509 Certificates"."""
_ANY_PURPOSE: Final = "2.5.29.37.0"


class UnfitCredentials(Exception):
    """Nothing can be signed with it. The message says why; `of_key`: which file is at fault."""

    def __init__(self, message: str, *, of_key: bool = False) -> None:
        super().__init__(message)
        self.of_key = of_key


@dataclass(frozen=True)
class SigningCredentials:
    """A certificate, those of its issuers, and its key."""

    algorithm: Algorithm
    certificates: bytes
    """In PEM, the signer's first."""
    key: bytes | KmsKey = field(repr=False)
    """In PEM (PKCS #8), not encrypted; or one that only signs, and stays where it is."""
    expires: datetime

    @classmethod
    def read(cls, certificate: Path, key: Path | KmsKey, now: datetime) -> Self:
        """From files in PEM.

        Raises:
            UnfitCredentials: they cannot be read, do not fit, or are none that C2PA knows. Whether
                a key that is in no file is that of the certificate is seen when it signs.
        """
        chain = _read(certificate, of_key=False)
        return cls.of(chain, key if isinstance(key, KmsKey) else _read(key, of_key=True), now)

    @classmethod
    def of(cls, chain: bytes, key: bytes | KmsKey, now: datetime) -> Self:
        """From what such files hold; raises as `read`."""
        from cryptography.hazmat.primitives import serialization  # noqa: PLC0415  an extra

        certificates = _certificates(chain)
        signer = certificates[0]
        held = key if isinstance(key, KmsKey) else _held(key, signer)
        _check_times(signer, now)
        _check_purpose(signer)
        algorithm = _algorithm(signer.public_key())
        if algorithm == "ed25519" and isinstance(held, KmsKey):
            raise UnfitCredentials("has a key of Ed25519, with which nothing is signed by KMS here")
        return cls(
            algorithm=algorithm,
            certificates=b"".join(
                one.public_bytes(serialization.Encoding.PEM) for one in certificates
            ),
            key=held,
            expires=signer.not_valid_after_utc,
        )


def _read(path: Path, *, of_key: bool) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UnfitCredentials(f"{path} cannot be read: {error.strerror}", of_key=of_key) from error


def _certificates(chain: bytes) -> "Sequence[x509.Certificate]":
    from cryptography import x509  # noqa: PLC0415

    try:
        return x509.load_pem_x509_certificates(chain)
    except ValueError as error:
        raise UnfitCredentials("holds no certificates in PEM") from error


def _key(data: bytes) -> "PrivateKeyTypes":
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415

    try:
        return serialization.load_pem_private_key(data, password=None)
    except TypeError as error:
        raise UnfitCredentials("is encrypted: it must not be", of_key=True) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise UnfitCredentials("holds no private key in PEM", of_key=True) from error


def _held(data: bytes, signer: "x509.Certificate") -> bytes:
    """The key, which is the signer's."""
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415

    key = _key(data)
    if signer.public_key() != key.public_key():
        raise UnfitCredentials("is not the key of the certificate", of_key=True)
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _algorithm(key: "PublicKeyTypes") -> Algorithm:
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa  # noqa: PLC0415

    if isinstance(key, ed25519.Ed25519PublicKey):
        return "ed25519"
    if isinstance(key, rsa.RSAPublicKey):
        if key.key_size >= _SHORTEST_RSA:
            return "ps256"
        raise UnfitCredentials(
            f"has {key.key_size} bits: C2PA wants {_SHORTEST_RSA} or more", of_key=True
        )
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in _OF_CURVES:
        return _OF_CURVES[key.curve.name]
    raise UnfitCredentials(
        "is of a kind that C2PA does not know: P-256, RSA or Ed25519 are", of_key=True
    )


def _check_times(signer: "x509.Certificate", now: datetime) -> None:
    if now > signer.not_valid_after_utc:
        raise UnfitCredentials(f"expired on {signer.not_valid_after_utc:{_MINUTES}} UTC")
    if now < signer.not_valid_before_utc:
        raise UnfitCredentials(
            f"is not valid before {signer.not_valid_before_utc:%Y-%m-%d %H:%M} UTC"
        )


def _check_purpose(signer: "x509.Certificate") -> None:
    from cryptography import x509  # noqa: PLC0415

    if signer.issuer == signer.subject:
        raise UnfitCredentials("signs itself: C2PA wants one that an authority signed")
    constraints = _extension(signer, x509.BasicConstraints)
    if constraints is not None and constraints.ca:
        raise UnfitCredentials("is an authority's, not a signer's")
    usage = _extension(signer, x509.KeyUsage)
    if usage is None or not usage.digital_signature:
        raise UnfitCredentials("may not sign: its key usage lacks digitalSignature")
    purposes = {one.dotted_string for one in _extension(signer, x509.ExtendedKeyUsage) or ()}
    if not purposes & _PURPOSES or _ANY_PURPOSE in purposes:
        raise UnfitCredentials(
            "is for another purpose: its extended key usage needs emailProtection, "
            "documentSigning or C2PA's own (1.3.6.1.4.1.62558.2.1)"
        )


def _extension(certificate: "x509.Certificate", kind: type[E]) -> E | None:
    from cryptography import x509  # noqa: PLC0415

    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None
