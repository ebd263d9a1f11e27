"""``Retry-After``, by which a server says when to ask it again.

A number or a date: https://www.rfc-editor.org/rfc/rfc9110#section-10.2.3
"""

import re
import time
from email.utils import parsedate_to_datetime
from typing import Final

__all__ = [
    "LONGEST_PAUSE",
    "seconds_asked_for",
]

LONGEST_PAUSE: Final = 300.0
"""Seconds; who asks for more is asked again then."""


def seconds_asked_for(header: str) -> float:
    """The seconds that a ``Retry-After`` asks for, `LONGEST_PAUSE` at most; 0 where it is none."""
    text = header.strip()
    if re.fullmatch(r"[0-9]{1,9}", text):
        return min(float(text), LONGEST_PAUSE)
    try:
        left = parsedate_to_datetime(text).timestamp() - time.time()
    except (ValueError, OverflowError):
        return 0.0
    return min(max(left, 0.0), LONGEST_PAUSE)
