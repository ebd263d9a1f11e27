"""Places that a runtime would fetch by itself, from inside the cluster: refused.

Runtimes fetch what looks like a place in more fields than any table names: those of extensions,
of scripts' arguments, of custom nodes; and they follow redirects with it. So whatever names a
place is refused unless the agent fetches it itself, or it stands where words stand.
"""

import re
from collections.abc import Callable, Iterable
from typing import Final

from pydantic import JsonValue

from queue_agent.wire.errors import Rejected
from queue_agent.wire.reference import Path, Reference, spelled, strings_of

__all__ = ["is_prompt", "names_a_place", "refuse_unfetched"]

_PROMPTS: Final = frozenset(
    {
        "ad_negative_prompt",  # ADetailer's, of the Web UI
        "ad_prompt",
        "hr_negative_prompt",
        "hr_prompt",
        "negative_prompt",
        "prompt",
    }
)
_UNSEEN: Final = re.compile(
    "[\0-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff]+"
)
"""What URL parsers pass over, wherever it stands, and what people cannot see."""
_WITH_HOST: Final = re.compile(
    r"(?<![a-z0-9+.-])[0-9+.-]*[a-z][a-z0-9+.-]+:[/\\]{2}", re.IGNORECASE
)
"""Anywhere: texts of several lines or of JSON hold places too. A drive's letter is no scheme.

What may be a scheme is looked at from its beginning alone, or long words would take for ever.
"""
_AT_START: Final = re.compile(
    r"""[\s<"'(\[]*                                   # urllib unwraps <URL:http://…>
        ( [a-z][a-z0-9+.-]+:[/\\]                     # curl and browsers take one slash, too
        | (?:https?|ftps?|sftp|file|s3|gs|hf|smb|url|concat|cache|crypto):
        | [/\\]{2}[^\s/\\]                            # //host/share and \\host\share
        )""",
    re.IGNORECASE | re.VERBOSE,
)


def is_prompt(path: Path) -> bool:
    """Whether a field is, by its name, one of the portable form's or the Web UI's prompts."""
    return bool(path) and path[-1] in _PROMPTS


def names_a_place(text: str) -> bool:
    """Whether something that fetches could take the text for a place: a URL, a host's share.

    ``data:`` URLs carry what they name.
    """
    if not (":" in text or "//" in text or "\\" in text):
        return False  # also images in base64, which are long
    seen = _UNSEEN.sub("", text)
    return bool(_AT_START.match(seen) or _WITH_HOST.search(seen))


def refuse_unfetched(
    request: JsonValue,
    *,
    fetched: Iterable[Reference] = (),
    is_text: Callable[[Path], bool] = is_prompt,
) -> None:
    """Refuse a request that names a place which the runtime, not the agent, would fetch.

    `fetched` are its references, by their paths: the same URL in another field is refused.
    `is_text` tells the fields that hold words, which may begin with a URL.

    Raises:
        Rejected: of type ``reference_forbidden``; its message names the field, not the place.
    """
    own = {reference.path for reference in fetched}
    for path, text in strings_of(request):
        if names_a_place(text) and path not in own and not is_text(path):
            raise Rejected(
                f"{spelled(path)}: names a place that the agent does not fetch from this field, "
                "and the runtime must not.",
                type="reference_forbidden",
            )
