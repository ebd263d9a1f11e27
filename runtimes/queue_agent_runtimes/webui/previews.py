"""Images of a task under way, from the Web UI's reports of its progress."""

from typing import Final

import pybase64
from pydantic import JsonValue

from queue_agent_runtimes.webui.fields import JsonObject

SETTLING_SECONDS: Final = 1.0
"""After a run was first seen under way. The server draws when it is asked, in another thread, and
may have set an image just then of the run before, which it was drawing when that ended."""


class LivePreviews:
    """Those of one run. What is there when it has just begun is not taken for its own."""

    def __init__(self) -> None:
        self._began: float | None = None
        self._seen: JsonValue = None
        self.last_id: int = -1
        """Of the image that was sent last, by which the server is asked for others only."""

    def take(self, report: JsonObject, now: float) -> bytes | None:
        """The image in a report of the run under way, if it is another; `now` is in seconds."""
        if self._began is None:
            self._began = now
        image = report.get("live_preview", report.get("current_image"))
        number = report.get("id_live_preview")
        if isinstance(number, int):
            self.last_id = number
        if not isinstance(image, str) or image == self._seen:
            return None
        self._seen = image
        if now < self._began + SETTLING_SECONDS:
            return None
        try:
            return pybase64.b64decode(image.rpartition(",")[2], validate=True)
        except ValueError:
            return None
