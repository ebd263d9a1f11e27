"""Models of object storage, under an ``s3://bucket/prefix`` or a ``nats://host/bucket/prefix``.

Where `SHA256SUMS` lies beside their files, these have to be what it says.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from queue_agent.cloud import Bucket, Cloud, ListedObject
from queue_agent.cloud.addresses import is_nats
from queue_agent.cloud.connect import connect
from queue_agent.tasks import together
from queue_agent.wire.errors import Unavailable
from queue_agent_diffusers.errors import ModelNotFound, ModelUnreadable
from queue_agent_diffusers.torch.hashes import MANIFEST, read_manifest
from queue_agent_diffusers.torch.weight_files import INDEX, index_components, needed_files

S3: Final = "s3://"
SIMULTANEOUS: Final = 4
"""Files that are read at once."""
_ATTEMPTS: Final = 4
_PAUSE: Final = wait_random_exponential(multiplier=0.2, max=10.0)
_PASSING: Final = "cloud_unavailable"
"""The type of what may be over in a moment; a refusal is of another."""
_TEXT_LIMIT: Final = 2**20

_Found = TypeVar("_Found")


def is_stored(model: str) -> bool:
    """Whether a model's name is an address of object storage."""
    return model.startswith(S3) or is_nats(model)


@dataclass(frozen=True)
class StoredModel:
    """A model's files, as they were listed."""

    address: str
    bucket: Bucket
    files: Mapping[str, ListedObject]
    """By path under the model's address."""
    hashes: Mapping[str, str]
    """SHA-256 by path; none where nobody wrote them down."""
    index: bytes | None = None
    """Of a model in the diffusers layout; None: it has none."""

    @property
    def components(self) -> Collection[str]:
        """Names of those that the index says the model has."""
        return index_components(self.index or b"{}")

    def needed(self, dtype: str) -> list[str]:
        """Paths of the files that a load in that precision reads, and of what is no weights.

        Raises:
            ModelUnreadable: it cannot be told which these are, or the manifest names one that is
                not there.
        """
        try:
            needed = needed_files({*self.files, *self.hashes}, dtype, self.index)
        except ValueError as error:
            raise ModelUnreadable(f"{self.address} {error}") from error
        for path in needed:
            if path not in self.files:
                raise ModelUnreadable(f"{self.address} lacks {path}, which {MANIFEST} names.")
        return needed

    def size(self, paths: Collection[str]) -> int | None:
        """Bytes of files together, where the store tells."""
        sizes = [self.files[path].size for path in paths]
        return None if None in sizes else sum(size or 0 for size in sizes)

    async def read_parts(self, wanted: Mapping[str, int]) -> dict[str, tuple[bytes, int]]:
        """The first bytes of each, so many, and how many it has in all."""
        slots = asyncio.Semaphore(SIMULTANEOUS)

        async def read(path: str, size: int) -> tuple[bytes, int]:
            async with slots:
                key = self.files[path].key
                part = await repeating(lambda: self.bucket.read_range(key, 0, size))
                return part.data, part.total

        found = await together(read(path, size) for path, size in wanted.items())
        return dict(zip(wanted, found, strict=True))

    async def fetch(self, paths: Collection[str], folder: Path) -> None:
        """Bring some to a folder, several at once; what breaks off is begun again a few times.

        Raises:
            ModelNotFound: a path leads out of the folder.
            ModelUnreadable: a file is not the one that was listed, or that the manifest names.
            QueueAgentError, OSError: as the bucket and the disk do.
        """
        targets = {path: _target(folder, path) for path in paths}
        slots = asyncio.Semaphore(SIMULTANEOUS)

        async def download(path: str, target: Path) -> None:
            async with slots:
                await repeating(lambda: self._download(path, target))

        await together(download(path, target) for path, target in targets.items())

    def check(self, path: str, size: int, digest: str) -> None:
        """Compare what came of a file.

        Raises:
            ModelUnreadable: it is not the one that was listed, or that the manifest names.
        """
        listed = self.files[path]
        if digest != self.hashes.get(path, digest):
            raise ModelUnreadable(f"{listed.key} has other content than {MANIFEST} says.")
        if listed.size not in {None, size}:
            raise ModelUnreadable(
                f"{listed.key} has {listed.size} bytes, and {size} came: it was replaced meanwhile."
            )

    async def _download(self, path: str, target: Path) -> None:
        seen, size = hashlib.sha256(), 0
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as file:

            def take(piece: bytes) -> None:
                nonlocal size
                size += file.write(piece)
                if path in self.hashes:
                    seen.update(piece)

            async def write(piece: bytes) -> None:
                await asyncio.to_thread(take, piece)

            await self.bucket.read_into(self.files[path].key, write)
        self.check(path, size, seen.hexdigest() if path in self.hashes else "")


