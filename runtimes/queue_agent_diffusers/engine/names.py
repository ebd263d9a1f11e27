"""What clients may call the served models."""

from collections.abc import Sequence
from pathlib import Path

from queue_agent_diffusers.errors import UnknownModel


class Names:
    """From the names that clients use to the sources that the server was started with."""

    def __init__(self, sources: Sequence[str]) -> None:
        self._sources: dict[str, str] = {}
        for source in sources:
            for name in _names(source):
                self._sources.setdefault(name, source)
        self._listed = {source: _names(source)[0] for source in sources}

    def source(self, name: str | None) -> str | None:
        """The source of that name; None for the first model.

        Raises:
            UnknownModel: no model of that name is served.
        """
        if not name:
            return None
        try:
            return self._sources[name]
        except KeyError:
            known = ", ".join(map(repr, self._listed.values()))
            raise UnknownModel(
                f"The model served here is {known}, not {name!r}.", param="model"
            ) from None

    def listed(self, source: str) -> str:
        """What the model is listed as."""
        return self._listed[source]


def _names(source: str) -> tuple[str, ...]:
    """What a model may be called; the first is what it is listed as."""
    path = Path(source).expanduser()
    if not path.exists():
        return (source, source.partition("@")[0])
    return (path.resolve().stem, path.resolve().name, source)
