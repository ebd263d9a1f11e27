"""How installed adapters are found: entry points in one group."""

from importlib.metadata import EntryPoint, entry_points

from queue_agent.runtime.contract import Runtime
from queue_agent.wire.errors import SettingsError

ENTRY_POINT_GROUP = "queue_agent.runtimes"


def installed_runtimes() -> dict[str, EntryPoint]:
    """Entry points of the installed adapters, by name, without importing them."""
    return {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP)}


def load_runtime(name: str) -> type[Runtime]:
    """Import the adapter of that name.

    Raises:
        SettingsError: no adapter of that name is installed, or it cannot be imported.
    """
    installed = installed_runtimes()
    if name not in installed:
        known = ", ".join(sorted(installed)) or "none"
        raise SettingsError(f"No runtime adapter is called {name!r}; installed: {known}.")
    try:
        adapter = installed[name].load()
    except ImportError as error:
        raise SettingsError(f"The runtime adapter {name!r} cannot be imported: {error}") from error
    if not (isinstance(adapter, type) and issubclass(adapter, Runtime)):
        raise SettingsError(f"The entry point {name!r} does not name a Runtime.")
    return adapter
