"""`queue-agent verify`: what a file says of where it comes from, and whether that holds."""

import hashlib
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from queue_agent.cloud.addresses import bare_bucket_name
from queue_agent.cloud.connect import connect
from queue_agent.media.signatures import HEAD, sniff
from queue_agent.outputs.provenance import FileFacts, ManifestFacts, Timestamp, facts_in
from queue_agent.wire.errors import ObjectNotFound, SettingsError
from queue_agent.wire.result import Result

HOLDS: Final = 0
BROKEN: Final = 1
UNREAD: Final = 2
SAYS_NOTHING: Final = 3

_ARTIFACT: Final = re.compile(r"(?P<manifest>.+-[0-9a-f]{16})-\d+(-[a-z0-9-]+)?\.\w+")


@dataclass(frozen=True)
class VerifiedFile:
    """A file, and the result that tells of it where there is one."""

    name: str
    data: bytes
    result: Result | None = None


def read_file(path: Path, result: Path | None) -> VerifiedFile:
    """One on this machine; `result` is the manifest of its job.

    Raises:
        SettingsError: either cannot be read.
    """
    try:
        told = None if result is None else Result.model_validate_json(result.read_bytes())
        return VerifiedFile(path.name, path.read_bytes(), told)
    except OSError as error:
        raise SettingsError(f"{error.filename} cannot be read: {error.strerror}.") from error
    except ValidationError as error:
        raise SettingsError(f"{result} is no result of a job.") from error


async def read_object(url: str, bucket: str | None, region: str | None = None) -> VerifiedFile:
    """One in a bucket (``s3://name/key``), with the result beside it.

    Raises:
        SettingsError: that is no such address.
        QueueAgentError: it cannot be read.
    """
    name, _, key = url.removeprefix("s3://").partition("/")
    if not name or not key:
        raise SettingsError(f"{url} names no object: s3://BUCKET/KEY does.")
    opened = bucket if bucket is not None and bare_bucket_name(bucket) == name else name
    cloud = connect(bucket=opened, region=region)
    try:
        store = cloud.bucket(opened)
        data, told = await store.read(key), None
        if (named := _ARTIFACT.fullmatch(key)) is not None:
            try:
                told = Result.model_validate_json(await store.read(f"{named['manifest']}.out"))
            except (ObjectNotFound, ValidationError):
                told = None
        return VerifiedFile(key.rpartition("/")[2], data, told)
    finally:
        await cloud.aclose()


def verified(file: VerifiedFile, anchors: str | None) -> tuple[int, list[str]]:
    """The exit code, and what is told; `anchors` are authorities to trust, in PEM.

    Raises:
        SettingsError: `anchors` are none.
    """
    lines: list[str] = []
    try:
        facts = facts_in(io.BytesIO(file.data), sniff(file.data[:HEAD]), anchors)
    except ModuleNotFoundError:
        facts = FileFacts(has_manifest=True)
        lines.append(
            "C2PA: there is a manifest; to read it, pip install 'sd-queue-agent[provenance]'"
        )
    except ValueError as error:
        raise SettingsError(f"--trust: {error}") from error
    broken = False
    if facts.manifest is not None:
        told = list(_of_manifest(facts.manifest, trusting=anchors is not None))
        lines += told
        broken = not facts.manifest.holds or (anchors is not None and not facts.manifest.is_trusted)
    elif facts.elsewhere and not facts.has_manifest:
        lines.append(f"C2PA: the manifest is not in the file, and not fetched: {facts.elsewhere}")
    elif not facts.has_manifest:
        lines.append("C2PA: no manifest")
    elif not lines:
        lines.append("C2PA: there is something of a manifest, which cannot be read")
    lines += [f"XMP: digital source type {kind}" for kind in facts.source_types]
    matches = _matches(file)
    lines.append(_OF_RESULT[matches])
    if broken or matches is False:
        return BROKEN, lines
    if facts.manifest is None and (facts.has_manifest or facts.elsewhere):
        return UNREAD, lines
    says = facts.has_manifest or bool(facts.source_types)
    return (HOLDS if says else SAYS_NOTHING), lines


_OF_RESULT: Final = {
    True: "Result: the file is the one that was delivered (SHA-256)",
    False: "Result: the file is NOT the one that was delivered (SHA-256)",
    None: "Result: nothing to compare the file with",
}


def _matches(file: VerifiedFile) -> bool | None:
    """Whether the file is what its job's result tells of; None: there is none."""
    if file.result is None:
        return None
    images = file.result.images
    known = {image.sha256 for image in images}
    known |= {variant.sha256 for image in images for variant in image.variants}
    return hashlib.sha256(file.data).hexdigest() in known


def _of_manifest(facts: ManifestFacts, *, trusting: bool) -> Iterator[str]:
    yield "C2PA: the manifest holds" if facts.holds else "C2PA: the manifest does NOT hold"
    for fault in facts.faults:
        yield f"  {fault}"
    if trusting and not facts.is_trusted:
        yield "  its signer is not trusted"
    for fault in facts.timestamp_faults:
        yield f"  {fault}"
    for name, value in (
        ("signer", facts.signer),
        ("generator", facts.generator),
        ("made", facts.made),
        ("timestamp", "" if facts.timestamp is None else _timestamp(facts.timestamp)),
        ("actions", ", ".join(facts.actions)),
        ("digital source type", ", ".join(facts.source_types)),
        ("software", facts.software),
        ("models", ", ".join(facts.models)),
        ("prompt", facts.prompt),
        ("ingredients", ", ".join(facts.ingredients)),
    ):
        if value:
            yield f"  {name}: {value}"


def _timestamp(told: Timestamp) -> str:
    known = "trusted" if told.is_trusted else "not known"
    return f"{told.time}, by {told.authority or 'an authority'} ({known})"
