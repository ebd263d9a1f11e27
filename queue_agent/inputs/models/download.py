"""One model from its URL into its part of the volume: bounded, hashed, taken up where it broke off.

Redirects are followed by hand, and each place is checked and given its own credentials only.
"""

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, BinaryIO, Final, Self, TypeVar

import structlog

from queue_agent.inputs.addresses import HttpLocation
from queue_agent.inputs.guarded_http import GuardedHttp, refusal_for_now
from queue_agent.inputs.models.policy import UNKNOWN_MODEL, ModelPolicy, shown
from queue_agent.inputs.models.volume import ModelRecord, ModelVolume, translated
from queue_agent.wire.errors import Rejected, Unavailable
from queue_agent.wire.model_files import MODEL_FORBIDDEN, ModelFile

if TYPE_CHECKING:
    import httpx

log = structlog.get_logger()

T = TypeVar("T")

INVALID: Final = "model_invalid"
UNAVAILABLE: Final = "model_unavailable"
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_UNSATISFIABLE: Final = 416
_PIECE: Final = 4 * 2**20
"""Bytes that are written, and hashed, at a time."""
_HEAD: Final = 16
_LONGEST_HEADER: Final = 100 * 2**20
"""Of a safetensors file, in bytes: its own library reads no longer one."""
_TRIES: Final = 4
"""So often nothing more may come before it is given up."""
_PAUSE: Final = 1.0
"""Seconds before the first new try, doubled with each."""
_LONGEST_WAIT: Final = 30.0
"""Seconds that a server may ask for; where it asks for more, its jobs come again then."""
_RANGE: Final = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")

Moved = Callable[[int, int | None], None]
"""Told the bytes that are there, and how many there will be, if that is known."""
Room = Callable[[ModelFile, int], Awaitable[None]]
"""Makes room for so many bytes of a model, or raises."""


_pause: Final = asyncio.sleep


async def in_thread(action: Callable[[], T]) -> T:
    """What it returns, on another thread, whose end is awaited even when this is cancelled."""
    work = asyncio.ensure_future(asyncio.to_thread(action))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        await asyncio.wait({work})
        raise


