"""What signs the files that runs make, made from the settings and tried."""

import importlib.util
from datetime import UTC, datetime

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
from queue_agent.wire.errors import SettingsError

_CERTIFICATE = "QUEUE_AGENT_PROVENANCE_CERTIFICATE"
_KEY = "QUEUE_AGENT_PROVENANCE_KEY"
_KMS_KEY = "QUEUE_AGENT_PROVENANCE_KMS_KEY"


def provenance_step(
    settings: Settings, conversion: ConversionPolicy, workers: Workers
) -> Signing | None:
    """The step that signs, if that is wanted.

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
    claim = OriginClaim(settings.runtime, datetime.now(UTC))
    if (reason := trial(claim, credentials)) is not None:
        tried = _CERTIFICATE if kms is None else f"{_CERTIFICATE} with {_KMS_KEY}"
        raise SettingsError(f"{tried}: a trial shows that it cannot be used: {reason}")
    policy = SigningPolicy(
        runtime=settings.runtime,
        model=settings.provenance_model,
        prompt=settings.provenance_prompt,
        stripped=settings.provenance_stripped,
        timestamps=settings.provenance_timestamp_url,
    )
    return Signing(policy, conversion, files.current, workers)
