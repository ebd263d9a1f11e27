"""Where files say they come from, signed: C2PA manifests (https://spec.c2pa.org)."""

from queue_agent.outputs.provenance.claim import Ingredient, OriginClaim
from queue_agent.outputs.provenance.credentials import SigningCredentials, UnfitCredentials
from queue_agent.outputs.provenance.key_files import KeyFiles
from queue_agent.outputs.provenance.reading import FileFacts, ManifestFacts, Timestamp, facts_in
from queue_agent.outputs.provenance.step import Signing, SigningPolicy
from queue_agent.outputs.provenance.trial import trial

__all__ = [
    "FileFacts",
    "Ingredient",
    "KeyFiles",
    "ManifestFacts",
    "OriginClaim",
    "Signing",
    "SigningCredentials",
    "SigningPolicy",
    "Timestamp",
    "UnfitCredentials",
    "facts_in",
    "trial",
]
