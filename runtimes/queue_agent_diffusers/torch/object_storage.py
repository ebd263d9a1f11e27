"""Models of object storage: streamed to a folder, once.

They lie under an ``s3://bucket/prefix`` or a ``nats://host/bucket/prefix``.
Where `SHA256SUMS` lies beside them, their content has to be what it says.
"""

import asyncio
import hashlib
import shutil
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from queue_agent.cloud import Bucket, Cloud
from queue_agent.cloud.addresses import is_nats
from queue_agent.cloud.connect import connect
from queue_agent.wire.errors import QueueAgentError
from queue_agent_diffusers.errors import ModelNotFound, ModelUnreadable
from queue_agent_diffusers.torch.hashes import MANIFEST, read_manifest

S3: Final = "s3://"
_COMPLETE: Final = ".complete"
_SIMULTANEOUS: Final = 4
_MANIFEST_LIMIT: Final = 2**20


def is_stored(model: str) -> bool:
    """Whether a model's name is an address of object storage."""
    return model.startswith(S3) or is_nats(model)


def kept_at(address: str, cache: Path) -> Path:
    """The folder that holds it once it was fetched."""
    return cache.expanduser() / hashlib.sha256(address.encode()).hexdigest()[:16]


def is_kept(address: str, cache: Path) -> bool:
    """Whether all of it lies in that folder."""
    return (kept_at(address, cache) / _COMPLETE).exists()


def fetch_model(address: str, cache: Path, *, region: str) -> Path:
    """The folder (or the one ``.safetensors`` file) with the model's files, fetched if need be.

    Files are written as they come in, several at once, so that memory does not hold them. A fetch
    that broke off is begun again; one that was completed is not repeated.

    Raises:
        ModelNotFound: there is nothing under that prefix, or it cannot be read.
        ModelUnreadable: a file is not the one that the manifest names.
    """
    folder = kept_at(address, cache)
    if not is_kept(address, cache):
        shutil.rmtree(folder, ignore_errors=True)
        try:
            asyncio.run(_fetch(address, folder, region))
        except (QueueAgentError, OSError, ValueError) as error:
            raise ModelNotFound(f"{address} cannot be fetched: {error}") from error
        (folder / _COMPLETE).touch()
    files = [path for path in folder.iterdir() if path.name not in {_COMPLETE, MANIFEST}]
    single = len(files) == 1 and files[0].is_file()
    return files[0] if single else folder


async def _fetch(address: str, folder: Path, region: str) -> None:
    async with open_model(address, region) as stored:
        await stored.fetch(stored.keys, folder)


@dataclass(frozen=True)
class StoredModel:
    """A model's files, as they were listed."""

    bucket: Bucket
    keys: Mapping[str, str]
    """By path under the model's address."""
    hashes: Mapping[str, str]
    """SHA-256 by path; none where nobody wrote them down."""

    async def fetch(self, paths: Collection[str], folder: Path) -> None:
        """Bring some to a folder, several at once.

        Raises:
            ModelNotFound: a path leads out of the folder.
            ModelUnreadable: a file is not the one that the manifest names.
            QueueAgentError, OSError: as the bucket and the disk do.
        """
        targets = {path: _target(folder, path) for path in paths}
        slots = asyncio.Semaphore(_SIMULTANEOUS)
        try:
            async with asyncio.TaskGroup() as tasks:
                for path, target in targets.items():
                    wanted = self.hashes.get(path)
                    key = self.keys[path]
                    tasks.create_task(_download(self.bucket, key, target, slots, wanted))
        except* (QueueAgentError, OSError, ModelUnreadable) as errors:
            raise errors.exceptions[0] from errors


@asynccontextmanager
async def open_model(address: str, region: str) -> AsyncIterator[StoredModel]:
    """What lies under an address, until it is no longer needed.

    Raises:
        ModelNotFound: there is nothing.
        QueueAgentError: as the bucket does.
    """
    cloud, bucket, prefix = _open(address, region)
    try:
        keys = {_relative(prefix, key): key for key in await _keys(bucket, prefix)}
        if not keys:
            raise ModelNotFound(f"There is nothing under {address}.")
        hashes: dict[str, str] = {}
        if MANIFEST in keys:
            text = await bucket.read(keys[MANIFEST], limit=_MANIFEST_LIMIT)
            hashes = read_manifest(text.decode(errors="replace"))
        yield StoredModel(bucket, keys, hashes)
    finally:
        await cloud.aclose()


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


async def _keys(bucket: Bucket, prefix: str) -> list[str]:
    """Those of the file itself, or of the folder: ``sd`` is not ``sdxl/…``."""
    found: list[str] = []
    while page := await bucket.keys(prefix, after=found[-1] if found else ""):
        found += page
    folder = f"{prefix.rstrip('/')}/" if prefix else ""
    return [
        key for key in found if key == prefix or (key.startswith(folder) and not key.endswith("/"))
    ]


def _relative(prefix: str, key: str) -> str:
    return key.removeprefix(prefix).lstrip("/") or key.rpartition("/")[2]


def _target(folder: Path, path: str) -> Path:
    target = (folder / path).resolve()
    if not target.is_relative_to(folder.resolve()):
        raise ModelNotFound(f"The path {path!r} leads out of its folder.")
    return target


async def _download(
    bucket: Bucket, key: str, target: Path, slots: asyncio.Semaphore, wanted: str | None
) -> None:
    seen = hashlib.sha256()
    async with slots:
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as file:

            def take(piece: bytes) -> None:
                file.write(piece)
                if wanted is not None:
                    seen.update(piece)

            async def write(piece: bytes) -> None:
                await asyncio.to_thread(take, piece)

            await bucket.read_into(key, write)
    if wanted is not None and seen.hexdigest() != wanted:
        raise ModelUnreadable(f"{key} has other content than {MANIFEST} says.")
