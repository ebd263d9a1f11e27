"""Weights that come from object storage straight to the device; nothing of them lies on disk.

Those of ``s3://`` are read by Run:ai's streamer (https://github.com/run-ai/runai-model-streamer),
with the SDK's credentials and endpoint, so that one identity reads all of a model; those of
``nats://``, which it does not know, by `bucket_tensors`. A model's other files are few and small:
they are fetched anew at each load, into a folder that ends with it.
"""

import asyncio
import logging
import os
import tempfile
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, TypeVar

import torch

from queue_agent.wire.errors import QueueAgentError
from queue_agent_diffusers.engine.loading import LoadProgress
from queue_agent_diffusers.errors import ModelNotFound, ModelUnreadable
from queue_agent_diffusers.options import Options
from queue_agent_diffusers.torch.bucket_tensors import bucket_tensors
from queue_agent_diffusers.torch.hashes import MANIFEST
from queue_agent_diffusers.torch.model_cache import kept_at
from queue_agent_diffusers.torch.object_storage import S3, StoredModel, is_stored, open_model
from queue_agent_diffusers.torch.tensor_hash import LENGTH_BYTES, TensorHash, header_length
from queue_agent_diffusers.torch.weight_files import is_weights
from queue_agent_diffusers.torch.weight_readers import stream

_Found = TypeVar("_Found")
_log = logging.getLogger(__name__)
_PACKAGE: Final = "runai_model_streamer_s3"


class StreamedWeights:
    """A model whose folder has all its files but those with weights."""

    def __init__(
        self,
        stored: StoredModel,
        folder: Path,
        runner: asyncio.Runner,
        region: str,
        needed: Sequence[str],
    ) -> None:
        """`needed` are the files that a load reads."""
        self.folder: Final = folder
        self.sizes: Mapping[str, int] = {}
        """Bytes of the files with weights, by their paths."""
        self._stored = stored
        self._runner = runner
        self._region = region
        self._needed = needed
        self._headers: Mapping[str, int] = {}
        self._by_runai = stored.address.startswith(S3)

    @property
    def told(self) -> str:
        """Who reads them."""
        return "runai straight from s3" if self._by_runai else "straight from nats"

    def prepare(self) -> None:
        """Fetch what holds no weights, and learn the sizes of what does."""
        others = [path for path in self._needed if not is_weights(path)]
        self._run(self._stored.fetch(others, self.folder))
        weights = {path: LENGTH_BYTES for path in self._needed if is_weights(path)}
        begins = self._run(self._stored.read_parts(weights))
        self.sizes = {path: total for path, (_, total) in begins.items()}
        self._headers = {path: header_length(data) for path, (data, _) in begins.items()}

    def read(
        self, files: Sequence[Path], device: torch.device
    ) -> Iterator[tuple[str, torch.Tensor]]:
        """The files' tensors, on the device; `files` are paths in the folder.

        Where the manifest names a file, its header and its tensors are hashed as they come.

        Raises:
            ModelUnreadable: a file is not the one that the manifest names.
        """
        paths = [self._path(file) for file in files]
        if self._by_runai:
            yield from self._streamed(paths, device)
        else:
            yield from bucket_tensors(self._stored, paths, device, self._runner)

    def bring(self, files: Sequence[Path]) -> None:
        """Fetch files with weights to the folder, for those who read them there."""
        missing = [self._path(file) for file in files if not file.exists()]
        self._run(self._stored.fetch(missing, self.folder))

    def _streamed(
        self, paths: Sequence[str], device: torch.device
    ) -> Iterator[tuple[str, torch.Tensor]]:
        named = {path: self._headers[path] for path in paths if path in self._stored.hashes}
        headers = self._run(self._stored.read_parts(named))
        hashes = {path: TensorHash(data) for path, (data, _) in headers.items()}
        of = {name: seen for seen in hashes.values() for name in seen.names}
        keys = {path: self._stored.files[path].key for path in paths}
        addresses = [f"{S3}{self._stored.bucket.name}/{key}" for key in keys.values()]
        for name, tensor in stream(addresses, device, _credentials(self._region)):
            if name in of:
                of[name].add(name, tensor)
            yield name, tensor
        for path, seen in hashes.items():
            if seen.hexdigest() != self._stored.hashes[path]:
                raise ModelUnreadable(f"{keys[path]} has other content than {MANIFEST} says.")

    def _path(self, file: Path) -> str:
        return file.relative_to(self.folder).as_posix()

    def _run(self, work: Coroutine[Any, Any, _Found]) -> _Found:
        try:
            return self._runner.run(work)
        except (QueueAgentError, OSError, ValueError) as error:
            raise ModelNotFound(f"The model cannot be fetched: {error}") from error


@contextmanager
def streamed_weights(
    model: str, options: Options, dtype: str, progress: LoadProgress
) -> Iterator[StreamedWeights | None]:
    """Those of a prefix in the diffusers layout, if they are to come straight to the device.

    None for any other model, for one that lies on disk as a whole by an earlier load, and where
    the package is missing, which is told.

    Raises:
        ModelNotFound: there is nothing under that prefix, or it cannot be read.
        ModelUnreadable: it is no model, or a file is not the one that the manifest names.
    """
    wanted = options.weights_by == "runai" and is_stored(model)
    if not wanted or kept_at(model, options.cache_dir, dtype).exists():
        yield None
        return
    if model.startswith(S3) and find_spec(_PACKAGE) is None:
        _log.warning("model %s: fetched to disk, for %s is not installed", model, _PACKAGE)
        yield None
        return
    cache = options.cache_dir.expanduser()
    cache.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="streamed-", dir=cache) as folder,
        asyncio.Runner() as runner,
    ):
        stack = AsyncExitStack()
        try:
            try:
                opened = stack.enter_async_context(open_model(model, options.region))
                stored = runner.run(opened)
            except (QueueAgentError, OSError, ValueError) as error:
                raise ModelNotFound(f"{model} cannot be fetched: {error}") from error
            streamed = None
            if stored.index is not None:
                needed = stored.needed(dtype)
                streamed = StreamedWeights(stored, Path(folder), runner, options.region, needed)
                with progress.fetching(None, streamed.folder):
                    streamed.prepare()
            yield streamed
        finally:
            runner.run(stack.aclose())


def _credentials(region: str) -> object:
    """The SDK's, as they are now, and where it finds the storage."""
    import boto3  # noqa: PLC0415  comes with the package
    from runai_model_streamer.s3_utils.s3_utils import S3Credentials  # noqa: PLC0415  an extra

    session: Any = boto3.Session(region_name=region)
    endpoint: str = session.client("s3").meta.endpoint_url
    if ".amazonaws." not in endpoint:
        # Few other stores answer to BUCKET.HOST; the package has no argument for it.
        virtual = "1" if endpoint.endswith(".aliyuncs.com") else "0"
        os.environ.setdefault("RUNAI_STREAMER_S3_USE_VIRTUAL_ADDRESSING", virtual)
    found = session.get_credentials()
    frozen = found.get_frozen_credentials() if found else None
    return S3Credentials(
        access_key_id=frozen.access_key if frozen else None,
        secret_access_key=frozen.secret_key if frozen else None,
        session_token=frozen.token if frozen else None,
        region_name=region,
        endpoint=endpoint,
    )
