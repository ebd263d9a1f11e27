"""The trace that a request belongs to, in the words of https://www.w3.org/TR/trace-context/."""

import re
from collections.abc import Mapping
from typing import Final

_TRACEPARENT: Final = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_ROOT: Final = re.compile(r"1-([0-9a-f]{8})-([0-9a-f]{24})")
_SPAN: Final = re.compile(r"[0-9a-f]{16}")


def traceparent(headers: Mapping[str, str], xray: str) -> str | None:
    """The caller's own trace context, else the one X-Ray gave the invocation.

    X-Ray's form: https://docs.aws.amazon.com/xray/latest/devguide/xray-concepts.html#xray-concepts-tracingheader
    """
    given = headers.get("traceparent", "")
    if _TRACEPARENT.fullmatch(given):
        return given
    fields = dict(part.strip().partition("=")[::2] for part in xray.split(";"))
    root = _ROOT.fullmatch(fields.get("Root", ""))
    span = fields.get("Parent", "")
    if root is None or not _SPAN.fullmatch(span):
        return None
    sampled = "01" if fields.get("Sampled") == "1" else "00"
    return f"00-{root[1]}{root[2]}-{span}-{sampled}"
