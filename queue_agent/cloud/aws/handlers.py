"""Steps that the SDK takes at each request and our calls do better without.

They are its own event handlers, taken out or replaced by its public means:
https://boto3.amazonaws.com/v1/documentation/api/latest/guide/events.html
"""

from typing import Any, Final

from botocore.handlers import (
    convert_body_to_file_like_object,
    generate_idempotent_uuid,
    inject_api_version_header_if_needed,
    sse_md5,
    validate_ascii_metadata,
)

_SENT_AT_ONCE: Final = 2**20
"""Bytes of a body that aiohttp takes whole; more would hold up the event loop."""
_WITH_BODIES: Final = (
    "before-parameter-build.s3.PutObject",
    "before-parameter-build.s3.UploadPart",
)
_FOR_OTHERS: Final = (
    # for operations that have tokens, or whose endpoints are looked up: none of the three
    # services has any
    ("before-parameter-build", generate_idempotent_uuid),
    ("before-call", inject_api_version_header_if_needed),
    # for the keys of a server's encryption and for metadata, of which we send none
    ("before-parameter-build.s3.GetObject", sse_md5),
    ("before-parameter-build.s3.PutObject", sse_md5),
    ("before-parameter-build.s3.PutObject", validate_ascii_metadata),
)


def leave_out_idle_steps(client: Any) -> None:
    """Let a client take no steps of which none of our calls has the use."""
    for event, handler in _FOR_OTHERS:
        client.meta.events.unregister(event, handler)


def send_small_bodies_at_once(s3: Any) -> None:
    """Let a client of S3 send what is small as it is.

    The SDK makes a file of every body. It asks the server before it sends one (``Expect:
    100-continue``, a round trip for each object), and reads it piece by piece.
    """
    for event in _WITH_BODIES:
        s3.meta.events.unregister(event, convert_body_to_file_like_object)
        s3.meta.events.register(event, _large_body_as_file)


def _large_body_as_file(params: dict[str, Any], **kwargs: Any) -> None:
    body = params.get("Body")
    if isinstance(body, bytes) and len(body) > _SENT_AT_ONCE:
        convert_body_to_file_like_object(params, **kwargs)
