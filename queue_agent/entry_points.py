"""Classes that other packages bring along: entry points, found by their group and name."""

from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeVar

from queue_agent.wire.errors import SettingsError

T = TypeVar("T")


@dataclass(frozen=True)
class Group(Generic[T]):
    """The entry points of a group, each of which is to name a subclass of `base`."""

    name: str
    base: type[T]
    noun: str
    """What messages call one of them."""

    def installed(self) -> dict[str, EntryPoint]:
        """By name, without importing them."""
        return {point.name: point for point in entry_points(group=self.name)}

    def load(self, name: str) -> type[T]:
        """Import the class of that name.

        Raises:
            SettingsError: none is installed under it, or it cannot be imported.
        """
        installed = self.installed()
        if name not in installed:
            known = ", ".join(sorted(installed)) or "none"
            raise SettingsError(f"No {self.noun} is called {name!r}; installed: {known}.")
        try:
            found = installed[name].load()
        except ImportError as error:
            raise SettingsError(f"The {self.noun} {name!r} cannot be imported: {error}") from error
        if not (isinstance(found, type) and issubclass(found, self.base)):
            raise SettingsError(f"The entry point {name!r} does not name a {self.base.__name__}.")
        return found
