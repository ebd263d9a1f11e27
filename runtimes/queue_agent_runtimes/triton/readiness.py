"""Whether a server, or the model that jobs go to, would take a job now."""

from collections.abc import Sequence
from textwrap import shorten
from typing import Final

from queue_agent.runtime import Readiness
from queue_agent_runtimes.triton.models import RepositoryEntry

NOT_READY: Final = 400
"""By this status Triton says that a model, or the server by one of them, is not ready."""


def readiness_by(model: str | None, index: Sequence[RepositoryEntry]) -> Readiness:
    """Why it is not, by the repository's index, which may be empty where a server has none."""
    known = {entry.name: entry for entry in index}
    if model is not None and known and model not in known:
        return Readiness(
            "misconfigured", f"the runtime has no model {model!r}; it has: {', '.join(known)}"
        )
    entries = [known[model]] if model in known else [*index] if model is None else []
    for entry in entries:
        if entry.state == "UNAVAILABLE" and entry.reason not in {"", "unloaded"}:
            reason = shorten(entry.reason, 200, placeholder=" …")
            return Readiness("misconfigured", f"the model {entry.name!r} does not load: {reason}")
    waited = f"the model {model!r}" if model is not None else "the runtime"
    return Readiness("starting", f"{waited} is not ready")
