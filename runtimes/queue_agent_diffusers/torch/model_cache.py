"""The folder in which models of object storage are kept, by all servers that are given it.

A model is there when its folder is: it is filled under another name, which is left behind by who
is killed meanwhile, and removed by who comes next.
"""

import asyncio
import errno
import fcntl
import hashlib
import logging
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from queue_agent.wire.errors import QueueAgentError
from queue_agent_diffusers.engine.loading import LoadProgress
from queue_agent_diffusers.errors import ModelNotFound
from queue_agent_diffusers.torch.object_storage import open_model
from queue_agent_diffusers.torch.weight_files import INDEX

_NO_LOCKS: Final = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL})
"""What file systems without `flock` say."""
_log = logging.getLogger(__name__)


def kept_at(address: str, cache: Path, dtype: str) -> Path:
    """The folder that holds it once it was fetched, with the files for that precision."""
    named = hashlib.sha256(f"{address} {dtype}".encode()).hexdigest()[:16]
    return cache.expanduser() / named


def fetch_model(
    address: str,
    cache: Path,
    *,
    region: str,
    dtype: str = "float32",
    progress: LoadProgress | None = None,
) -> Path:
    """The folder (or the one checkpoint) with what a load reads, fetched if need be.

    Files are written as they come in, several at once, so that memory does not hold them. Of what
    broke off nothing stays; what was completed is not fetched again. Of servers that share the
    folder one fetches, and the others wait for it.

    Raises:
        ModelNotFound: there is nothing under that prefix, or it cannot be read.
        ModelUnreadable: it is no model, or a file is not the one that the manifest names.
    """
    folder = kept_at(address, cache, dtype)
    try:
        if not folder.exists():
            folder.parent.mkdir(parents=True, exist_ok=True)
            with _alone(folder):
                if not folder.exists():
                    _fill(folder, address, region, dtype, progress or LoadProgress(address))
    except (QueueAgentError, OSError, ValueError) as error:
        raise ModelNotFound(f"{address} cannot be fetched: {error}") from error
    if (folder / INDEX).exists():
        return folder
    [file] = [path for path in folder.rglob("*") if path.is_file()]
    return file


def _fill(folder: Path, address: str, region: str, dtype: str, progress: LoadProgress) -> None:
    filling = Path(tempfile.mkdtemp(prefix=f"{folder.name}-", dir=folder.parent))
    try:
        asyncio.run(_fetch(filling, address, region, dtype, progress))
        filling.chmod(0o755)
        try:
            filling.rename(folder)
        except OSError:
            if not folder.exists():  # by another server, where there are no locks
                raise
    finally:
        shutil.rmtree(filling, ignore_errors=True)


async def _fetch(
    folder: Path, address: str, region: str, dtype: str, progress: LoadProgress
) -> None:
    async with open_model(address, region) as stored:
        needed = stored.needed(dtype)
        with progress.fetching(stored.size(needed), folder):
            await stored.fetch(needed, folder)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Nobody else fetches that model meanwhile, where the file system has locks."""
    # The file stays: who removed it would let two in, by an old one and a new one.
    with folder.with_suffix(".lock").open("a") as lock:
        if _locked(lock.fileno(), folder):
            for left in folder.parent.glob(f"{folder.name}-*"):
                shutil.rmtree(left, ignore_errors=True)
        yield


def _locked(descriptor: int, folder: Path) -> bool:
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _log.info("%s: another server fetches it, which is waited for", folder)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return False
    return True
