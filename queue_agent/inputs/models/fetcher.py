"""Models for jobs: what is there is held, what is missing is fetched, once for all who wait."""

import asyncio
import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Final

import structlog
from cachetools import LRUCache

from queue_agent.inputs.addresses import HttpLocation
from queue_agent.inputs.guarded_http import GuardedHttp, Resolver
from queue_agent.inputs.models.download import INVALID, UNAVAILABLE, Download, Moved, in_thread
from queue_agent.inputs.models.policy import ModelPolicy, differs, is_safe, shown
from queue_agent.inputs.models.volume import Lock, ModelVolume
from queue_agent.wire.errors import QueueAgentError, Rejected, TimedOut, Unavailable
from queue_agent.wire.model_files import ModelFile

log = structlog.get_logger()

_CONNECTIONS: Final = 4
"""Models that are fetched at a time."""
_LOOK: Final = 1.0
"""Seconds between two looks at what another process is doing."""
_PIECE: Final = 16 * 2**20
_REMEMBERED: Final = 1024
_UNSURE: Final = 10
"""So often a model may be gone again as soon as it is there."""

Fetching = Callable[[ModelFile, float], None]
"""Told which model is being fetched, and the share of all that the job lacks, from 0 to 1."""


@dataclass(frozen=True)
class Fetched:
    """What became of a job's models."""

    came: tuple[ModelFile, ...] = ()
    """Those that were not there before."""
    replaced: tuple[ModelFile, ...] = ()
    """Those under whose names jobs had another file before."""
    warnings: tuple[str, ...] = ()


