"""Bytes of an input or an output: in memory where they are few, else in a file without a name."""

import asyncio
import io
import os
import tempfile
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, BinaryIO, Final, Self

from queue_agent.wire.errors import Unavailable
from queue_agent.wire.media_types import UNKNOWN

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

IN_MEMORY: Final = 2**20
"""Bytes up to which they stay in memory."""

_READ: Final = 2**20


@dataclass(frozen=True)
class Asset:
    """Bytes and what they are; any number of readers may read them at a time.

    The fetched bytes of a reference or, as an artifact, those that a runtime produced. Large
    ones lie in a temporary file and are there until their job ends, on whatever thread they
    are read. Prefer `open` and `stream` to `data`, which holds all of them in memory.
    """

    content: bytes | BinaryIO = field(repr=False)
    """The bytes, or the file that holds them; owned by whoever made the asset."""
    media_type: str
    """Found from the bytes rather than from what the server said."""

    @property
    def size(self) -> int:
        """In bytes."""
        if isinstance(self.content, bytes):
            return len(self.content)
        return os.fstat(self.content.fileno()).st_size

    @property
    def is_a_file(self) -> bool:
        """Whether its bytes lie on disk, rather than in memory."""
        return not isinstance(self.content, bytes)

    @property
    def data(self) -> bytes:
        """All of it, in memory."""
        if isinstance(self.content, bytes):
            return self.content
        with self.open() as file:
            return file.read(self.size)

    def open(self) -> BinaryIO:
        """A file of its own to read it from; to be closed.

        Raises:
            ValueError: the job has ended, and the asset with it.
        """
        if isinstance(self.content, bytes):
            return io.BytesIO(self.content)
        return io.BufferedReader(_Reader(os.dup(self.content.fileno())))

    def close(self) -> None:
        """Give up the file, if there is one; what readers have open can still be read."""
        if not isinstance(self.content, bytes):
            self.content.close()

    async def stream(self, size: int) -> AsyncGenerator[bytes, None]:
        """Its bytes in pieces of that size, of which only the last may be smaller."""
        with self.open() as file:
            if isinstance(self.content, bytes):
                while piece := file.read(size):
                    yield piece
            else:
                while piece := await asyncio.to_thread(file.read, size):
                    yield piece


class Spool:
    """Takes in an asset's bytes as they come. What was written is gone once it is closed.

    A few bytes stay in memory and are there as long as their asset.

    Raises:
        Unavailable: the temporary folder takes no more (type ``disk_full``); the message
            continues the subject.
    """

    def __init__(self, subject: str = "") -> None:
        self.size = 0
        self._subject = subject
        self._buffer = io.BytesIO()
        self._file: BinaryIO | None = None
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self._closed = True
        if self._file is not None:
            self._file.close()

    def holds(self, asset: Asset) -> bool:
        """Whether the asset lies in this spool's file."""
        return self._file is not None and asset.content is self._file

    async def write(self, chunk: bytes) -> None:
        self.size += len(chunk)
        self._buffer.write(chunk)
        if self._buffer.tell() > IN_MEMORY:
            await asyncio.to_thread(self._flush)

    async def asset(self) -> Asset:
        """What was written, of a media type that nobody has looked for yet."""
        if self._file is None:
            return Asset(self._buffer.getvalue(), UNKNOWN)
        await asyncio.to_thread(self._flush)
        return Asset(self._file, UNKNOWN)

    def _flush(self) -> None:
        try:
            if self._file is None:
                # It has no name, so that even the end of the process leaves nothing behind.
                self._file = tempfile.TemporaryFile()  # noqa: SIM115  closed by `__exit__`
                if self._closed:  # given up while it was opened
                    self._file.close()
                    return
            self._file.write(self._buffer.getbuffer())
            self._file.flush()
        except OSError as error:
            raise Unavailable(
                f"{self._subject} cannot be kept on disk: {error.strerror or error}".lstrip(),
                type="disk_full",
            ) from error
        self._buffer = io.BytesIO()


class Spools:
    """The spools of a block, closed at its end but for those that are kept.

    with Spools() as spools:
        output = await painted(spools.new())
        spools.keep(output.artifacts)
    return output
    """

    def __init__(self) -> None:
        self._spools: list[Spool] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def new(self) -> Spool:
        """One more."""
        spool = Spool("An output")
        self._spools.append(spool)
        return spool

    def moved(self) -> "Spools":
        """All of them, for another block; this one's end closes none."""
        others = Spools()
        self._spools, others._spools = others._spools, self._spools
        return others

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """A block that may be repeated: where it fails, what it opened is closed."""
        with ExitStack() as undo:
            undo.callback(self._close_from, len(self._spools))
            yield
            undo.pop_all()

    def _close_from(self, place: int) -> None:
        for spool in self._spools[place:]:
            spool.close()
        del self._spools[place:]

    def keep(self, assets: Iterable[Asset]) -> None:
        """Leave these to others: whoever has them closes them."""
        kept = tuple(assets)
        self._spools = [
            spool for spool in self._spools if not any(spool.holds(asset) for asset in kept)
        ]

    def close(self) -> None:
        for spool in self._spools:
            spool.close()


class _Reader(io.RawIOBase):
    """Reads a file that others read too, from a position of its own."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        starts = {io.SEEK_SET: 0, io.SEEK_CUR: self._position}
        start = starts.get(whence, os.fstat(self._descriptor).st_size)
        self._position = max(0, start + offset)
        return self._position

    def readinto(self, buffer: "WriteableBuffer") -> int:
        view = memoryview(buffer).cast("B")
        data = os.pread(self._descriptor, min(len(view), _READ), self._position)
        view[: len(data)] = data
        self._position += len(data)
        return len(data)

    def close(self) -> None:
        if not self.closed:
            os.close(self._descriptor)
        super().close()
