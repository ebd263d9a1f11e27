"""Whether what credentials sign holds, found out before any job."""

import io

from queue_agent.outputs.provenance.claim import OriginClaim
from queue_agent.outputs.provenance.credentials import SigningCredentials
from queue_agent.outputs.provenance.reading import manifest_of
from queue_agent.outputs.provenance.signing import NotSigned, Signature, sign


def trial(
    claim: OriginClaim, credentials: SigningCredentials, timestamps: str | None = None
) -> str | None:
    """Why files signed so would not hold, in the library's words; None: they do.

    With `timestamps` that authority is asked, which may take half a minute.
    """
    from PIL import Image  # noqa: PLC0415

    source, target = io.BytesIO(), io.BytesIO()
    Image.new("RGB", (8, 8)).save(source, "PNG")
    source.seek(0)
    try:
        sign(source, target, "image/png", claim, Signature(credentials, timestamps))
    except NotSigned as error:
        return str(error)
    target.seek(0)
    found = manifest_of(target, "image/png")
    if found is None or not found.holds:
        return "what it signs does not hold"
    if timestamps is not None and found.timestamp is None:
        return " ".join(("its timestamp does not hold", *found.timestamp_faults))
    return None
