"""A key-value bucket, and an object store of the same name for what is large, as one bucket.

The key-value bucket has an entry for each object: a small one as it is, else where it lies in
the object store, under a name of its own. An object is there when its entry is; one create of
an entry wins, which is the commit of a result. The formats are those of NATS's own tools:
https://github.com/nats-io/nats-architecture-and-design/blob/main/adr/ADR-8.md and ADR-20.md
"""

import asyncio
import base64
import hashlib
import io
import json
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Final

from nats.js.api import ObjectInfo, ObjectMetaOptions, RawStreamMsg

from queue_agent.cloud import Bucket, ListedObject, ObjectPart, Sink
from queue_agent.cloud.nats.connection import Connection
from queue_agent.cloud.nats.listing import subjects
from queue_agent.cloud.nats.subjects import key_of, key_subject
from queue_agent.cloud.refusals import type_of
from queue_agent.media.asset import Asset
from queue_agent.tasks import together
from queue_agent.wire.errors import (
    ObjectExists,
    ObjectNotFound,
    QueueAgentError,
    Rejected,
    Unavailable,
)

_INLINE: Final = 2**16
"""Bytes up to which an object is its entry."""
_CHUNK: Final = 2**18
_MOST_KEYS: Final = 1000
_AT_ONCE: Final = 50
_OBJECT: Final = "Queue-Agent-Object"
"""A header of entries that only say where the object lies."""
_MARKS: Final = "Queue-Agent-Marks"
"""A header of the same: the numbers in the stream of every 16th chunk, so that who wants the end
of a long film does not read its begin. Without it all is gone through."""
_MARKED: Final = 16
_MEDIA_TYPE: Final = "Content-Type"
_LAST: Final = "Nats-Expected-Last-Subject-Sequence"
_ROLLUP: Final = {"Nats-Rollup": "sub"}


@dataclass(frozen=True)
class _Stored:
    """Where in the object store an object lies."""

    object: str
    size: int
    sha256: str


