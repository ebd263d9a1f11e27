"""Signing with a key that its keeper does not give away.

COSE, which C2PA's manifests are signed by, wants the two numbers of an elliptic curve's signature
one behind the other, each as long as the curve's: https://www.rfc-editor.org/rfc/rfc9053, 2.1.
"""

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from queue_agent.cloud.kms import KmsKey
from queue_agent.outputs.provenance.credentials import Algorithm, SigningCredentials
from queue_agent.wire.errors import Unavailable

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes


class _Scheme(NamedTuple):
    hash: str
    called: str
    """By KMS."""


_SCHEMES: Final[dict[Algorithm, _Scheme]] = {
    "es256": _Scheme("sha256", "ECDSA_SHA_256"),
    "es384": _Scheme("sha384", "ECDSA_SHA_384"),
    "es512": _Scheme("sha512", "ECDSA_SHA_512"),
    "ps256": _Scheme("sha256", "RSASSA_PSS_SHA_256"),
}


@dataclass
class KeptKeySigner:
    """What the library has sign: it takes what is to be signed, and gives the signature."""

    credentials: SigningCredentials
    key: KmsKey
    failure: str = field(default="", init=False)
    """Why there was no signature, which the library does not tell."""

    def __call__(self, data: bytes) -> bytes:
        from cryptography.exceptions import InvalidSignature  # noqa: PLC0415  an extra

        scheme = _SCHEMES[self.credentials.algorithm]
        digest = hashlib.new(scheme.hash, data).digest()
        try:
            signature = self.key.sign(digest, scheme.called)
            return _raw(self._public_key(), signature, digest, scheme)
        except Unavailable as error:
            self.failure = " ".join(filter(None, (error.message, error.remedy)))
        except InvalidSignature:
            self.failure = "the KMS key is not that of the certificate"
        return b""

    def _public_key(self) -> "PublicKeyTypes":
        from cryptography import x509  # noqa: PLC0415

        return x509.load_pem_x509_certificate(self.credentials.certificates).public_key()


def _raw(key: "PublicKeyTypes", signature: bytes, digest: bytes, scheme: _Scheme) -> bytes:
    """The signature as COSE has it; raises `InvalidSignature` where it is another key's."""
    from cryptography.hazmat.primitives import hashes  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils  # noqa: PLC0415

    kind = {"sha256": hashes.SHA256(), "sha384": hashes.SHA384(), "sha512": hashes.SHA512()}
    algorithm = kind[scheme.hash]
    hashed = utils.Prehashed(algorithm)
    if isinstance(key, rsa.RSAPublicKey):
        key.verify(
            signature,
            digest,
            padding.PSS(padding.MGF1(algorithm), padding.PSS.DIGEST_LENGTH),
            hashed,
        )
        return signature
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise TypeError(f"KMS has no such keys: {type(key).__name__}")
    key.verify(signature, digest, ec.ECDSA(hashed))
    size = (key.curve.key_size + 7) // 8
    return b"".join(one.to_bytes(size, "big") for one in utils.decode_dss_signature(signature))
