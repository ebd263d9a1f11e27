"""Unfinished jobs of one owner, counted exactly by any number of gateways.

An owner has as many numbered slots as the quota allows. A slot is taken by creating
`{number}-{generation}`, which only one can; the highest generation holds it. Nothing is ever
given back: once its job is over, whoever comes next creates the next generation and then removes
the older ones. So nobody can remove what another has just taken, and a gateway that dies leaves
no slot taken for longer than `_UNRECORDED`.
"""

import re
import zlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from pydantic import AwareDatetime, BaseModel, ValidationError

from queue_agent.cloud import Bucket
from queue_agent.gateway.keys import Caller
from queue_agent.tasks import together
from queue_agent.wire.errors import ObjectExists, ObjectNotFound
from queue_agent.wire.layout import slots_folder
from queue_agent.wire.problems import Problem

_UNRECORDED: Final = timedelta(minutes=5)
"""A slot whose job has no record is in the making; but not for so long."""
_NAME: Final = re.compile(r"(\d{6,})-(\d{9})")

_NOBODY: Final = "/"
_LOOKED_AT_ONCE: Final = 16

IsOver = Callable[[str], Awaitable[bool | None]]
"""Whether a job is over; None: there is no record of it."""


class _Holder(BaseModel):
    """What a slot says."""

    job: str
    since: AwareDatetime


@dataclass(frozen=True)
class QuotaSlot:
    """One generation of one slot."""

    folder: str
    number: int
    generation: int

    @property
    def key(self) -> str:
        return f"{self.folder}{self.number:06d}-{self.generation:09d}"

    @property
    def following(self) -> "QuotaSlot":
        return QuotaSlot(self.folder, self.number, self.generation + 1)


class Quota:
    """The slots in one bucket."""

    def __init__(self, bucket: Bucket, is_over: Callable[[Caller], IsOver]) -> None:
        self._bucket = bucket
        self._is_over = is_over

    async def take(
        self, caller: Caller, job_id: str, *, known: bool, now: datetime
    ) -> QuotaSlot | None:
        """Take a slot for the job; None if it has one, or there is no quota.

        `known`: the job was asked for before.

        Raises:
            Problem: 429, all of them are taken.
        """
        if not caller.jobs_in_flight:
            return None
        while True:  # each further turn means that another took a slot in between
            free = await self._free(caller, job_id, known, now)
            if free is None or await self._create(free, _Holder(job=job_id, since=now)):
                return free

    async def give_back(self, slot: QuotaSlot) -> None:
        """The job was not published after all. The slot is not removed, as nothing is that may
        be the highest generation.
        """
        await self._write(slot, _Holder(job=_NOBODY, since=datetime.min.replace(tzinfo=UTC)))

    async def _free(
        self, caller: Caller, job_id: str, known: bool, now: datetime
    ) -> QuotaSlot | None:
        """A slot to be taken; None if the job has one.

        Raises:
            Problem: 429, there is none.
        """
        limit, held = caller.jobs_in_flight, await self._held(caller)
        folder, start = slots_folder(caller.name), zlib.crc32(job_id.encode())
        free = [QuotaSlot(folder, n, 1) for n in range(1, limit + 1) if n not in held]
        slots = [slot for slot in held.values() if slot.number <= limit]
        for first in range(0, len(slots), _LOOKED_AT_ONCE):
            if free and not known:
                break
            some = slots[first : first + _LOOKED_AT_ONCE]
            holders = await together(self._holder(slot) for slot in some)
            over = await together(self._ended(caller, holder, now) for holder in holders)
            for slot, holder, ended in zip(some, holders, over, strict=True):
                if holder is not None and holder.job == job_id:
                    # a job that begins anew would count twice with another slot
                    return slot.following if ended else None
                if ended:
                    free.append(slot.following)
        if free:
            return free[start % len(free)]
        raise Problem(
            429,
            "too_many_jobs",
            f"{limit} jobs are unfinished, which is the limit.",
            headers={"Retry-After": "5"},
        )

    async def _held(self, caller: Caller) -> dict[int, QuotaSlot]:
        """The highest generation of each number."""
        folder = slots_folder(caller.name)
        held: dict[int, QuotaSlot] = {}
        for key in await self._bucket.keys(folder):  # in order
            found = _NAME.fullmatch(key.removeprefix(folder))
            if found:
                slot = QuotaSlot(folder, int(found[1]), int(found[2]))
                held[slot.number] = slot
        return held

    async def _holder(self, slot: QuotaSlot) -> _Holder | None:
        """None: it is held by another by now, and what it says matters no more."""
        try:
            return _Holder.model_validate_json(await self._bucket.read(slot.key))
        except (ObjectNotFound, ValidationError):
            return None

    async def _ended(self, caller: Caller, holder: _Holder | None, now: datetime) -> bool:
        if holder is None:
            return True
        over = None if holder.job == _NOBODY else await self._is_over(caller)(holder.job)
        return now - holder.since > _UNRECORDED if over is None else over

    async def _create(self, slot: QuotaSlot, holder: _Holder) -> bool:
        """Whether the slot is ours: nobody was there before, and nobody had come after that."""
        try:
            await self._write(slot, holder, create_only=True)
        except ObjectExists:
            return False
        prefix = f"{slot.folder}{slot.number:06d}-"
        keys = await self._bucket.keys(prefix)
        if max(keys, default=slot.key) != slot.key:
            await self._bucket.delete(slot.key)
            return False
        for key in keys:
            if key != slot.key:
                await self._bucket.delete(key)
        return True

    async def _write(self, slot: QuotaSlot, holder: _Holder, *, create_only: bool = False) -> None:
        data = holder.model_dump_json().encode()
        await self._bucket.write(
            slot.key, data, media_type="application/json", create_only=create_only
        )
