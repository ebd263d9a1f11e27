"""What gateways note in the bucket about the jobs they took (`queue_agent.wire.layout`)."""

import asyncio
import re
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from cachetools import LRUCache
from pydantic import AwareDatetime, BaseModel, ConfigDict, JsonValue, ValidationError

from queue_agent.client.results import ResultLocation
from queue_agent.cloud import Bucket
from queue_agent.gateway.problems import no_such_job
from queue_agent.wire.errors import ObjectExists, ObjectNotFound
from queue_agent.wire.estimate import JobEstimate
from queue_agent.wire.job import Job, canonical_json
from queue_agent.wire.layout import ResultKeys, recent_folder, record_key
from queue_agent.wire.problems import Problem

_RECORDS_REMEMBERED: Final = 5_000
_LARGEST_CONTENT: Final = 32_768
_LONGEST_TEXT: Final = 4_096
_BEGINNING: Final = 256
"""Letters of a longer text that are shown, if it is one of words and no file in base64."""
_END_OF_TIME: Final = 10**13
_LONGEST_IN_FLIGHT: Final = timedelta(days=14)
"""No queue keeps a message longer."""
_OF_ONE_JOB: Final = {"id", "expires_at", "deadline", "estimate"}
_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,128}")
_CURSOR: Final = re.compile(r"\d{13}-[A-Za-z0-9._-]{1,128}")


class Record(BaseModel):
    """A job that a gateway took."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str
    owner: str
    runtime: str
    task_type: str
    submitted_at: AwareDatetime
    digest: str
    manifest: str
    folder: str
    content: dict[str, JsonValue]
    """As it was asked, but for what is too long to be shown."""
    metadata: dict[str, JsonValue] | None = None
    """What else was asked; None where that and the content do not stand here whole
    (`queue_agent.gateway.requests`)."""
    context: JsonValue = None
    ahead: int | None = None
    """How many jobs the queue held then."""
    estimate: JobEstimate | None = None
    """What its caller was told then."""

    @classmethod
    def of(cls, job: Job, owner: str, *, now: datetime, ahead: int | None) -> "Record":
        keys, content, metadata = ResultKeys.of(job), _summary(job.content), cls.metadata_of(job)
        whole = content == job.content and len(canonical_json(metadata)) <= _LARGEST_CONTENT
        return cls(
            id=job.id,
            owner=owner,
            runtime=job.metadata.runtime or "",
            task_type=job.task_type,
            submitted_at=now,
            digest=job.digest,
            manifest=keys.manifest,
            folder=keys.folder,
            content=content,
            metadata=metadata if whole else None,
            context=job.metadata.context,
            ahead=ahead,
            estimate=JobEstimate.told(job.metadata.estimate),
        )

    @staticmethod
    def metadata_of(job: Job) -> dict[str, JsonValue]:
        """What another job would say that asks for the like, under an id of its own."""
        return job.metadata.model_dump(mode="json", exclude=_OF_ONE_JOB, exclude_none=True)

    @property
    def place(self) -> ResultLocation:
        place = ResultLocation(self.folder, self.id, self.digest)
        known = self.manifest in place.manifests
        return place if known else replace(place, former=self.manifest)

    @property
    def cursor(self) -> str:
        """Where the record stands among its owner's, the newest first."""
        age = _END_OF_TIME - round(self.submitted_at.timestamp() * 1000)
        return f"{age:013d}-{self.id}"


class Records:
    """The records of one bucket."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._known: LRUCache[tuple[str, str], Record] = LRUCache(_RECORDS_REMEMBERED)

    async def add(self, record: Record) -> tuple[Record, bool]:
        """Note a job; the record and whether it is new, not that of the same job before.

        Raises:
            Problem: 409, another job of the owner has that id.
        """
        data, is_new = record.model_dump_json().encode(), True
        try:
            await self._write(record_key(record.owner, record.id), data, create_only=True)
        except ObjectExists:
            earlier = await self.find(record.owner, record.id)
            if (earlier.digest, earlier.folder) != (record.digest, record.folder):
                raise Problem(409, "id_taken", "Another of your jobs has that id.") from None
            record, is_new = earlier, False
        self._known[record.owner, record.id] = record
        await self._write(recent_folder(record.owner) + record.cursor, b"")
        return record, is_new

    async def remove(self, record: Record) -> None:
        """Forget a job that could not be published."""
        self._known.pop((record.owner, record.id), None)
        for key in (
            recent_folder(record.owner) + record.cursor, record_key(record.owner, record.id),
        ):  # fmt: skip
            await self._bucket.delete(key)

    async def find(self, owner: str, job_id: str) -> Record:
        """The record of an owner's job; those of others lie elsewhere.

        Raises:
            Problem: 404, there is none.
        """
        if not _ID.fullmatch(job_id) or job_id == "." or ".." in job_id:
            raise no_such_job()
        return self._known.get((owner, job_id)) or await self._read(owner, job_id)

    async def recent(
        self, owner: str, *, after: str | None, limit: int
    ) -> tuple[list[Record], str | None]:
        """Up to `limit` of an owner's jobs, the newest first, and where the next page begins.

        Raises:
            Problem: 422, `after` is no place to begin.
        """
        if after is not None and not _CURSOR.fullmatch(after):
            raise Problem(422, "invalid_cursor", "The cursor is not one of an earlier answer.")
        folder = recent_folder(owner)
        keys = await self._bucket.keys(folder, after=folder + (after or ""), limit=limit + 1)
        cursors = [key.removeprefix(folder) for key in keys]
        found = await asyncio.gather(
            *(self.find(owner, cursor.partition("-")[2]) for cursor in cursors[:limit]),
            return_exceptions=True,
        )
        records: list[Record] = []
        for record in found:
            if isinstance(record, Record):
                records.append(record)
            elif not isinstance(record, Problem):  # the mark of a job that was not published
                raise record
        return records, cursors[limit - 1] if len(cursors) > limit else None

    def outlived(self, record: Record, now: datetime) -> bool:
        """Whether no queue can hold the job any more."""
        return now - record.submitted_at > _LONGEST_IN_FLIGHT

    async def _read(self, owner: str, job_id: str) -> Record:
        try:
            record = Record.model_validate_json(await self._bucket.read(record_key(owner, job_id)))
        except (ObjectNotFound, ValidationError) as error:
            raise no_such_job() from error
        self._known[owner, job_id] = record
        return record

    async def _write(self, key: str, data: bytes, *, create_only: bool = False) -> None:
        media_type = "application/json" if data else "text/plain"
        await self._bucket.write(key, data, media_type=media_type, create_only=create_only)


def _summary(content: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """The content without long texts (images, mostly), and only its plain fields if large."""
    shown = {name: _shortened(value) for name, value in content.items()}
    if len(canonical_json(shown)) <= _LARGEST_CONTENT:
        return shown
    plain: dict[str, JsonValue] = {
        name: value for name, value in shown.items() if not isinstance(value, list | dict)
    }
    return plain if len(canonical_json(plain)) <= _LARGEST_CONTENT else {}


def _shortened(value: JsonValue) -> JsonValue:
    if isinstance(value, str) and len(value) > _LONGEST_TEXT:
        beginning = value[:_BEGINNING]
        return (
            f"{beginning} … ({len(value)} characters)"
            if " " in beginning
            else (f"({len(value)} characters)")
        )
    if isinstance(value, list):
        return [_shortened(part) for part in value]
    if isinstance(value, dict):
        return {name: _shortened(part) for name, part in value.items()}
    return value
