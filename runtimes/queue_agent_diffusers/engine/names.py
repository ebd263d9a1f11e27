"""What clients may call the served models."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from queue_agent_diffusers.errors import UnknownModel


class Names:
    """From the names that clients use to the sources that the server was started with."""

    def __init__(self, sources: Sequence[str], upscalers: Mapping[str, str] | None = None) -> None:
        """`upscalers` are those of the sources that make images larger, by the operator's names."""
        self._sources: dict[str, str] = {}
        self._listed = {source: name for name, source in (upscalers or {}).items()}
        self.upscalers = tuple(source for source in sources if source in self._listed)
        self.generating = tuple(source for source in sources if source not in self._listed)
        for source in (*self.generating, *self.upscalers):
            names = _names(source)
            self._listed.setdefault(source, names[0])
            for name in names:
                self._sources.setdefault(name, source)
        for name, source in (upscalers or {}).items():
            self._sources.setdefault(name, source)

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
            known = ", ".join(repr(self._listed[source]) for source in self.generating)
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
