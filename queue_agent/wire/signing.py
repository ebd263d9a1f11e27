"""Signatures of the Standard Webhooks scheme, by which receivers know who sends.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass, field
from typing import Final, Self

__all__ = [
    "SigningSecret",
]

_PREFIX: Final = "whsec_"
_SHORTEST: Final = 24
_LONGEST: Final = 64


@dataclass(frozen=True)
class SigningSecret:
    """A key of 24 to 64 bytes that sender and receiver share."""

    key: bytes = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a secret as it is handed out: ``whsec_`` and base64.

        Raises:
            ValueError: it is none; the message does not repeat it.
        """
        encoded = text.strip().removeprefix(_PREFIX)
        try:
            key = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
        except (binascii.Error, ValueError):
            key = b""
        if not (text.strip().startswith(_PREFIX) and _SHORTEST <= len(key) <= _LONGEST):
            raise ValueError("must be whsec_ and the base64 of 24 to 64 random bytes")
        return cls(key)

    def headers(self, message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
        """The headers that prove id, time (seconds since the epoch) and body.

        `message_id` must hold no full stop, so that none of the three can pass for another.
        """
        signed = b"%s.%d.%s" % (message_id.encode(), timestamp, body)
        signature = base64.b64encode(hmac.new(self.key, signed, hashlib.sha256).digest())
        return {
            "webhook-id": message_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": f"v1,{signature.decode()}",
        }
