"""A folder that a runtime writes to and the agent shares: looked into and cleared, never left.

Names in it may be made up by jobs. Whatever they are, nothing outside of it is touched: each step
of a path is opened by itself and not followed if it is a link, also one that was put there
meanwhile, and no step leads up.
"""

import errno
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

__all__ = ["SharedFile", "SharedFolder"]

_DEEPEST: Final = 64
"""Folders below each other that `SharedFolder.walk` enters."""
_NO_FOLDER: Final = frozenset({errno.ENOTDIR, errno.ELOOP})
"""A step that is to be a folder is a file or a link."""


@dataclass(frozen=True)
class SharedFile:
    """A file that was found."""

    path: str
    """From the shared folder, with slashes."""
    size: int
    """In bytes."""
    written: float
    """When it was last written to, in seconds since the epoch by the clock of its file system."""

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]


class SharedFolder:
    """One such folder; paths are from there. What is not there, or is a link, is passed over.

    Its methods wait for the disk: call them in a thread.

    Raises:
        OSError: from `open`, and from all methods that remove, where the agent may not.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def files(self, folder: str) -> list[SharedFile]:
        """The files that lie in a folder, not those in folders below it."""
        return [file for file in self._entries(folder) if isinstance(file, SharedFile)]

    def walk(self, folder: str) -> Iterator[SharedFile]:
        """All files in a folder and below it, in no order."""
        waiting = [folder]
        while waiting:
            for entry in self._entries(waiting.pop()):
                if isinstance(entry, SharedFile):
                    yield entry
                elif entry.count("/") < _DEEPEST:
                    waiting.append(entry)

    def find(self, path: str) -> SharedFile | None:
        """The file of that path."""
        with suppress(OSError, ValueError), self._opened(path) as (folder, name):
            found = os.stat(name, dir_fd=folder, follow_symlinks=False)
            if stat.S_ISREG(found.st_mode):
                return SharedFile(path, found.st_size, found.st_mtime)
        return None

    def open(self, path: str) -> BinaryIO:
        """The file of that path, to be read and closed.

        Raises:
            OSError: there is none, or the agent may not read it.
            ValueError: the path leads out of the folder.
        """
        with self._opened(path) as (folder, name):
            # a pipe would be waited for
            file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
        if not stat.S_ISREG(os.fstat(file).st_mode):
            os.close(file)
            raise FileNotFoundError(errno.ENOENT, "no file", path)
        return os.fdopen(file, "rb")

    def remove(self, path: str) -> None:
        """Remove a file."""
        with suppress(FileNotFoundError, ValueError, _Elsewhere), self._opened(path) as place:
            folder, name = place
            if stat.S_ISREG(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
                os.unlink(name, dir_fd=folder)

    def remove_folder(self, path: str) -> None:
        """Remove a folder with all that is in it; of links the links, not what they lead to."""
        with suppress(FileNotFoundError, ValueError, _Elsewhere), self._opened(path) as place:
            folder, name = place
            if stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
                shutil.rmtree(name, dir_fd=folder)

    def remove_empty_folder(self, path: str) -> None:
        """Remove a folder in which nothing is."""
        with suppress(OSError, ValueError), self._opened(path) as (folder, name):
            os.rmdir(name, dir_fd=folder)

    def _entries(self, folder: str) -> "list[SharedFile | str]":
        """Files, and the paths of folders."""
        found: list[SharedFile | str] = []
        with (
            suppress(OSError, ValueError),
            self._folder(_steps(folder)) as opened,
            os.scandir(opened) as entries,
        ):
            for entry in entries:
                path = f"{folder}/{entry.name}"
                if entry.is_dir(follow_symlinks=False):
                    found.append(path)
                elif entry.is_file(follow_symlinks=False):
                    with suppress(FileNotFoundError):
                        facts = entry.stat(follow_symlinks=False)
                        found.append(SharedFile(path, facts.st_size, facts.st_mtime))
        return found

    @contextmanager
    def _opened(self, path: str) -> Iterator[tuple[int, str]]:
        """The folder that a path leads to, opened, and the name in there."""
        *folders, name = _steps(path)
        with self._folder(folders) as folder:
            yield folder, name

    @contextmanager
    def _folder(self, steps: list[str]) -> Iterator[int]:
        folder = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            for step in steps:
                try:
                    inner = os.open(
                        step, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder
                    )
                except OSError as error:
                    if error.errno in _NO_FOLDER:
                        raise _Elsewhere from error
                    raise
                os.close(folder)
                folder = inner
            yield folder
        finally:
            os.close(folder)


class _Elsewhere(OSError):
    """A step is a link, or no folder."""


def _steps(path: str) -> list[str]:
    """The names in a path.

    Raises:
        ValueError: it leads up, begins at the root, or names nothing.
    """
    steps = path.split("/")
    if any(step in {"", ".", ".."} or "\0" in step for step in steps):
        raise ValueError("no path within the folder")
    return steps
