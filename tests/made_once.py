"""What several workers of one run need and one of them makes for all, in a folder of the run."""

import atexit
import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

FOLDER: Final = "TESTS_FOLDER_OF_RUN"
"""The variable by which workers are told the folder of their run; no setting of the agent."""


def open_run() -> None:
    """Make the folder of the run, unless a run that started this process has one."""
    if FOLDER not in os.environ:
        os.environ[FOLDER] = folder = tempfile.mkdtemp(prefix="queue-agent-tests-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)


def made_once(name: str, make: Callable[[Path], object]) -> Path:
    """The run's folder of that name, filled by whoever asks first while all others wait."""
    open_run()
    folder = Path(os.environ[FOLDER]) / name
    complete = folder.with_name(f"{name}.complete")
    with folder.with_name(f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not complete.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            make(folder)
            complete.touch()
    return folder
