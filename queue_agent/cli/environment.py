"""Settings as commands read them: with a word on names that are mistyped."""

from collections.abc import Mapping
from typing import TypeVar

import structlog

from queue_agent.settings.known import unknown_names
from queue_agent.settings.reader import Reader
from queue_agent.wire.errors import SettingsError

ReaderT = TypeVar("ReaderT", bound=Reader)

log = structlog.get_logger()


def load(settings: type[ReaderT], given: Mapping[str, str | None] | None = None) -> ReaderT:
    """Read a program's settings; options that are `given` by environment names win.

    Raises:
        SettingsError: with one line per setting that is missing or wrong, or unknown beside them.
    """
    try:
        return settings.load(given=given)
    except SettingsError as error:
        lines = [error.message, *(str(unknown) for unknown in unknown_names())]
        raise SettingsError("\n".join(lines)) from error


def warn_of_unknown_names() -> None:
    """Log a line for each variable that only looks like a setting."""
    for unknown in unknown_names():
        log.warning("unknown setting", name=unknown.name, nearest=unknown.nearest)
