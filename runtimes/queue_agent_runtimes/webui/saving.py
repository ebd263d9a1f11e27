"""What a job asks to be saved on the server: nothing is, since its result is stored elsewhere.

The Web UI removes none of it. By itself it saves nothing of the API's jobs.
"""

import re
from typing import Final

from pydantic import JsonValue

_FOLDERS_AND_FILES: Final = re.compile(
    r"outdir_.*|profiling_.*|temp_dir|.*_?(?:save|saving|autosaving)(?:_.*)?|control_net_\w*map_dir"
)
"""Options that say what is written to the server's disk, and where."""
_NOT_SAVED: Final[dict[str, JsonValue]] = {"samples_save": False, "grid_save": False}


def without_saving(request: dict[str, JsonValue], settings: dict[str, JsonValue]) -> list[str]:
    """Take out of a request and its overrides what would be saved; warnings for the publisher.

    `save_images` stays where there may be a grid, which is made with it alone, and nothing is
    saved all the same.
    """
    dropped = sorted(name for name in settings if _FOLDERS_AND_FILES.fullmatch(name))
    for name in dropped:
        del settings[name]
    if request.get("save_images"):
        if _is_single(request):
            del request["save_images"]
        else:
            settings.update(_NOT_SAVED)
    return [
        f"override_settings.{name[:100]} has no effect: nothing is saved on the runtime."
        for name in dropped
    ]


def _is_single(request: dict[str, JsonValue]) -> bool:
    return all(request.get(name) in {None, 1} for name in ("batch_size", "n_iter"))