@dataclass
class Download:
    """Of one model, whose lock is held exclusively."""

    model: ModelFile
    policy: ModelPolicy
    volume: ModelVolume
    http: GuardedHttp
    room: Room
    moved: Moved
    _part: "_Part" = field(init=False)

    async def run(self) -> bool:
        """Fetch it and put it in its place; False: somebody else has put one there meanwhile.

        Raises:
            Rejected: of type ``model_invalid``, ``model_forbidden``, ``model_too_large`` or
                ``unknown_model``; nothing of it is kept.
            Unavailable: its server breaks off for good, or the disk is full; what came is kept for
                another try.
        """
        place = self.policy.place_of(self.model)
        unfinished = await in_thread(lambda: self.volume.unfinished(self.model))
        try:
            part = await in_thread(lambda: _Part.of(self.model, self.volume, unfinished, place))
            async with part as self._part:
                again = self._part.size > 0
                await self._all_of_it(place)
                if again and self._wrong():
                    await self._part.restart()
                    await self._all_of_it(place)
                self._check()
                return await self._part.finish()
        except Rejected:
            await in_thread(lambda: self.volume.forget(self.model))
            raise

    async def _all_of_it(self, place: HttpLocation) -> None:
        failures = 0
        while not self._part.is_whole:
            before = self._part.size
            try:
                await self._receive(place)
            except Rejected as error:
                raise self._refusal(error, place) from error
            except Unavailable as error:
                if error.type != Unavailable.default_type:
                    raise
                failures = 0 if self._part.size > before else failures + 1
                log.info("model not whole", model=self.model.key, reason=error.message)
                if failures >= _TRIES or error.retry_after > _LONGEST_WAIT:
                    raise Unavailable(
                        f"{shown(self.model)} cannot be fetched: {place.public[:300]} "
                        f"{error.message}.",
                        type=UNAVAILABLE,
                        retry_after=error.retry_after,
                    ) from error
                await _pause(max(_PAUSE * 2**failures, error.retry_after))

    def _refusal(self, error: Rejected, place: HttpLocation) -> Rejected:
        """In the words of models, where the guard speaks of references."""
        if not error.type.startswith("reference_"):
            return error
        kind = UNKNOWN_MODEL if error.type == "reference_not_found" else MODEL_FORBIDDEN
        return Rejected(
            f"{shown(self.model)} is not fetched: {place.public[:300]} {error.message}.", type=kind
        )

    async def _receive(self, place: HttpLocation) -> None:
        """What is left of it, in one answer."""
        wanted = self._part.rest()
        for _ in range(self.policy.max_redirects + 1):
            self.policy.check_hop(self.model, place)
            headers = {**self.policy.credentials_for(place), **wanted}
            async with self.http.exchange("GET", place, headers=headers) as response:
                if response.status_code in _REDIRECTS:
                    place = place.redirected(response.headers.get("Location", ""))
                    continue
                await self._take_in(response, place)
                return
        raise Rejected(
            f"{shown(self.model)} is not fetched: it is redirected more than "
            f"{self.policy.max_redirects} times.",
            type=UNKNOWN_MODEL,
        )

    async def _take_in(self, response: "httpx.Response", place: HttpLocation) -> None:
        status = response.status_code
        if status == _UNSATISFIABLE and self._part.size:
            await self._part.restart()
            return
        self._check_status(response, place)
        if response.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise Rejected(f"{shown(self.model)} is sent compressed.", type=INVALID)
        begin, total = _extent(response)
        if begin != self._part.size:
            if begin:
                raise Unavailable(f"answers from byte {begin}, not from {self._part.size}")
            await self._part.restart()
        if self.model.size is not None and total not in {None, self.model.size}:
            raise self._other_size(total)
        await self._part.begins(total, response.headers.get("ETag", ""))
        expected = total or self.model.size or 0
        self.policy.check_size(self.model, expected)
        await self.room(self.model, expected)
        self._tell()
        async for piece in _pieces(response, self._part.size):
            size = self._part.size + len(piece)
            self.policy.check_size(self.model, size)
            if self.model.size is not None and size > self.model.size:
                raise self._other_size(size)
            if size > expected:
                await self.room(self.model, size)
            await self._part.write(piece)
            if fault := _odd_head(self.model.name, self._part.head):
                raise Rejected(f"{shown(self.model)} {fault}.", type=INVALID)
            self._tell()
        self._part.ended()

    def _check_status(self, response: "httpx.Response", place: HttpLocation) -> None:
        if refusal := refusal_for_now(response):
            raise refusal
        status = response.status_code
        if 200 <= status < 300:
            return
        reason = f"{place.host} refuses it (HTTP {status})"
        if status in {401, 403}:
            reason += (
                "; for models that are not for everybody, the operator gives credentials for "
                f"{place.host} (QUEUE_AGENT_MODEL_CREDENTIALS)"
            )
        raise Rejected(
            f"{shown(self.model)} is not there, and cannot be fetched: {reason}.",
            type=UNKNOWN_MODEL,
        )

    def _check(self) -> None:
        if fault := self._wrong():
            raise Rejected(f"{shown(self.model)} {fault}.", type=INVALID)

    def _wrong(self) -> str | None:
        """What is wrong with what came, if anything is."""
        part, model = self._part, self.model
        if fault := _odd_head(model.name, part.head, whole=True):
            return fault
        if model.size is not None and part.size != model.size:
            return f"has {part.size} bytes, and not {model.size}"
        if model.sha256 and part.sha256 != model.sha256:
            return f"has the SHA-256 {part.sha256}, and not {model.sha256}"
        return None

    def _other_size(self, size: int | None) -> Rejected:
        return Rejected(
            f"{shown(self.model)} has {size} bytes or more, and not {self.model.size}.",
            type=INVALID,
        )

    def _tell(self) -> None:
        self.moved(self._part.size, self._part.total or self.model.size)


