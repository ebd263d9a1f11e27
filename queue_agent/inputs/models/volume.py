"""The volume of models: which of its files were fetched, which are in use, and what has to go.

Everything about a fetched file stands beside the models, in a folder that runtimes pass over::

    MODELS/loras/style.safetensors                      the model
    MODELS/loras/.style.safetensors.part                … while it is fetched
    MODELS/.queue-agent/loras/style.safetensors.json    its record; its last change is the last use
    MODELS/.queue-agent/loras/style.safetensors.lock    held exclusively while it is fetched or
                                                        removed, shared while it is in use

A file without a record is the operator's, and is left alone. Several agents may share a volume
that has `flock`; the locks end with the process that holds them. Nothing here waits.
"""

import errno
import fcntl
import glob
import json
import os
import shutil
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Final, Literal, Self

import structlog

from queue_agent.wire.errors import Unavailable
from queue_agent.wire.model_files import ModelFile

log = structlog.get_logger()

STATE: Final = ".queue-agent"
DISK_FULL: Final = "disk_full"
_NO_LOCKS: Final = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL}
"""Of volumes that have none: then the agents that share it are not told from each other."""
_NO_LINKS: Final = {errno.EPERM, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK}
_RESERVE: Final = 64 * 2**20
"""Bytes of the disk that are left free."""

LockKind = Literal["exclusive", "shared"]


@dataclass(frozen=True)
class ModelRecord:
    """What is known of a file that was fetched, or is being fetched."""

    name: str
    folder: str
    url: str
    """Without its query, which may hold a secret."""
    size: int
    """In bytes; of one that is being fetched, as its server says."""
    sha256: str = ""
    """Empty while it is being fetched."""
    changed: int = 0
    """When the file was written, in nanoseconds, which tells it from one that replaced it."""
    etag: str = ""
    """What its server calls this version, for the rest to be asked for."""

    @property
    def key(self) -> str:
        return f"{self.folder}/{self.name}"


class Lock:
    """Of one model, held until it is closed."""

    def __init__(self, volume: "ModelVolume", key: str, kind: LockKind, descriptor: int) -> None:
        self.key = key
        self.kind: LockKind = kind
        self._volume = volume
        self._descriptor: int | None = descriptor

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
            self._volume.unlocked(self)


