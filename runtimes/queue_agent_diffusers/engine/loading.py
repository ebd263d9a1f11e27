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
"""Seconds between two lines of the log while files are fetched."""

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
        self._folder: Path | None = None
        self._before = 0

    @property
    def done(self) -> int | None:
        """Bytes fetched so far; None while files are read, which nobody sees from outside."""
        if self.stage != "fetching" or self._folder is None:
            return None
        here = max(0, _bytes_under(self._folder) - self._before)
        return min(here, self.total) if self.total else here

    @contextmanager
    def fetching(self, total: int | None, folder: Path) -> Iterator[None]:
        """Files come into the folder, of so many bytes together, where that is known."""
        self._folder, self._before = folder, _bytes_under(folder)
        ended = threading.Event()
        with self._in("fetching", total):
            threading.Thread(target=self._tell, args=(ended,), daemon=True).start()
            try:
                yield
            finally:
                ended.set()

    @contextmanager
    def reading(self, total: int | None) -> Iterator[None]:
        """Weights of so many bytes are read from disk and brought onto the device."""
        with self._in("reading", total):
            yield

    @contextmanager
    def _in(self, stage: LoadStage, total: int | None) -> Iterator[None]:
        began = time.monotonic()
        self.stage, self.total = stage, total
        _log.info("model %s: %s%s", self.model, stage, f" {total} bytes" if total else "")
        try:
            yield
            _log.info("model %s: %s took %.1f s", self.model, stage, time.monotonic() - began)
        finally:
            self.stage = self.total = None

    def _tell(self, ended: threading.Event) -> None:
        while not ended.wait(TELL_EVERY):
            _log.info("model %s: %s of %s bytes fetched", self.model, self.done, self.total)


def _bytes_under(folder: Path) -> int:
    found = 0
    for file in folder.rglob("*"):
        try:
            found += file.stat().st_size if file.is_file() else 0
        except OSError:
            continue  # renamed while we look
    return found
