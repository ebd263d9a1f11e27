"""The names of all settings, and those in an environment that look like one and are none."""

import difflib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from queue_agent.settings.agent import Settings
from queue_agent.settings.client import ClientSettings
from queue_agent.settings.gateway import GatewaySettings
from queue_agent.settings.reader import PREFIX, Definition, Reader, names_of
from queue_agent.settings.scaler import ScalerSettings
from queue_agent.settings.shared import DEAD_LETTER_QUEUE_URL
from queue_agent.settings.tracing import TracingSettings

PROGRAMS: Final[dict[str, type[Reader]]] = {
    "agent": Settings,
    "client": ClientSettings,
    "gateway": GatewaySettings,
    "scaler": ScalerSettings,
    "bundled runtime": TracingSettings,
}
"""All programs that read settings, with what each reads."""

OPTIONS: Final[dict[Definition, str]] = {DEAD_LETTER_QUEUE_URL: "redrive"}
"""What no program reads, but an option of a command."""

_SERVICE_LINK: Final = re.compile(
    r"\w+_SERVICE_(HOST|PORT(_\w+)?)=.*|\w+_PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?=.*|=\w+://.*)"
)
"""What Kubernetes tells each pod of a Service that is called queue-agent….

https://kubernetes.io/docs/tutorials/services/connect-applications-service/#environment-variables
"""


@dataclass(frozen=True)
class UnknownName:
    """A variable that only looks like a setting."""

    name: str
    nearest: str | None
    """The setting that is probably meant."""

    def __str__(self) -> str:
        meant = f"; is {self.nearest} meant?" if self.nearest else "."
        return f"{self.name} is no setting{meant}"


def known_names() -> frozenset[str]:
    """Every environment variable that a program or an option of a command reads."""
    of_programs = {
        name
        for settings in PROGRAMS.values()
        for field in settings.model_fields
        for name in names_of(settings, field)
    }
    return frozenset(of_programs.union(*(option.names for option in OPTIONS)))


def unknown_names(environment: Mapping[str, str] = os.environ) -> list[UnknownName]:
    """The variables that begin as settings do and are none, each with the nearest right name."""
    known = known_names()
    wrong = (name for name in environment if name.startswith(PREFIX) and name not in known)
    return [
        UnknownName(name, _nearest(name, known))
        for name in sorted(wrong)
        if not _SERVICE_LINK.fullmatch(f"{name}={environment[name]}")
    ]


def _nearest(name: str, known: frozenset[str]) -> str | None:
    """Told by what comes after the prefix, which would make all names alike."""
    ends = sorted(entry.removeprefix(PREFIX) for entry in known if entry.startswith(PREFIX))
    close = difflib.get_close_matches(name.removeprefix(PREFIX).upper(), ends, n=1)
    return PREFIX + close[0] if close else None