class ModelVolume:
    """The files below one folder; its methods are called on any thread.

    Raises:
        Unavailable: of type ``disk_full`` where the disk takes no more, else ``models_unwritable``.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._state = folder / STATE
        self._guard = threading.Lock()
        self._shared: Counter[str] = Counter()
        self._exclusive: set[str] = set()

    def check(self) -> None:
        """Whether files can be written here; raises if not."""
        with translated(f"The folder of models {self._folder}"):
            if not self._folder.is_dir():
                raise NotADirectoryError(errno.ENOTDIR, "is no folder")
            self._state.mkdir(exist_ok=True)
            trial = self._state / f"trial-{os.getpid()}"
            trial.write_bytes(b"")
            trial.unlink()

    def path(self, model: ModelFile | ModelRecord) -> Path:
        return self._folder / model.folder / model.name

    def part(self, model: ModelFile | ModelRecord) -> Path:
        path = self.path(model)
        return path.with_name(f".{path.name}.part")

    def named(self, asked: ModelFile) -> list[ModelFile]:
        """What was fetched by that name, with or without its extension; of whatever kind, unless
        that is said."""
        kinds = [self._state / asked.folder] if asked.folder else self._kinds()
        found = []
        for kind in kinds:
            path = kind / asked.name
            for file in path.parent.glob(f"{glob.escape(path.name)}*.json"):
                record = self._read(file)
                if record is not None and asked.name in _names_of(record):
                    found.append(ModelFile(record.name, record.folder))
        return found

    def has(self, model: ModelFile) -> bool:
        """Whether there is a file of that name, whoever put it there."""
        return self.path(model).is_file()

    def record(self, model: ModelFile | ModelRecord) -> ModelRecord | None:
        """Of a file that was fetched and is there, untouched."""
        record = self._read(self._record_path(model))
        return record if record is not None and self._is_ours(record) else None

    def unfinished(self, model: ModelFile) -> ModelRecord | None:
        """Of a file of which a part was fetched, or all of it, and not put in its place."""
        record = self._read(self._record_path(model))
        return record if record is not None and self.part(model).is_file() else None

    def lock(self, model: ModelFile | ModelRecord, kind: LockKind) -> Lock | None:
        """Hold a model; None where another has it that does not go with this."""
        key = model.key
        with self._guard:
            if key in self._exclusive or (kind == "exclusive" and self._shared[key]):
                return None
            descriptor = self._locked(self._state / f"{key}.lock", kind)
            if descriptor is None:
                return None
            if kind == "exclusive":
                self._exclusive.add(key)
            else:
                self._shared[key] += 1
        return Lock(self, key, kind, descriptor)

    def unlocked(self, lock: Lock) -> None:
        with self._guard:
            if lock.kind == "exclusive":
                self._exclusive.discard(lock.key)
            else:
                self._shared[lock.key] -= 1

    def use(self, model: ModelFile) -> None:
        """Note that it is used now."""
        with suppress(OSError):
            os.utime(self._record_path(model))

    def make_room(self, model: ModelFile, size: int, *, limit: int) -> bool:
        """Remove what was not used for the longest time until `model` fits; whether it does.

        What is in use stays. Removes nothing where that would not be enough.

        Raises:
            Unavailable: the disk has not so much space (type ``disk_full``).
        """
        others = [record for record in self._records() if record.key != model.key]
        used = sum(self._taken(record) for record in others)
        present = self._size(self.part(model))
        free = shutil.disk_usage(self._folder).free - _RESERVE
        surplus = max(used + size - limit, size - present - free)
        if surplus <= 0:
            return True
        with _Evictions(self) as evictions:
            for record in sorted(others, key=self._used_at):
                if surplus <= 0:
                    break
                if evictions.plan(record):
                    surplus -= self._taken(record)
            if surplus > 0 and size - present > free + sum(map(self._taken, others)):
                raise Unavailable(
                    f"The volume of models has no space for {size} bytes more.", type=DISK_FULL
                )
            if surplus <= 0:
                evictions.commit()
        return surplus <= 0

    def begin(self, model: ModelFile, record: ModelRecord) -> None:
        """Note what of `model` is fetched; its lock must be held."""
        with translated(_subject(model)):
            self.path(model).parent.mkdir(parents=True, exist_ok=True)
            self._write(record)

    def finish(self, model: ModelFile, record: ModelRecord) -> bool:
        """Put the fetched part in its place; whether there was none of that name meanwhile."""
        part, path = self.part(model), self.path(model)
        with translated(_subject(model)):
            self._write(replace(record, changed=part.stat().st_mtime_ns))
            try:
                _move_without_replacing(part, path)
            except FileExistsError:  # by the operator's hand
                self.forget(model)
                return False
        return True

    def forget(self, model: ModelFile | ModelRecord) -> None:
        """Remove the fetched part and the record; its lock must be held."""
        with suppress(OSError):
            self.part(model).unlink(missing_ok=True)
        with suppress(OSError):
            self._record_path(model).unlink(missing_ok=True)

    def remove(self, record: ModelRecord) -> None:
        """Remove what was fetched; its lock must be held."""
        if self._is_ours(record):
            with suppress(OSError):
                self.path(record).unlink(missing_ok=True)
        self.forget(record)

    def opened(self, model: ModelFile) -> BinaryIO:
        """The part of it, to be written at its end."""
        with translated(_subject(model)):
            return self.part(model).open("ab", buffering=0)

    def _records(self) -> list[ModelRecord]:
        return [
            record
            for folder in self._kinds()
            for path in folder.rglob("*.json")
            if (record := self._read(path)) is not None
        ]

    def _kinds(self) -> Iterator[Path]:
        with suppress(OSError):
            yield from (entry for entry in self._state.iterdir() if entry.is_dir())

    def _record_path(self, model: ModelFile | ModelRecord) -> Path:
        return self._state / f"{model.key}.json"

    def _read(self, path: Path) -> ModelRecord | None:
        try:
            return ModelRecord(**json.loads(path.read_bytes()))
        except (OSError, TypeError, ValueError):
            return None

    def _write(self, record: ModelRecord) -> None:
        path = self._record_path(record)
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_name(f"{path.name}.new")
        new.write_text(json.dumps(asdict(record)))
        new.replace(path)

    def _is_ours(self, record: ModelRecord) -> bool:
        """Whether the file in its place is the one that was fetched."""
        try:
            found = self.path(record).stat()
        except OSError:
            return False
        return bool(record.sha256) and found.st_mtime_ns == record.changed

    def _taken(self, record: ModelRecord) -> int:
        """Bytes that it takes or, while it is being fetched, will take."""
        if self._is_ours(record):
            return record.size
        part = self._size(self.part(record))
        return part if record.sha256 else max(record.size, part)

    def _used_at(self, record: ModelRecord) -> float:
        try:
            return self._record_path(record).stat().st_mtime
        except OSError:
            return 0.0

    def _size(self, path: Path) -> int:
        try:
            return path.stat().st_size
        except OSError:
            return 0

    def _locked(self, path: Path, kind: LockKind) -> int | None:
        with translated(f"The folder of models {self._folder}"):
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        operation = fcntl.LOCK_EX if kind == "exclusive" else fcntl.LOCK_SH
        try:
            fcntl.flock(descriptor, operation | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                os.close(descriptor)
                return None
        return descriptor


class _Evictions:
    """Models that are to be removed together, or none of them."""

    def __init__(self, volume: ModelVolume) -> None:
        self._volume = volume
        self._planned: list[tuple[ModelRecord, Lock]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for _record, lock in self._planned:
            lock.close()

    def plan(self, record: ModelRecord) -> bool:
        """Whether it may go, since nobody uses it."""
        lock = self._volume.lock(record, "exclusive")
        if lock is not None:
            self._planned.append((record, lock))
        return lock is not None

    def commit(self) -> None:
        for record, _lock in self._planned:
            self._volume.remove(record)
            log.info("model removed", model=record.key, bytes=record.size)


class translated:  # noqa: N801  reads as what it is: a block
    """A block in which the volume's failures are ours."""

    def __init__(self, subject: str) -> None:
        self._subject = subject

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if not isinstance(error, OSError):
            return
        full = error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
        words = error.strerror or str(error)
        raise Unavailable(
            f"{self._subject} cannot be written: {words}.",
            type=DISK_FULL if full else "models_unwritable",
        ) from error


def _move_without_replacing(source: Path, target: Path) -> None:
    """Raises `FileExistsError` where there is a target."""
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if target.exists():
            raise FileExistsError(errno.EEXIST, "exists", str(target)) from error
        source.rename(target)
    else:
        source.unlink()


def _subject(model: ModelFile) -> str:
    return f"The model {model.key}"


def _names_of(record: ModelRecord) -> set[str]:
    return {record.name, PurePosixPath(record.name).with_suffix("").as_posix()}