class _Part:
    """What of a model has come, on the disk."""

    _file: BinaryIO

    def __init__(self, model: ModelFile, volume: ModelVolume, record: ModelRecord) -> None:
        self._model = model
        self._volume = volume
        self._record = record
        self._opened = ExitStack()
        self._hash = hashlib.sha256()
        self.size = 0
        self.head = b""
        self.total: int | None = record.size or None
        self.is_whole = False

    @classmethod
    def of(
        cls,
        model: ModelFile,
        volume: ModelVolume,
        unfinished: ModelRecord | None,
        place: HttpLocation,
    ) -> "_Part":
        url = place.public
        record = ModelRecord(model.name, model.folder, url, size=0)
        if unfinished is not None and unfinished.url == url and unfinished.etag:
            record = unfinished
        volume.begin(model, record)
        return cls(model, volume, record)

    async def __aenter__(self) -> Self:
        try:
            await in_thread(self._read_what_is_there)
        except BaseException:
            self._opened.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        self._opened.close()

    def rest(self) -> dict[str, str]:
        """Header fields that ask for what is missing, of the same version only."""
        if not (self.size and self._record.etag):
            return {}
        return {"Range": f"bytes={self.size}-", "If-Range": self._record.etag}

    async def begins(self, total: int | None, etag: str) -> None:
        """Note what the server says of it."""
        strong = etag if etag.startswith('"') else ""  # weak ones go with no ranges: RFC 9110
        record = replace(self._record, size=total or 0, etag=strong, sha256="", changed=0)
        if record != self._record:
            self._record = record
            await in_thread(lambda: self._volume.begin(self._model, record))
        self.total = total

    async def write(self, piece: bytes) -> None:
        def write() -> None:
            with translated(shown(self._model)):
                left = memoryview(piece)
                while left:
                    left = left[self._file.write(left) :]
            self._hash.update(piece)

        self.head += piece[: max(0, _HEAD - len(self.head))]
        await in_thread(write)
        self.size += len(piece)

    def ended(self) -> None:
        """The answer has come to its end."""
        self.is_whole = True

    async def restart(self) -> None:
        """Drop what has come."""

        def truncate() -> None:
            with translated(shown(self._model)):
                self._file.truncate(0)

        await in_thread(truncate)
        self.size, self.head, self.is_whole = 0, b"", False
        self._hash = hashlib.sha256()

    async def finish(self) -> bool:
        """Put it in its place."""
        record = replace(self._record, size=self.size, sha256=self.sha256)
        return await in_thread(lambda: self._volume.finish(self._model, record))

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    def _read_what_is_there(self) -> None:
        """Take up what an earlier try has left, if the rest of the same can be asked for."""
        self._file = self._opened.enter_context(self._volume.opened(self._model))
        with translated(shown(self._model)):
            if not self._record.etag:
                self._file.truncate(0)
                return
            with self._volume.part(self._model).open("rb") as file:
                while piece := file.read(_PIECE):
                    self._hash.update(piece)
                    self.head += piece[: max(0, _HEAD - len(self.head))]
                    self.size += len(piece)
        self.is_whole = 0 < self._record.size == self.size


async def _pieces(response: "httpx.Response", begin: int) -> AsyncIterator[bytes]:
    """The body in pieces; the first is small, to be looked at, and what came is never held back."""
    import httpx  # noqa: PLC0415  whoever has a response has loaded it

    waiting = bytearray()
    first = begin == 0
    try:
        async for chunk in response.aiter_raw():
            waiting += chunk
            if len(waiting) >= (_HEAD if first else _PIECE):
                yield bytes(waiting)
                waiting.clear()
                first = False
    except httpx.TransportError:
        if waiting:
            yield bytes(waiting)
        raise
    if waiting:
        yield bytes(waiting)


def _extent(response: "httpx.Response") -> tuple[int, int | None]:
    """Where the answer begins, and how many bytes the whole has, if that is said."""
    if response.status_code == 206:
        found = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if not found:
            raise Unavailable("answers with a part, and does not say which")
        return int(found[1]), None if found[2] == "*" else int(found[2])
    length = response.headers.get("Content-Length", "")
    return 0, int(length) if length.isdecimal() else None


def _odd_head(name: str, head: bytes, *, whole: bool = False) -> str | None:
    """What the first bytes say against a file of that name; web pages come with status 200, too.

    https://github.com/huggingface/safetensors#format
    https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
    """
    if not (whole or len(head) >= _HEAD):
        return None
    extension = PurePosixPath(name).suffix.casefold()
    if extension in {".safetensors", ".sft"}:
        length = int.from_bytes(head[:8], "little")
        good = len(head) > 8 and head[8:9] == b"{" and 0 < length <= _LONGEST_HEADER
    elif extension == ".gguf":
        good = head.startswith(b"GGUF")
    else:
        good = not head.lstrip().startswith(b"<")
    return None if good else f"is no {extension.lstrip('.')} file; it begins with {head!r}"
