"""How far the load of a model is: told by the loader's thread, read by any."""

import logging
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal

LoadStage = Literal["fetching", "reading"]

TELL_EVERY: Final = 15.0
"""Seconds between two lines of the log while files are fetched or read."""

_log = logging.getLogger(__name__)


class LoadProgress:
    """What is known of a model's load."""

    def __init__(self, model: str = "") -> None:
        self.model = model
        self.stage: LoadStage | None = None
        """None before and after a load."""
        self.total: int | None = None
        """Bytes of the weights that the stage is about, where that is known."""
        self.revision: str | None = None
        """The hub's commit that was loaded last."""
        self.told: Mapping[str, str] = {}
        """What was chosen for the device at the last load, by the names of the options."""
        self.read: int | None = None
        """Bytes of weights read so far, as the loader counts them; None where it cannot."""
        self._folder: Path | None = None
        self._before = 0

    @property
    def done(self) -> int | None:
        """Bytes fetched or read so far; None where nobody sees it."""
        here: int | None = None
        if self.stage == "reading":
            here = self.read
        elif self.stage == "fetching" and self._folder is not None:
            here = max(0, _bytes_under(self._folder) - self._before)
        return min(here, self.total) if here and self.total else here

    @contextmanager
    def fetching(self, total: int | None, folder: Path) -> Iterator[None]:
        """Files come into the folder, of so many bytes together, where that is known."""
        self._folder, self._before = folder, _bytes_under(folder)
        with self._in("fetching", total):
            yield

    @contextmanager
    def reading(self, total: int | None) -> Iterator[None]:
        """Weights of so many bytes are read from disk and brought onto the device."""
        with self._in("reading", total):
            yield

    @contextmanager
    def _in(self, stage: LoadStage, total: int | None) -> Iterator[None]:
        began = time.monotonic()
        self.stage, self.total, self.read = stage, total, None
        ended = threading.Event()
        threading.Thread(target=self._tell, args=(stage, ended), daemon=True).start()
        _log.info("model %s: %s%s", self.model, stage, f" {total} bytes" if total else "")
        try:
            yield
            _log.info("model %s: %s took %.1f s", self.model, stage, time.monotonic() - began)
        finally:
            ended.set()
            self.stage = self.total = self.read = None

    def _tell(self, stage: LoadStage, ended: threading.Event) -> None:
        while not ended.wait(TELL_EVERY):
            if (done := self.done) is not None:
                _log.info("model %s: %s: %s of %s bytes", self.model, stage, done, self.total)


def _bytes_under(folder: Path) -> int:
    found = 0
    for file in folder.rglob("*"):
        try:
            found += file.stat().st_size if file.is_file() else 0
        except OSError:
            continue  # renamed while we look
    return found
