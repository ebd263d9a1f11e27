"""What signs the files that runs make, made from the settings and tried."""

import asyncio
import importlib.util
from datetime import UTC, datetime, timedelta
from typing import Final

from queue_agent.cloud.kms import KmsKey
from queue_agent.outputs import ConversionPolicy, Workers
from queue_agent.outputs.provenance import (
    KeyFiles,
    OriginClaim,
    Signing,
    SigningPolicy,
    UnfitCredentials,
    trial,
)
from queue_agent.settings.agent import Settings
from queue_agent.telemetry.logs import without_url_secrets
from queue_agent.telemetry.metrics import Metrics
from queue_agent.wire.errors import QueueAgentError, SettingsError

_CERTIFICATE = "QUEUE_AGENT_PROVENANCE_CERTIFICATE"
_KEY = "QUEUE_AGENT_PROVENANCE_KEY"
_KMS_KEY = "QUEUE_AGENT_PROVENANCE_KMS_KEY"
_DAY: Final = "%Y-%m-%d"
SOON: Final = timedelta(days=14)
"""As the alert QueueAgentCertificateEnds has it."""


def signing_files(settings: Settings) -> KeyFiles | None:
    """What files are signed with, if that is wanted; a trial has shown that it can be.

    Raises:
        SettingsError: the extra is not installed, or certificate and key cannot be used.
    """
    certificate, kms = settings.provenance_certificate, settings.provenance_kms_key
    key = settings.provenance_key if kms is None else KmsKey(kms)
    if certificate is None or key is None:
        return None
    if importlib.util.find_spec("c2pa") is None:
        raise SettingsError(
            f"{_CERTIFICATE} needs the extra provenance: pip install 'sd-queue-agent[provenance]'."
        )
    files = KeyFiles(certificate, key)
    try:
        credentials = files.current()
    except UnfitCredentials as error:
        name = _KEY if error.of_key else _CERTIFICATE
        raise SettingsError(f"{name}: {error}.") from error
    if (reason := trial(_claim(settings), credentials)) is not None:
        tried = _CERTIFICATE if kms is None else f"{_CERTIFICATE} with {_KMS_KEY}"
        raise SettingsError(f"{tried}: a trial shows that it cannot be used: {reason}")
    return files


def provenance_step(
    settings: Settings,
    conversion: ConversionPolicy,
    workers: Workers,
    metrics: Metrics | None = None,
) -> Signing | None:
    """The step that signs, if that is wanted; raises as `signing_files`."""
    files = signing_files(settings)
    if files is None:
        return None
    if metrics is not None:
        metrics.observe_certificate(files.remaining)
    policy = SigningPolicy(
        runtime=settings.runtime,
        model=settings.provenance_model,
        prompt=settings.provenance_prompt,
        stripped=settings.provenance_stripped,
        timestamps=settings.provenance_timestamp_url,
    )
    return Signing(policy, conversion, files.current, workers)


async def signs(settings: Settings, files: KeyFiles) -> str:
    """Until when files are signed, and by whose clock.

    Raises:
        QueueAgentError: the timestamp authority does not do its part.
    """
    until = f"signs until {files.current().expires:{_DAY}}"
    url = settings.provenance_timestamp_url
    if url is None:
        return until
    reason = await asyncio.to_thread(trial, _claim(settings), files.current(), url)
    named = without_url_secrets(url)
    if reason is not None:
        raise QueueAgentError(f"{named} gives no timestamps: {without_url_secrets(reason)}")
    return f"{until}, with timestamps of {named}"


async def certificate_warning(files: KeyFiles | None) -> str:
    """What is to be said of a certificate that expires soon; empty: nothing."""
    if files is None:
        return ""
    remaining = timedelta(seconds=files.remaining())
    if remaining > SOON:
        return ""
    return (
        f"expires in {max(0, remaining.days)} days ({files.current().expires:{_DAY}}), "
        "after which nothing is signed and no job completes: replace its file"
    )


def _claim(settings: Settings) -> OriginClaim:
    return OriginClaim(settings.runtime, datetime.now(UTC))