class NatsBucket(Bucket):
    """https://docs.nats.io/nats-concepts/jetstream/key-value-store"""

    def __init__(self, connection: Connection, name: str) -> None:
        self._connection = connection
        self.name = name
        self._entries = f"KV_{name}"
        self._objects = f"OBJ_{name}"

    @property
    def streams(self) -> Sequence[str]:
        """What it lies in."""
        return self._entries, self._objects

    async def read_into(self, key: str, sink: Sink, *, limit: int | None = None) -> None:
        entry = await self._entry(key)
        stored = _stored(entry)
        size = stored.size if stored else len(entry.data or b"")
        if limit is not None and size > limit:
            raise Rejected(
                f"{self.url(key)} has more than {limit} bytes.", type="reference_too_large"
            )
        if stored is None:
            if entry.data:
                await sink(entry.data)
            return
        digest = hashlib.sha256()
        try:
            async for piece in self._pieces(stored):
                digest.update(piece)
                await sink(piece)
        except ObjectNotFound as error:
            raise self._replaced(key) from error
        if digest.hexdigest() != stored.sha256:
            raise Unavailable(
                f"Could not read {self.url(key)}: its digest is wrong.", type=type_of("unavailable")
            )

    async def read_range(self, key: str, start: int, size: int) -> ObjectPart:
        entry = await self._entry(key)
        stored = _stored(entry)
        if stored is None:
            data = entry.data or b""
            return ObjectPart(data[start : start + size], len(data))
        found, place, last = io.BytesIO(), *_mark_before(entry, start)
        try:
            async for piece in self._pieces(stored, place, last):
                found.write(piece[max(0, start - place) : start + size - place])
                place += len(piece)
                if place >= start + size:
                    break
        except ObjectNotFound as error:
            raise self._replaced(key) from error
        return ObjectPart(found.getvalue(), stored.size)

    async def write(
        self,
        key: str,
        data: bytes | Asset,
        *,
        media_type: str,
        create_only: bool = False,
        sha256: str | None = None,
    ) -> None:
        asset = data if isinstance(data, Asset) else Asset(data, media_type)
        del sha256  # the transport has checks of its own, and reading compares digests
        await self._connection.reach()  # which tells how large a message may be
        if asset.size <= min(_INLINE, self._connection.largest_payload // 2):
            former = None if create_only else await self._stored_at(key)
            await self._enter(key, asset.data, {_MEDIA_TYPE: media_type}, create_only=create_only)
        else:
            former = await self._stored_at(key)
            if create_only and await self.exists(key):  # else known only when all has been sent
                raise ObjectExists(f"{self.url(key)} exists.")
            stored, marks = await self._upload(key, asset)
            headers = {_MEDIA_TYPE: media_type, _OBJECT: stored.object, _MARKS: marks}
            entry = json.dumps(asdict(stored)).encode()
            try:
                await self._enter(key, entry, headers, create_only=create_only)
            except ObjectExists:
                await self._remove(stored)
                raise
        if former is not None:
            await self._remove(former)

    async def exists(self, key: str) -> bool:
        try:
            await self._entry(key)
        except ObjectNotFound:
            return False
        return True

    async def delete(self, key: str) -> None:
        stored = await self._stored_at(key)
        await self._purge(self._entries, self._subject(key))
        if stored is not None:
            await self._remove(stored)

    async def keys(self, prefix: str, *, after: str = "", limit: int = 1000) -> Sequence[str]:
        folder, _, _ = prefix.rpartition("/")
        start = f"$KV.{self.name}."
        within = f"{start}{key_subject(folder)}.>" if folder else f"{start}>"
        action = f"list {self.url(prefix)}"
        there = await subjects(self._connection, action, self._entries, within=within)
        keys = (key_of(subject.removeprefix(start)) for subject in there)
        found = sorted(key for key in keys if key.startswith(prefix) and key > after)
        return found[: min(limit, _MOST_KEYS)]

    async def longest_link(self) -> float:
        return 0.0

    async def listing(
        self, prefix: str, *, after: str = "", limit: int = 1000
    ) -> Sequence[ListedObject]:
        keys = await self.keys(prefix, after=after, limit=limit)
        slots = asyncio.Semaphore(_AT_ONCE)

        async def listed(key: str) -> ListedObject:
            async with slots:
                return await self._listed(key)

        return await together(listed(key) for key in keys)

    async def _listed(self, key: str) -> ListedObject:
        """With what its entry tells, where that is not gone."""
        try:
            async with self._connection.using(f"look at {self.url(key)}") as js:
                entry = await js.get_last_msg(self._entries, self._subject(key), direct=True)
        except ObjectNotFound:
            return ListedObject(key)
        stored = _stored(entry)
        size = stored.size if stored else len(entry.data or b"")
        return ListedObject(key, entry.time.timestamp() if entry.time else None, size)

    async def presign(self, key: str, *, seconds: float) -> None:
        """There are none; the gateway hands images out."""
        del key, seconds

    def _subject(self, key: str) -> str:
        return f"$KV.{self.name}.{key_subject(key)}"

    async def _entry(self, key: str) -> RawStreamMsg:
        """As the leader has it, who knows of each create.

        Raises:
            ObjectNotFound: there is none.
        """
        async with self._connection.using(f"read {self.url(key)}") as js:
            return await js.get_last_msg(self._entries, self._subject(key))

    async def _stored_at(self, key: str) -> _Stored | None:
        """Where the object lies that is there now, if it is large."""
        try:
            return _stored(await self._entry(key))
        except ObjectNotFound:
            return None

    async def _enter(
        self, key: str, value: bytes, headers: dict[str, str], *, create_only: bool
    ) -> None:
        condition = {_LAST: "0"} if create_only else {}
        async with self._connection.using(f"write {self.url(key)}") as js:
            await js.publish(self._subject(key), value, headers=headers | condition)

    async def _upload(self, key: str, asset: Asset) -> tuple[_Stored, str]:
        """Write to the object store; where it lies, and where in the stream some of its parts.

        What is not finished is removed.
        """
        name, chunk = uuid.uuid4().hex, self._chunk
        info = ObjectInfo(
            name=name,
            description=key,
            bucket=self.name,
            nuid=name,
            size=asset.size,
            chunks=-(-asset.size // chunk),
            options=ObjectMetaOptions(max_chunk_size=chunk),
            mtime=datetime.now(UTC).isoformat(),
        )
        digest, sequences = hashlib.sha256(), []
        try:
            async for piece in asset.stream(chunk):
                digest.update(piece)
                sequences.append(await self._store(key, self._chunks(name), piece, {}))
            info.digest = f"SHA-256={base64.urlsafe_b64encode(digest.digest()).decode()}"
            meta = json.dumps(info.as_dict()).encode()
            await self._store(key, self._meta(name), meta, _ROLLUP)
        except BaseException:  # also when cancelled: nobody would find it
            await asyncio.shield(self._give_up(name))
            raise
        marks = ",".join(map(str, sequences[::_MARKED])) if chunk == _CHUNK else ""
        return _Stored(name, asset.size, digest.hexdigest()), marks

    async def _store(self, key: str, subject: str, data: bytes, headers: dict[str, str]) -> int:
        """Its number in the stream."""
        async with self._connection.using(f"write {self.url(key)}") as js:
            return (await js.publish(subject, data, headers=headers or None)).seq

    async def _pieces(self, stored: _Stored, place: int = 0, last: int = 0) -> AsyncIterator[bytes]:
        """Those from a place on, before which the message of number `last` is.

        Raises:
            ObjectNotFound: some are gone.
        """
        left = stored.size - place
        while left > 0:
            async with self._connection.using("read an object") as js:
                piece = await js.get_msg(
                    self._objects, seq=last + 1, subject=self._chunks(stored.object), next=True
                )
            data, last = piece.data or b"", piece.seq or 0
            left -= len(data)
            yield data

    async def _remove(self, stored: _Stored) -> None:
        await together(
            self._purge(self._objects, subject)
            for subject in (self._meta(stored.object), self._chunks(stored.object))
        )

    async def _give_up(self, name: str) -> None:
        """Remove what was sent, also what is on its way: requests overtake it, messages do not."""
        with suppress(QueueAgentError):
            await self._store(name, self._chunks(name), b"", {})
        with suppress(QueueAgentError):
            await self._remove(_Stored(name, 0, ""))

    async def _purge(self, stream: str, subject: str) -> None:
        async with self._connection.using("remove an object") as js:
            await js.purge_stream(stream, subject=subject)

    @property
    def _chunk(self) -> int:
        """Bytes of each message of an object, where the servers take so large ones."""
        largest = self._connection.largest_payload
        return _CHUNK if largest > 2 * _CHUNK else largest // 2

    def _chunks(self, name: str) -> str:
        return f"$O.{self.name}.C.{name}"

    def _replaced(self, key: str) -> Unavailable:
        return Unavailable(
            f"Could not read {self.url(key)}: it was replaced meanwhile.",
            type=type_of("unavailable"),
        )

    def _meta(self, name: str) -> str:
        return f"$O.{self.name}.M.{base64.urlsafe_b64encode(name.encode()).decode()}"


def _stored(entry: RawStreamMsg) -> _Stored | None:
    """Where the object lies, if the entry says only that."""
    if _OBJECT not in (entry.headers or {}):
        return None
    return _Stored(**json.loads(entry.data or b"{}"))


def _mark_before(entry: RawStreamMsg, start: int) -> tuple[int, int]:
    """The last marked place up to `start`, and a number just before that of its message."""
    told = (entry.headers or {}).get(_MARKS, "")
    marks = [int(mark) for mark in told.split(",") if mark.isdigit()]
    step = _MARKED * _CHUNK
    number = min(start // step, len(marks) - 1)
    return (number * step, marks[number] - 1) if marks else (0, 0)
