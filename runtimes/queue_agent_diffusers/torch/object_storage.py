"""Models under an ``s3://bucket/prefix``: streamed to a folder, once."""

import asyncio
import hashlib
import shutil
from pathlib import Path
from typing import Final

from queue_agent.cloud import Bucket
from queue_agent.cloud.connect import connect
from queue_agent.wire.errors import QueueAgentError
from queue_agent_diffusers.errors import ModelNotFound

SCHEME: Final = "s3://"
_COMPLETE: Final = ".complete"
_SIMULTANEOUS: Final = 4


def fetch_model(address: str, cache: Path, *, region: str) -> Path:
    """The folder (or the one ``.safetensors`` file) with the model's files, fetched if need be.

    Files are written as they come in, so that memory does not hold them. A fetch that broke off
    is begun again; one that was completed is not repeated.

    Raises:
        ModelNotFound: there is nothing under that prefix, or it cannot be read.
    """
    folder = cache.expanduser() / hashlib.sha256(address.encode()).hexdigest()[:16]
    if not (folder / _COMPLETE).exists():
        shutil.rmtree(folder, ignore_errors=True)
        try:
            asyncio.run(_fetch(address, folder, region))
        except (QueueAgentError, OSError) as error:
            raise ModelNotFound(f"{address} cannot be fetched: {error}") from error
        (folder / _COMPLETE).touch()
    files = [path for path in folder.iterdir() if path.name != _COMPLETE]
    single = len(files) == 1 and files[0].is_file()
    return files[0] if single else folder


async def _fetch(address: str, folder: Path, region: str) -> None:
    name, _, prefix = address.removeprefix(SCHEME).partition("/")
    cloud = connect(region=region)
    try:
        bucket = cloud.bucket(name)
        keys = await _keys(bucket, prefix)
        if not keys:
            raise ModelNotFound(f"There is nothing under {address}.")
        targets = {key: _target(folder, prefix, key) for key in keys}
        slots = asyncio.Semaphore(_SIMULTANEOUS)
        async with asyncio.TaskGroup() as tasks:
            for key, target in targets.items():
                tasks.create_task(_download(bucket, key, target, slots))
    except* (QueueAgentError, OSError) as errors:
        raise errors.exceptions[0] from errors
    finally:
        await cloud.aclose()


async def _keys(bucket: Bucket, prefix: str) -> list[str]:
    """Those of the file itself, or of the folder: ``sd`` is not ``sdxl/…``."""
    found: list[str] = []
    while page := await bucket.keys(prefix, after=found[-1] if found else ""):
        found += page
    folder = f"{prefix.rstrip('/')}/" if prefix else ""
    return [
        key for key in found if key == prefix or (key.startswith(folder) and not key.endswith("/"))
    ]


def _target(folder: Path, prefix: str, key: str) -> Path:
    relative = key.removeprefix(prefix).lstrip("/") or key.rpartition("/")[2]
    target = (folder / relative).resolve()
    if not target.is_relative_to(folder.resolve()):
        raise ModelNotFound(f"The key {key!r} leads out of its folder.")
    return target


async def _download(bucket: Bucket, key: str, target: Path, slots: asyncio.Semaphore) -> None:
    async with slots:
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as file:

            async def write(piece: bytes) -> None:
                await asyncio.to_thread(file.write, piece)

            await bucket.read_into(key, write)
