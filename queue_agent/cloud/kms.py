"""Keys that never leave their keeper: digests go there, and signatures come back."""

from dataclasses import dataclass


@dataclass(frozen=True)
class KmsKey:
    """A key of AWS KMS."""

    arn: str

    def sign(self, digest: bytes, algorithm: str) -> bytes:
        """The signature of a digest; waits for it, so in a process that does nothing else.

        `algorithm` is one of KMS's: ``ECDSA_SHA_256`` and so on, whose signatures are in DER, or
        ``RSASSA_PSS_SHA_256``.

        Raises:
            Unavailable: it is refused or not answered.
        """
        from queue_agent.cloud.aws.kms import sign_digest  # noqa: PLC0415  its SDK is slow to import

        return sign_digest(self.arn, digest, algorithm)
