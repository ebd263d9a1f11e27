"""API keys: who may ask, and how much.

Only digests are kept. Keys are 256 random bits, so a plain SHA-256 cannot be turned back, and
no slow password hash is needed.
"""

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import structlog
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from queue_agent.telemetry.outages import Outages
from queue_agent.wire.errors import Rejected, SettingsError
from queue_agent.wire.job import Job, JobId, describe_errors
from queue_agent.wire.problems import Problem
from queue_agent.wire.submission import INVALID_JOB

log = structlog.get_logger()

EVERYONE: Final = "everyone"
"""The owner of jobs where no keys are asked for."""
SUBPROTOCOL: Final = "queue-agent.key."
"""A WebSocket of a browser can send no header but this one: the key follows the dot."""
_PREFIX: Final = "qag_"


def _not_everyone(value: str) -> str:
    if value == EVERYONE:
        raise ValueError("means those who have no key")
    return value


KeyName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$"), AfterValidator(_not_everyone)]
_ID: Final = TypeAdapter[str](JobId)


class KeyEntry(BaseModel):
    """One key, as the keys file lists it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: KeyName = Field(description="Jobs belong to this name; several keys may share it.")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="Hexadecimal digest of the key.")
    rate: int | None = Field(default=None, ge=0, description="Requests a minute; 0: no limit.")
    jobs_in_flight: int | None = Field(default=None, ge=0, description="0: no limit.")
    revoked: bool = False


class KeyFile(BaseModel):
    """The keys file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    keys: tuple[KeyEntry, ...]


@dataclass(frozen=True)
class Caller:
    """Who asks."""

    name: str
    rate: int
    jobs_in_flight: int

    def own_id(self, job_id: str) -> str:
        """The id by which everybody else knows the job that the caller calls so.

        It begins with the caller's name, which has no dot; so no two callers can share an id,
        and with it results, news and cancel markers, whatever they ask for.
        """
        mark = f"{self.name}."
        return job_id if self.name == EVERYONE or job_id.startswith(mark) else mark + job_id

    def owning(self, job: Job) -> Job:
        """The job under such an id, whose tenant is the caller, whatever it says itself.

        Raises:
            Rejected: with the name before it, the id is none.
        """
        try:
            own = _ID.validate_python(self.own_id(job.id))
        except ValidationError as error:
            reason = f"metadata.id: with {self.name!r} before it: {error.errors()[0]['msg']}"
            raise Rejected(reason, type=INVALID_JOB) from error
        if self.name == EVERYONE:
            return job
        owned = job.metadata.model_copy(update={"id": own, "tenant": self.name})
        return job.model_copy(update={"metadata": owned})


class KeyRing:
    """The keys of the file, as it is now."""

    def __init__(self, file: Path | None, *, rate: int, jobs_in_flight: int) -> None:
        """`rate` and `jobs_in_flight` hold for keys that say nothing else.

        Raises:
            SettingsError: the file cannot be read.
        """
        self._file = file
        self._defaults = Caller(EVERYONE, rate, jobs_in_flight)
        self._outages = Outages()
        self._entries: tuple[KeyEntry, ...] = ()
        self._stamp: tuple[int, int, int] | None = None
        if file is not None:
            try:
                self._reload(file)
            except (OSError, ValueError) as error:
                reason = _reason(error)
                raise SettingsError(f"The keys file {file} cannot be used: {reason}") from error

    def caller(self, key: str | None) -> Caller:
        """Who has this key.

        Raises:
            Problem: 401, nobody has.
        """
        if self._file is None:
            return self._defaults
        try:
            self._reload(self._file)
        except (OSError, ValueError) as error:
            if due := self._outages.failed(type(error).__name__, words=_reason(error)):
                log.warning(
                    "keys file unusable, the last one is kept",
                    reason=_reason(error),
                    remedy="Mend the file; queue-agent gateway-key makes entries for it.",
                    **due._asdict(),
                )
        else:
            if over := self._outages.works():
                log.info("keys file usable again", **over._asdict())
        entry = self._find(key or "")
        if entry is None:
            raise Problem(
                401,
                "unauthorized",
                "A valid API key is needed." if key else "An API key is needed.",
                headers={"WWW-Authenticate": "Bearer"},
            )
        return Caller(
            entry.name,
            self._defaults.rate if entry.rate is None else entry.rate,
            self._defaults.jobs_in_flight if entry.jobs_in_flight is None else entry.jobs_in_flight,
        )

    def _find(self, key: str) -> KeyEntry | None:
        """Compares with every entry, so that the time taken says nothing."""
        digest = digest_of(key)
        found = None
        for entry in self._entries:
            if hmac.compare_digest(entry.sha256, digest) and not entry.revoked:
                found = entry
        return found

    def _reload(self, file: Path) -> None:
        status = file.stat()
        stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
        if stamp != self._stamp:
            self._entries = KeyFile.model_validate_json(file.read_bytes()).keys
            self._stamp = stamp


def new_key(name: str) -> tuple[str, KeyEntry]:
    """A fresh key, and its entry for the keys file.

    Raises:
        ValueError: the name is none.
    """
    key = _PREFIX + secrets.token_urlsafe(32)
    return key, KeyEntry(name=name, sha256=digest_of(key))


def digest_of(key: str) -> str:
    """Hexadecimal SHA-256 of the key."""
    return hashlib.sha256(key.encode(errors="surrogatepass")).hexdigest()


def credential(headers: Mapping[str, str]) -> str | None:
    """The key a request carries: as bearer token, `X-Api-Key`, or password of basic credentials.

    Basic credentials are what clients of the Web UI can send.
    """
    scheme, _, value = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and value.strip():
        return value.strip()
    if scheme.lower() == "basic":
        return _password(value)
    for protocol in headers.get("sec-websocket-protocol", "").split(","):
        if protocol.strip().startswith(SUBPROTOCOL):
            return protocol.strip().removeprefix(SUBPROTOCOL)
    return headers.get("x-api-key")


def _password(encoded: str) -> str | None:
    try:
        return base64.b64decode(encoded, validate=True).decode().partition(":")[2] or None
    except (binascii.Error, UnicodeDecodeError):
        return None


def _reason(error: Exception) -> str:
    return describe_errors(error) if isinstance(error, ValidationError) else str(error)