async def repeating(action: Callable[[], Awaitable[_Found]]) -> _Found:
    """Do what the cloud may fail to do for a moment; a refusal is final."""
    retrying = AsyncRetrying(
        retry=retry_if_exception(
            lambda error: isinstance(error, Unavailable) and error.type == _PASSING
        ),
        stop=stop_after_attempt(_ATTEMPTS),
        wait=_PAUSE,
        reraise=True,
    )

    async def attempt() -> _Found:
        return await action()

    return await retrying(attempt)


@asynccontextmanager
async def open_model(address: str, region: str) -> AsyncIterator[StoredModel]:
    """What lies under an address, until it is no longer needed.

    Raises:
        ModelNotFound: there is nothing.
        ModelUnreadable: its manifest makes no sense.
        QueueAgentError: as the bucket does.
    """
    cloud, bucket, prefix = _open(address, region)
    try:
        found = await repeating(lambda: _listed(bucket, prefix))
        files = {_relative(prefix, one.key): one for one in found}
        if not files:
            raise ModelNotFound(f"There is nothing under {address}.")
        hashes, index = await _hashes(bucket, prefix, files), None
        if INDEX in files:
            index = await _read(bucket, files[INDEX].key)
        yield StoredModel(address, bucket, files, hashes, index)
    finally:
        await cloud.aclose()


async def _hashes(
    bucket: Bucket, prefix: str, files: Mapping[str, ListedObject]
) -> Mapping[str, str]:
    """What the manifest says; that of a file which was named itself lies beside it."""
    key = f"{prefix.rpartition('/')[0]}/{MANIFEST}".lstrip("/")
    if any(one.key == prefix for one in files.values()):
        if key not in await repeating(lambda: bucket.keys(key, limit=1)):
            return {}
        named = read_manifest((await _read(bucket, key)).decode(errors="replace"))
        return {path: digest for path, digest in named.items() if path in files}
    if MANIFEST not in files:
        return {}
    return read_manifest((await _read(bucket, files[MANIFEST].key)).decode(errors="replace"))


async def _read(bucket: Bucket, key: str) -> bytes:
    return await repeating(lambda: bucket.read(key, limit=_TEXT_LIMIT))


def _open(address: str, region: str) -> tuple[Cloud, Bucket, str]:
    """Where the model lies, and the prefix of its keys there."""
    if is_nats(address):
        scheme, _, rest = address.partition("://")
        servers, _, path = rest.partition("/")
        name, _, prefix = path.partition("/")
        name = f"{scheme}://{servers}/{name}"
        cloud = connect(bucket=name)
    else:
        name, _, prefix = address.removeprefix(S3).partition("/")
        cloud = connect(region=region)
    return cloud, cloud.bucket(name), prefix


async def _listed(bucket: Bucket, prefix: str) -> list[ListedObject]:
    """The file itself, or what lies in the folder: ``sd`` is not ``sdxl/…``."""
    found: list[ListedObject] = []
    while page := await bucket.listing(prefix, after=found[-1].key if found else ""):
        found += page
    folder = f"{prefix.rstrip('/')}/" if prefix else ""
    return [
        one
        for one in found
        if one.key == prefix or (one.key.startswith(folder) and not one.key.endswith("/"))
    ]


def _relative(prefix: str, key: str) -> str:
    return key.removeprefix(prefix).lstrip("/") or key.rpartition("/")[2]


def _target(folder: Path, path: str) -> Path:
    target = (folder / path).resolve()
    if not target.is_relative_to(folder.resolve()):
        raise ModelNotFound(f"The path {path!r} leads out of its folder.")
    return target
