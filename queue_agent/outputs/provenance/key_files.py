"""Certificate and key in files that may be replaced while the agent runs."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import structlog

from queue_agent.cloud.kms import KmsKey
from queue_agent.outputs.provenance.credentials import SigningCredentials, UnfitCredentials

log = structlog.get_logger()


@dataclass
class KeyFiles:
    """What two files hold, read again when they change."""

    certificate: Path
    key: Path | KmsKey
    """One that is kept elsewhere is in no file."""
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    _seen: tuple[int, ...] = field(default=(), init=False)
    _held: SigningCredentials | None = field(default=None, init=False, repr=False)

    def current(self) -> SigningCredentials:
        """What to sign with now; what was there before, where the files hold nothing that fits.

        Raises:
            UnfitCredentials: nothing fitting was there ever.
        """
        seen = self._times()
        if self._held is None or seen != self._seen:
            self._seen = seen
            try:
                self._held = SigningCredentials.read(self.certificate, self.key, self.now())
            except UnfitCredentials as error:
                if self._held is None:
                    raise
                log.warning("signing credentials not replaced", reason=str(error))
        return self._held

    def remaining(self) -> float:
        """Seconds until the certificate expires; raises as `current`."""
        return (self.current().expires - self.now()).total_seconds()

    def _times(self) -> tuple[int, ...]:
        try:
            files = [file for file in (self.certificate, self.key) if isinstance(file, Path)]
            return tuple(file.stat().st_mtime_ns for file in files)
        except OSError:
            return ()