class ModelFetcher:
    """Keeps the models of one folder under one policy."""

    def __init__(self, policy: ModelPolicy, *, resolve: Resolver | None = None) -> None:
        self._policy = policy
        self._volume = ModelVolume(policy.folder)
        self._http = GuardedHttp(
            policy.guard, timeout=policy.patience, connections=_CONNECTIONS, resolve=resolve
        )
        self._under_way: dict[ModelFile, _Shared] = {}
        self._slots = asyncio.Semaphore(_CONNECTIONS)
        self._needy = asyncio.Lock()
        """Held by the one job that waits for room with nothing of its own in the way."""
        self._released = asyncio.Event()
        self._known: LRUCache[str, tuple[int, int]] = LRUCache(_REMEMBERED)
        """Size and time of the files that jobs had, by their models."""
        self._digests: LRUCache[tuple[Path, int, int], str] = LRUCache(_REMEMBERED)

    async def wanted(self, models: Iterable[ModelFile]) -> list[ModelFile]:
        """Of what a job names, what this fetcher may have to do with, each once.

        What comes from nowhere and was never fetched is left to the runtime.

        Raises:
            Rejected: a name leads out of the folder (type ``model_forbidden``), or two of the
                same name are told to be different (``model_invalid``).
        """
        found: dict[str, ModelFile] = {}
        named: list[ModelFile] = []
        for model in self._policy.resolved(models):
            if model.url:
                self._policy.check_name(model)
                found[model.key] = model
            elif is_safe(model):
                named += await in_thread(partial(self._volume.named, model))
        return list({**{model.key: model for model in named}, **found}.values())

    async def absent(self, models: Iterable[ModelFile]) -> list[ModelFile]:
        """Those of which the folder has no file."""
        return [model for model in models if not await in_thread(partial(self._volume.has, model))]

    async def hold(
        self, models: Sequence[ModelFile], keep: ExitStack, fetching: Fetching
    ) -> Fetched:
        """Have them all in the folder, and let none of them go, until `keep` ends.

        Raises:
            Rejected: of type ``model_forbidden``, ``model_invalid``, ``model_too_large`` or
                ``unknown_model``.
            Unavailable: a server or the disk has not what it takes, or too much is in use.
        """
        self._check_together(models)
        job = _Job(self, models, fetching)
        if await job.try_to_hold(keep):
            return job.result()
        try:
            async with asyncio.timeout(self._policy.room_patience), self._needy:
                while True:
                    self._released.clear()
                    if await job.try_to_hold(keep):
                        return job.result()
                    await self._something_is_released()
        except TimeoutError as error:
            raise TimedOut(
                "The models of other jobs, which are in use, left no room for those of this one.",
                type="models_in_use",
            ) from error

    async def check(self) -> None:
        """Whether the folder can be written.

        Raises:
            Unavailable: it cannot.
        """
        await in_thread(self._volume.check)

    async def aclose(self) -> None:
        """Close what is open."""
        await self._http.aclose()

    async def have(self, model: ModelFile, moved: Moved) -> bool:
        """Fetch one, with all who want the same; whether it was not there before."""
        source = self._policy.source_of(model)
        shared = self._under_way.get(source)
        if shared is None:
            shared = self._under_way[source] = _Shared()
            shared.task = asyncio.create_task(self._fetch(source, shared))
            shared.task.add_done_callback(partial(self._ended, source, shared))
        with shared.telling(moved):
            try:
                return await asyncio.shield(shared.task)
            finally:
                if shared.is_told_to == [moved] and not shared.task.done():
                    del self._under_way[source]  # whoever comes now begins anew
                    shared.task.cancel()
                    await asyncio.wait({shared.task})

    def take(self, model: ModelFile) -> Lock | ExitStack | None:
        """Hold a file that is there; None where there is none, or somebody is at it."""
        if self._volume.has(model) and self._volume.record(model) is None:
            return ExitStack()  # the operator's own is never removed
        lock = self._volume.lock(model, "shared")
        if lock is None:
            return None
        if not self._volume.has(model):
            lock.close()
            return None
        self._volume.use(model)
        return lock

    async def check_file(self, model: ModelFile) -> str | None:
        """Compare a file that is there with what is told of it; words for the publisher, if any.

        Raises:
            Rejected: it is another (type ``model_invalid``).
        """
        record = await in_thread(partial(self._volume.record, model))
        path = self._volume.path(model)
        stat = await in_thread(path.stat)
        if model.size is not None and stat.st_size != model.size:
            raise Rejected(
                f"{shown(model)} is there with {stat.st_size} bytes, and not {model.size}.",
                type=INVALID,
            )
        if model.sha256:
            digest = record.sha256 if record else await self._digest(path)
            if digest != model.sha256:
                raise differs(model, "the one that is there")
        elif record is not None and model.url and not model.by_operator:
            told = HttpLocation.parse(model.url).public
            if told != record.url:
                return f"{shown(model)} is the one from {record.url[:300]}"
        return None

    async def is_another(self, model: ModelFile) -> bool:
        """Whether its file is not the one that a job before had; noted for the next."""
        stat = await in_thread(self._volume.path(model).stat)
        found = (stat.st_size, stat.st_mtime_ns)
        before, self._known[model.key] = self._known.get(model.key, found), found
        return found != before

    def released(self) -> None:
        """A job needs its models no more."""
        self._released.set()

    def _check_together(self, models: Iterable[ModelFile]) -> None:
        sizes = [model.size or 0 for model in models]
        size = sum(sizes)
        if len(sizes) > 1 and size > self._policy.limit:
            raise Rejected(
                f"The models of the job have {size} bytes; all models may take "
                f"{self._policy.limit} together (QUEUE_AGENT_MODELS_LIMIT).",
                type="model_too_large",
            )

    async def _something_is_released(self) -> None:
        """Here, or by another process, which tells nobody."""
        try:
            async with asyncio.timeout(_LOOK):
                await self._released.wait()
        except TimeoutError:
            return

    async def _fetch(self, model: ModelFile, shared: "_Shared") -> bool:
        self._policy.place_of(model)
        lock = await self._exclusively(model, shared)
        try:
            async with self._slots, asyncio.timeout(self._policy.timeout):
                if await in_thread(partial(self._volume.has, model)):
                    return False
                began = monotonic()
                came = await Download(
                    model, self._policy, self._volume, self._http, self._make_room, shared.moved
                ).run()
                log.info("model fetched", model=model.key, seconds=round(monotonic() - began))
                return came
        except TimeoutError as error:
            raise TimedOut(
                f"{shown(model)} did not come within {self._policy.timeout:g} s.",
                type=UNAVAILABLE,
            ) from error
        finally:
            lock.close()

    async def _exclusively(self, model: ModelFile, shared: "_Shared") -> Lock:
        while (lock := self._volume.lock(model, "exclusive")) is None:
            record = await in_thread(partial(self._volume.unfinished, model))
            if record is not None:
                part = self._volume.part(model)
                shared.moved(await in_thread(partial(_size, part)), record.size or None)
            await asyncio.sleep(_LOOK)
        return lock

    async def _make_room(self, model: ModelFile, size: int) -> None:
        make = partial(self._volume.make_room, model, size, limit=self._policy.limit)
        if not await in_thread(make):
            raise _NoRoom("The models in use leave no room for another.")

    def _ended(self, model: ModelFile, shared: "_Shared", task: asyncio.Task[bool]) -> None:
        if self._under_way.get(model) is shared:
            del self._under_way[model]
        if not task.cancelled():
            task.exception()  # those who wait have it
        self._released.set()

    async def _digest(self, path: Path) -> str:
        """Of a file that somebody else has put there; remembered while it is not changed."""
        stat = await in_thread(path.stat)
        key = (path, stat.st_size, stat.st_mtime_ns)
        if key not in self._digests:
            found = hashlib.sha256()
            with path.open("rb") as file:

                def read() -> bool:
                    piece = file.read(_PIECE)
                    found.update(piece)
                    return bool(piece)

                while await in_thread(read):
                    pass
            self._digests[key] = found.hexdigest()
        return self._digests[key]


