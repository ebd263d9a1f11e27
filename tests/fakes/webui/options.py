"""`modules.options.Options`: what is set, over the defaults, and what a job does to it."""

from collections.abc import Collection
from typing import Final

from pydantic import JsonValue

from fakes.webui.recorded import answer_to

_LEFT_BY_A_JOB: Final[dict[str, JsonValue]] = {"sd_vae": "Automatic", "return_grid": True}
"""The defaults of what jobs had left otherwise in the recorded server."""


MODULES: Final = "forge_additional_modules"


class Options:
    """All 329 options of 1.10.1.

    A server that never saved its `config.json` has none of them set, only their defaults: what is
    not set cannot be restored after a job, as `process_images` does by what it finds set.
    """

    def __init__(
        self, checkpoint: str, *, saved: bool = False, modules: Collection[str] | None = None
    ) -> None:
        """`modules` are those of Forge; None: it is no Forge."""
        self.defaults: dict[str, JsonValue] = {**answer_to("options", "all"), **_LEFT_BY_A_JOB}
        self.defaults["sd_model_checkpoint"] = None
        self._modules = modules
        if modules is not None:
            self.defaults[MODULES] = []
        self.data: dict[str, JsonValue] = dict(self.defaults) if saved else {}
        self.data["sd_model_checkpoint"] = checkpoint

    def __getitem__(self, name: str) -> JsonValue:
        return self.data.get(name, self.defaults[name])

    def set(self, name: str, value: JsonValue) -> bool:
        """Whether it was another value; raises KeyError of an unknown name."""
        if self.data.get(name) == value:
            return False
        if name == MODULES and self._modules is not None and isinstance(value, list):
            # `main_entry.modules_change`: none of them is no change where there were none
            value = [one for one in value if one in self._modules]
            if value == self.data.get(name, []):
                return False
        self.defaults[name]  # as the real one looks for its label
        self.data[name] = value
        return True

    def shown(self) -> dict[str, JsonValue]:
        """GET /options; raises ValueError where one has a wrong type."""
        return {name: self._shown(name) for name in self.defaults}

    def that_change_images(self) -> list[tuple[str, str]]:
        """All that differ from their defaults, so that whatever stays shows in the bytes."""
        names = sorted(set(self.data) - {"sd_model_checkpoint", "sd_vae", "samples_format"})
        return [
            (name, repr(self.data[name]))
            for name in names
            if self.data[name] != self.defaults[name] and not name.startswith(("outdir", "return"))
            if (self.defaults[name], self.data[name]) != (None, "None")  # the upscaler's own words
        ]

    def _shown(self, name: str) -> JsonValue:
        """Validated by the type of a default that is not empty; whole numbers count as floats."""
        default, value = self.defaults[name], self[name]
        if name not in self.data or value is None or not default or isinstance(default, bool):
            return value
        if isinstance(default, int | float):
            if not isinstance(value, int | float):
                raise ValueError(name)  # noqa: TRY004  as its caller shows it
            return float(value)
        return value
