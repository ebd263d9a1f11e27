"""How installed adapters are found: entry points in one group."""

from importlib.metadata import EntryPoint
from typing import Final

from queue_agent.entry_points import Group
from queue_agent.runtime.contract import Runtime

ENTRY_POINT_GROUP: Final = "queue_agent.runtimes"

_ADAPTERS: Final = Group(ENTRY_POINT_GROUP, Runtime, "runtime adapter")  # type: ignore[type-abstract]


def installed_runtimes() -> dict[str, EntryPoint]:
    """Entry points of the installed adapters, by name, without importing them."""
    return _ADAPTERS.installed()


def load_runtime(name: str) -> type[Runtime]:
    """Import the adapter of that name.

    Raises:
        SettingsError: no adapter of that name is installed, or it cannot be imported.
    """
    return _ADAPTERS.load(name)
