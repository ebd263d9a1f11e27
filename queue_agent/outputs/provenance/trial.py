"""Whether what credentials sign holds, found out before any job."""

import io

from queue_agent.outputs.provenance.claim import OriginClaim
from queue_agent.outputs.provenance.credentials import SigningCredentials
from queue_agent.outputs.provenance.reading import manifest_of
from queue_agent.outputs.provenance.signing import NotSigned, Signature, sign


def trial(claim: OriginClaim, credentials: SigningCredentials) -> str | None:
    """Why files signed so would not hold, in the library's words; None: they do."""
    from PIL import Image  # noqa: PLC0415

    source, target = io.BytesIO(), io.BytesIO()
    Image.new("RGB", (8, 8)).save(source, "PNG")
    source.seek(0)
    try:
        sign(source, target, "image/png", claim, Signature(credentials))
    except NotSigned as error:
        return str(error)
    target.seek(0)
    found = manifest_of(target, "image/png")
    return None if found is not None and found.holds else "what it signs does not hold"
