"""Putting a signed manifest into a file: fit for a process of its own.

By the C2PA project's own library (the extra ``provenance``).
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

from queue_agent.outputs.provenance.claim import OriginClaim
from queue_agent.outputs.provenance.credentials import SigningCredentials
from queue_agent.outputs.provenance.kept_keys import KeptKeySigner

if TYPE_CHECKING:
    import c2pa

SIGNED_TYPES: Final = {
    "audio/mp4": "audio/mp4",
    "audio/mpeg": "audio/mpeg",
    "audio/x-wav": "audio/x-wav",
    "image/apng": "image/png",
    "image/avif": "image/avif",
    "image/gif": "image/gif",
    "image/jpeg": "image/jpeg",
    "image/png": "image/png",
    "image/tiff": "image/tiff",
    "image/webp": "image/webp",
    "video/mp4": "video/mp4",
    "video/quicktime": "video/quicktime",
    "video/x-m4v": "video/x-m4v",
    "video/x-msvideo": "video/x-msvideo",
}
"""Media types of files that are signed, and what the library calls them.

It signs FLAC, too, with the manifest before the file's beginning, by which it is no FLAC to most.
"""

_SETTINGS: Final = {
    "version": 1,
    "builder": {"thumbnail": {"enabled": False}},
    "verify": {"verify_after_sign": False, "remote_manifest_fetch": False},
}


class NotSigned(Exception):
    """The file has no manifest now. The message continues its name."""


@dataclass(frozen=True)
class Signature:
    """Who signs, and who says when."""

    credentials: SigningCredentials
    timestamps: str | None = None
    """URL of an authority (RFC 3161); None: nobody but the signer says when."""


def sign_file(
    source: Path,
    target: Path,
    media_type: str,
    claim: OriginClaim,
    signature: Signature,
    inputs: Sequence[Path | None] = (),
) -> bool:
    """Write the file with its manifest to `target`; False: it has one already that holds.

    `inputs` are the claim's ingredients, as far as their own manifests are to go along.

    Raises:
        NotSigned: it cannot be signed.
    """
    with source.open("rb") as file, target.open("w+b") as made:
        return sign(file, made, media_type, claim, signature, inputs)


def sign(
    source: BinaryIO,
    target: BinaryIO,
    media_type: str,
    claim: OriginClaim,
    signature: Signature,
    inputs: Sequence[Path | None] = (),
) -> bool:
    """The same of open files."""
    import c2pa  # noqa: PLC0415  an extra

    called = SIGNED_TYPES[media_type]
    key = signature.credentials.key
    kept = None if isinstance(key, bytes) else KeptKeySigner(signature.credentials, key)
    try:
        if _holds(source, called):
            return False
        with (
            c2pa.Context.from_dict(_SETTINGS) as context,
            c2pa.Builder(_definition(claim, inputs), context) as builder,
            _signer(signature, kept) as signer,
        ):
            for described, path in zip(claim.described(), inputs, strict=False):
                if path is not None:
                    with path.open("rb") as file:
                        builder.add_ingredient(described, str(described["format"]), file)
            builder.sign(signer, called, source, target)
    except c2pa.C2paError as error:
        reason = kept.failure if kept is not None and kept.failure else error
        raise NotSigned(f"cannot be signed: {reason}") from error
    return True


def _definition(claim: OriginClaim, inputs: Sequence[Path | None]) -> str:
    """With the ingredients of which there is no more than what is said of them."""
    definition = claim.definition()
    paths = [*inputs, *[None] * (len(claim.ingredients) - len(inputs))]
    described = zip(claim.described(), paths, strict=True)
    bare = [{**one, "instance_id": one["label"]} for one, path in described if path is None]
    if bare:
        definition["ingredients"] = [*bare]
    return json.dumps(definition)


def _holds(source: BinaryIO, called: str) -> bool:
    """Whether there is a manifest in the file, of which all is as it was signed."""
    import c2pa  # noqa: PLC0415

    try:
        with c2pa.Context.from_dict(_SETTINGS) as context:
            reader = c2pa.Reader.try_create(called, source, context=context)
            if reader is not None:
                with reader:
                    return reader.get_validation_state() in {"Valid", "Trusted"}
    except c2pa.C2paError:
        return False  # it is elsewhere, and nobody fetches it; or what is there cannot be read
    finally:
        source.seek(0)
    return False


def _signer(signature: Signature, kept: KeptKeySigner | None) -> "c2pa.Signer":
    import c2pa  # noqa: PLC0415

    credentials, url = signature.credentials, signature.timestamps
    if kept is not None:
        algorithm = c2pa.C2paSigningAlg[credentials.algorithm.upper()]
        return c2pa.Signer.from_callback(kept, algorithm, credentials.certificates.decode(), url)
    return c2pa.Signer.from_info(
        c2pa.C2paSignerInfo(
            credentials.algorithm.encode(),
            credentials.certificates,
            credentials.key,
            url.encode() if url else None,
        )
    )
