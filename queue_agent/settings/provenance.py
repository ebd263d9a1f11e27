"""What signed manifests say of the files that runs make, and who signs."""

from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, ValidationInfo

from queue_agent.cloud import addresses
from queue_agent.settings.reader import Reader, setting


def _web_address(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("must begin with http:// or https:// and name a host")
    return value


def _beside_certificate(key: str | None, info: ValidationInfo) -> str | None:
    told = [info.data.get("provenance_key"), key]
    if None not in told:
        raise ValueError("QUEUE_AGENT_PROVENANCE_KEY or _KMS_KEY, not both")
    if (info.data.get("provenance_certificate") is None) != (told == [None, None]):
        raise ValueError("QUEUE_AGENT_PROVENANCE_CERTIFICATE and _KEY (or _KMS_KEY) go together")
    return None if key is None else addresses.kms_key(key)


class ProvenanceSettings(Reader):
    """Of the agent."""

    provenance_certificate: Path | None = setting(
        "PROVENANCE_CERTIFICATE",
        default=None,
        description="File with the certificates (PEM) to sign C2PA manifests with, the signer's "
        "first; else files get none. Needs the extra `provenance`. Read again when it changes.",
    )
    provenance_key: Path | None = setting(
        "PROVENANCE_KEY",
        default=None,
        description="File with the private key (PEM, not encrypted) of the first of them.",
    )
    provenance_kms_key: Annotated[str | None, AfterValidator(_beside_certificate)] = setting(
        "PROVENANCE_KMS_KEY",
        default=None,
        validate_default=True,
        description="Instead of that file: ARN of the key in AWS KMS that signs "
        "(`arn:aws:kms:…:key/…`), by `kms:Sign`; it never leaves KMS.",
    )
    provenance_timestamp_url: Annotated[str, AfterValidator(_web_address)] | None = setting(
        "PROVENANCE_TIMESTAMP_URL",
        default=None,
        description="Timestamp authority (RFC 3161) that is asked about each manifest; else the "
        "time is only the agent's word.",
    )
    provenance_model: str | None = setting(
        "PROVENANCE_MODEL",
        default=None,
        description="The model that manifests name where jobs name none.",
    )
    provenance_prompt: bool = setting(
        "PROVENANCE_PROMPT",
        default=False,
        description="Whether manifests hold the job's prompt, for whoever has the file.",
    )
    provenance_stripped: bool = setting(
        "PROVENANCE_STRIPPED",
        default=False,
        description="Whether files are signed, too, whose metadata is stripped.",
    )
