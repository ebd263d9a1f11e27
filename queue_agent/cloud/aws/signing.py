"""Signature Version 4 as the SDK computes it, at less cost.

For each request the SDK reads its headers twice through a parser of e-mail's, derives anew the
key that is good for a day, and prepares all of the request twice, the first time for the digest
of its body. Its classes are kept, and what they sign; only these steps are done otherwise.
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

import hashlib
import hmac
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from typing import Any, Final
from urllib.parse import urlsplit

from botocore.auth import AUTH_TYPE_MAPS, SIGNED_HEADERS_BLACKLIST, S3SigV4Auth, SigV4Auth

_UNSIGNED: Final = frozenset(SIGNED_HEADERS_BLACKLIST)
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


_digest: ContextVar[str | None] = ContextVar("payload digest", default=None)


@contextmanager
def payload_digest(sha256: str | None) -> Iterator[None]:
    """A block in which requests have a body of this digest; None: it is not known."""
    token = _digest.set(sha256)
    try:
        yield
    finally:
        _digest.reset(token)


def sign_at_less_cost(client: Any) -> None:
    """Let a client sign its requests so, where it would use the plain Signature Version 4."""
    client.meta.events.register_first("choose-signer", _choose)


def _choose(
    signature_version: Any, signing_name: str, context: Mapping[str, Any], **_: Any
) -> str | None:
    """The name of our class; None leaves the choice to the SDK: for links, other schemes, none."""
    config = context.get("client_config")
    if config is None or config.auth_scheme_preference or context.get("unsigned_payload"):
        return None
    return _NAMES.get((signature_version, signing_name))


class _LessCost:
    """Steps of `SigV4Auth`, of the same outcome."""

    credentials: Any
    _region_name: str
    _service_name: str
    _is_streaming_checksum_payload: Callable[[Any], bool]
    _should_sha256_sign_payload: Callable[[Any], bool]

    def digest_of(self, request: Any) -> str | None:
        """That of the body, where it is signed and is known or in memory."""
        if isinstance(request.data, dict):  # the fields of a form
            request.data = request.body
        if self._is_streaming_checksum_payload(request):
            return None
        if not self._should_sha256_sign_payload(request):
            return None
        if (known := _digest.get()) is not None:
            return known
        return hashlib.sha256(request.data).hexdigest() if isinstance(request.data, bytes) else None

    def headers_to_sign(self, request: Any) -> Mapping[str, str]:
        """By names in lower case; values of a name that stands twice are joined."""
        found: dict[str, str] = {}
        for name, value in request.headers.items():
            key, text = name.lower(), " ".join(value.split())
            if key not in _UNSIGNED:
                found[key] = f"{found[key]},{text}" if key in found else text
        if "host" not in found:
            found["host"] = _host_of("/".join(request.url.split("/", 3)[:3]))
        return found

    def canonical_headers(self, headers_to_sign: Mapping[str, str]) -> str:
        return "\n".join(f"{name}:{headers_to_sign[name]}" for name in sorted(headers_to_sign))

    def signed_headers(self, headers_to_sign: Mapping[str, str]) -> str:
        return ";".join(sorted(headers_to_sign))

    def signature(self, string_to_sign: str, request: Any) -> str:
        day = request.context["timestamp"][:8]
        secret = self.credentials.secret_key
        key = _signing_key(secret, day, self._region_name, self._service_name)
        return hmac.digest(key, string_to_sign.encode(), "sha256").hex()


# The SDK has no types.
class LessCostlySigV4(_LessCost, SigV4Auth):  # type: ignore[misc]
    """For SQS and SNS."""

    def payload(self, request: Any) -> str:
        return self.digest_of(request) or str(super().payload(request))


class LessCostlyS3SigV4(_LessCost, S3SigV4Auth):  # type: ignore[misc]
    """For S3."""

    def payload(self, request: Any) -> str:
        return self.digest_of(request) or str(super().payload(request))


@lru_cache(maxsize=16)
def _signing_key(secret: str, day: str, region: str, service: str) -> bytes:
    key = f"AWS4{secret}".encode()
    for part in (day, region, service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


@lru_cache(maxsize=64)
def _host_of(origin: str) -> str:
    """As it will stand in the header: without a port that is the scheme's own."""
    parts = urlsplit(origin)
    host = parts.hostname or ""
    if ":" in host:
        host = f"[{host}]"
    if parts.port in {None, _DEFAULT_PORTS.get(parts.scheme)}:
        return host
    return f"{host}:{parts.port}"


_NAMES: Final = {
    ("v4", "sqs"): "queue-agent-v4",
    ("v4", "sns"): "queue-agent-v4",
    ("v4", "s3"): "queue-agent-s3v4",
    ("s3v4", "s3"): "queue-agent-s3v4",
}
AUTH_TYPE_MAPS["queue-agent-v4"] = LessCostlySigV4
AUTH_TYPE_MAPS["queue-agent-s3v4"] = LessCostlyS3SigV4
