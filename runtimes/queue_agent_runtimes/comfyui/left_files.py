"""What jobs leave in ComfyUI's folders, and its removal where the agent shares them.

ComfyUI removes none of it and has no route by which others could. Of a job are: the folder of its
uploads; files whose names begin with its tag, as those of all save nodes do; and other files that
the history names for its prompt, which were written while it was executed.
"""

import posixpath
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

import structlog
from pydantic import JsonValue

from queue_agent.runtime.shared_folder import SharedFile, SharedFolder
from queue_agent_runtimes.comfyui.history import executed
from queue_agent_runtimes.comfyui.outputs import FileRecord, find_outputs
from queue_agent_runtimes.comfyui.workflow import Graph, prefix_folders

UPLOADS: Final = "queue-agent"
"""The folder, in whichever of ComfyUI's, that holds one folder for the uploads of each job."""
SWEEP: Final = 600.0
"""Seconds between two looks for what was left behind."""
_LONGEST: Final = 3600.0
"""Seconds for which may stay what no job of this agent's has any more."""
_SHORTEST: Final = 600.0
"""Seconds for which it stays also where there is much of it."""
_MOST_BYTES: Final = 2 * 2**30
"""So much of it stays for longer."""
_PRODUCTS: Final = ("output", "temp")
_TAGGED: Final = re.compile(r"(?:.*\\)?([0-9a-f]{16})-[0-9a-f]{8}-")
"""Backslashes are of prefixes for Windows servers, and elsewhere a part of the name."""
_UPLOADED: Final = re.compile(rf"(?:.*/)?{UPLOADS}/([0-9a-f]{{16}})/[^/]+")
_SLACK: Final = 0.1
"""Seconds by which a file's time may be off from the server's: kernels look at a coarse clock."""
_log = structlog.get_logger(__name__)


@dataclass
class Traces:
    """What one job is known to have left."""

    tag: str
    uploads: set[str] = field(default_factory=set)
    """Folders, by their paths."""
    folders: set[str] | None = None
    """In which its save nodes put files; None: not known, as of jobs of a killed agent."""
    named: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Paths that the history names, and when the prompt was executed."""
    prompts: set[str] = field(default_factory=set)
    """Ids of prompts that may have an entry in the history."""
    awaited: bool = False
    """Whether a prompt has ended well, and its outputs could not be fetched."""

    def saved_by(self, graph: Graph) -> None:
        """Save nodes of this graph may put files somewhere."""
        self.folders = {"", *(self.folders or ()), *prefix_folders(graph)}

    def named_in(self, entry: Mapping[str, JsonValue]) -> None:
        """A prompt has this entry in the history.

        Nodes that were not executed again name files that others may have still.
        """
        told = executed(entry)
        if told.span is None:
            return
        for found in find_outputs(entry):
            record = found.value
            if not isinstance(record, FileRecord) or record.type not in _PRODUCTS:
                continue
            if not told.remembered(found.node_id):
                self.named[_path_of(record)] = told.span


class LeftFiles:
    """Those in the folders of one server: its `output`, `temp` and `input` lie in the shared one.

    All methods wait for the disk: call them in a thread.
    """

    def __init__(self, folder: SharedFolder, now: Callable[[], float] = time.time) -> None:
        self._folder = folder
        self._now = now

    def remove(self, traces: Traces) -> None:
        """Remove all that a job has left.

        Raises:
            OSError: something may not be removed.
        """
        for uploads in traces.uploads | {f"input/{UPLOADS}/{traces.tag}"}:
            self._folder.remove_folder(uploads)
        for file in self._tagged(traces):
            self._folder.remove(file.path)
        for path, (began, ended) in traces.named.items():
            found = self._folder.find(path)
            if found and began - _SLACK <= found.written <= ended + _SLACK:
                self._folder.remove(path)

    def sweep(self, held: set[str]) -> None:
        """Remove what was left behind: by agents that were killed, and by prompts that went on.

        That is what has been there for an hour; and the oldest of the rest, up to ten minutes
        ago, while there is more than 2 GiB of it. `held` are the tags of jobs under way here.

        Raises:
            OSError: something may not be removed.
        """
        left = sorted(self._left(held), key=lambda file: file.written)
        total, now = sum(file.size for file in left), self._now()
        for file in left:
            age = now - file.written
            if age < _SHORTEST or (age < _LONGEST and total <= _MOST_BYTES):
                break
            self._folder.remove(file.path)
            total -= file.size
            if _UPLOADED.fullmatch(file.path):
                self._folder.remove_empty_folder(posixpath.dirname(file.path))
            _log.info("removed_what_was_left_behind", path=file.path, seconds=round(age))

    def _tagged(self, traces: Traces) -> Iterator[SharedFile]:
        for kind in _PRODUCTS:
            for file in (
                self._folder.walk(kind) if traces.folders is None else self._in(kind, traces)
            ):
                if _tag_of(file) == traces.tag:
                    yield file

    def _in(self, kind: str, traces: Traces) -> Iterator[SharedFile]:
        for folder in traces.folders or ():
            yield from self._folder.files(posixpath.join(kind, folder).rstrip("/"))

    def _left(self, held: set[str]) -> Iterator[SharedFile]:
        """Files of jobs of whatever agent, but for those that are held here."""
        for kind in _PRODUCTS:
            for file in self._folder.walk(kind):
                if (tag := _tag_of(file)) and tag not in held:
                    yield file
        for kind in ("input", *_PRODUCTS):
            for file in self._folder.walk(kind):
                found = _UPLOADED.fullmatch(file.path)
                if found and found[1] not in held:
                    yield file


def _tag_of(file: SharedFile) -> str | None:
    """The tag of the job that a file's name begins with."""
    found = _TAGGED.match(file.name)
    return found[1] if found else None


def _path_of(record: FileRecord) -> str:
    return "/".join(filter(None, (record.type, record.subfolder.strip("/"), record.filename)))
