"""What subjects and headers say of a message: how its attributes and keys are written there.

Jobs go to ``STREAM.RUNTIME``, or to ``STREAM.RUNTIME.PRIORITY`` where there is a queue for it;
those of a tenant to ``….tenants.TENANT`` of that, where the queue is fair, and to ``….turns.N``
when their turn comes before that of earlier ones. Notifications go to
``STREAM.RUNTIME.STATUS.ID``. In a token of a
subject, and in a part of a key, what is no letter, digit, ``-`` or ``_`` is written as ``=XX``
for each of its bytes; an empty one is ``=``.
"""

import hashlib
import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import quote, unquote

from queue_agent.wire.priorities import PRIORITY_ATTRIBUTE, URGENCIES

_ATTRIBUTES: Final = ("runtime", "status", "id")
"""Those that subjects tell, in this order."""
_RESERVED: Final = ("nats-", "queue-agent-")
"""What the names of headers begin with that are the servers' own, or ours."""
TENANT: Final = "Queue-Agent-Tenant"
"""A header: whose the job is."""
_LONGEST: Final = 128
"""Characters of a token that stands for a tenant; a longer one is a digest."""
_PLAIN: Final = re.compile(rb"[A-Za-z0-9_-]")
_PRINTABLE: Final = "".join(map(chr, range(0x20, 0x7F))).replace("%", "")

Filter = Mapping[str, Sequence[str]]
"""What each of the named attributes may be."""


def token(text: str) -> str:
    """One token of a subject."""
    return (
        "".join(
            chr(byte) if _PLAIN.match(bytes([byte])) else f"={byte:02X}" for byte in text.encode()
        )
        or "="
    )


def text_of(written: str) -> str:
    """What a token stands for."""
    if written == "=":
        return ""
    return unquote(written.replace("=", "%"))


def is_of_job(attributes: Mapping[str, str]) -> bool:
    """Whether such a publication is a job, and no notification."""
    return not {"status", "id"} & attributes.keys()


def subject_of(stream: str, attributes: Mapping[str, str]) -> str:
    """Where a publication with these attributes goes."""
    told = _ATTRIBUTES[:1] if is_of_job(attributes) else _ATTRIBUTES
    return ".".join([stream, *(token(attributes.get(name, "")) for name in told)])


def queue_subject(stream: str, runtime: str, priority: str = "") -> str:
    """Where the jobs of a runtime go, or those of one priority."""
    return ".".join([stream, token(runtime), *([priority] if priority else [])])


def tenants_subject(queue: str, tenant: str = "") -> str:
    """Where of a queue, told by its subject, a tenant's jobs wait; without one, those of all."""
    written = token(tenant) if tenant else "*"
    if len(written) > _LONGEST:
        written = f"=={hashlib.sha256(tenant.encode()).hexdigest()}"
    return f"{queue}.tenants.{written}"


def turns_subject(queue: str, number: int | None = None) -> str:
    """Where a job goes whose turn it is, by its number in the stream; without one, all such."""
    return f"{queue}.turns.{'*' if number is None else number}"


def urgent_subject_of(stream: str, attributes: Mapping[str, str]) -> str | None:
    """Where such a job goes if its runtime has a queue for its priority; None: as all others."""
    priority = attributes.get(PRIORITY_ATTRIBUTE, "")
    if priority not in URGENCIES or not is_of_job(attributes):
        return None
    return queue_subject(stream, attributes.get("runtime", ""), priority)


def subjects_of(stream: str, wanted: Filter) -> list[str]:
    """Where publications go that a filter lets through; those of other attributes may, too."""
    if not any(name in wanted for name in _ATTRIBUTES):
        return [f"{stream}.>"]
    choices = [
        [token(value) for value in wanted[name]] if name in wanted else ["*"]
        for name in _ATTRIBUTES
    ]
    found = [".".join([stream, *choice]) for choice in itertools.product(*choices)]
    if not {"status", "id"} & wanted.keys():
        found += [f"{stream}.{value}" for value in choices[0]]
    return found


def lets_through(wanted: Filter, attributes: Mapping[str, str]) -> bool:
    """Whether a publication with these attributes passes the filter."""
    return all(attributes.get(name) in values for name, values in wanted.items())


def headers_of(attributes: Mapping[str, str]) -> dict[str, str]:
    """Headers that hold the attributes; what no header may hold is written as in URLs."""
    return {name: header(value) for name, value in attributes.items()}


def attributes_of(headers: Mapping[str, str] | None) -> dict[str, str]:
    """The attributes that headers hold."""
    return {
        name: unquote(value)
        for name, value in (headers or {}).items()
        if not name.lower().startswith(_RESERVED)
    }


def key_subject(key: str) -> str:
    """A key of a bucket as part of a subject: its folders are tokens."""
    return ".".join(token(part) for part in key.split("/"))


def key_of(subject: str) -> str:
    """The key that such a part of a subject stands for."""
    return "/".join(text_of(part) for part in subject.split("."))


def header(value: str) -> str:
    """A header's value that holds the text."""
    safe = _PRINTABLE if value == value.strip() else _PRINTABLE.replace(" ", "")
    return quote(value, safe=safe)
