"""AWS KMS, which signs with keys that never leave it.

https://docs.aws.amazon.com/kms/latest/APIReference/API_Sign.html
"""

from functools import cache
from typing import Any, Final

from botocore.config import Config
from botocore.session import get_session

from queue_agent.cloud.aws.addresses import region_of
from queue_agent.cloud.aws.errors import translated

_CONFIG: Final = Config(
    connect_timeout=3, read_timeout=10, retries={"mode": "standard", "total_max_attempts": 3}
)
"""Less than the minute that signing a file may take, all attempts together."""


def sign_digest(key: str, digest: bytes, algorithm: str) -> bytes:
    """The signature of a digest, as KMS gives it; waits for the answer.

    Credentials are those of the SDK's chain.

    Raises:
        Unavailable: KMS refuses or does not answer.
    """
    with translated("sign with the KMS key"):
        answer = _client(region_of(key)).sign(
            KeyId=key, Message=digest, MessageType="DIGEST", SigningAlgorithm=algorithm
        )
    signature: bytes = answer["Signature"]
    return signature


@cache
def _client(region: str | None) -> Any:
    """One for the process: it keeps its connection, and renews its credentials."""
    return get_session().create_client("kms", region, config=_CONFIG)