@dataclass
class _Job:
    """One job on its way to having its models."""

    fetcher: ModelFetcher
    models: Sequence[ModelFile]
    fetching: Fetching
    _came: dict[str, ModelFile] = field(default_factory=dict)
    _replaced: dict[str, ModelFile] = field(default_factory=dict)
    _warnings: dict[str, None] = field(default_factory=dict)
    _shares: dict[str, float] = field(default_factory=dict)

    async def try_to_hold(self, keep: ExitStack) -> bool:
        """Hold all, and `keep` them; or none, where there is no room for all."""
        with ExitStack() as held:
            held.callback(self.fetcher.released)
            try:
                for model in self.models:
                    held.callback((await self._held(model)).close)
            except _NoRoom:
                return False
            keep.enter_context(held.pop_all())
        return True

    def result(self) -> Fetched:
        return Fetched(
            tuple(self._came.values()), tuple(self._replaced.values()), tuple(self._warnings)
        )

    async def _held(self, model: ModelFile) -> Lock | ExitStack:
        for _ in range(_UNSURE):
            lock = await in_thread(partial(self.fetcher.take, model))
            if lock is None:
                self.fetching(model, self._share(model, 0.0))
                if await self.fetcher.have(model, partial(self._moved, model)):
                    self._came[model.key] = model
                continue
            try:
                if words := await self.fetcher.check_file(model):
                    self._warnings[words] = None
                if await self.fetcher.is_another(model):
                    self._replaced[model.key] = model
            except BaseException:
                lock.close()
                raise
            self._share(model, 1.0)
            return lock
        raise Unavailable(
            f"{shown(model)} is removed again and again as soon as it is there.",
            type="models_in_use",
        )

    def _moved(self, model: ModelFile, size: int, total: int | None) -> None:
        self.fetching(model, self._share(model, size / total if total else 0.0))

    def _share(self, model: ModelFile, share: float) -> float:
        """Of all models, where each counts as much."""
        self._shares[model.key] = max(min(share, 1.0), self._shares.get(model.key, 0.0))
        return sum(self._shares.values()) / len(self.models)


class _Shared:
    """A model that is being fetched, and who is told how far it has come."""

    def __init__(self) -> None:
        self.task: asyncio.Task[bool]
        self.is_told_to: list[Moved] = []
        self._latest: tuple[int, int | None] = (0, None)

    def moved(self, size: int, total: int | None) -> None:
        self._latest = (size, total)
        for listener in self.is_told_to:
            listener(size, total)

    @contextmanager
    def telling(self, listener: Moved) -> Iterator[None]:
        self.is_told_to.append(listener)
        listener(*self._latest)
        try:
            yield
        finally:
            self.is_told_to.remove(listener)


class _NoRoom(QueueAgentError):
    """What is in use leaves none for another model."""


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
