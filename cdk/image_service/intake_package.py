"""What the function behind the HTTP front is made of, put together when the app is synthesised.

Its own modules, the agent's formats (`queue_agent.wire`, so that jobs are read here as there), and
pydantic. botocore is Lambda's own.
"""

import compileall
import re
import shutil
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path
from py_compile import PycInvalidationMode
from typing import Final, Literal

from image_service.versions import LAMBDA_PYTHON, LAMBDA_WHEELS

ROOT: Final = Path(__file__).resolve().parents[2]

REQUIREMENTS: Final = ROOT / "requirements" / "intake.txt"
"""The libraries, each with its version and the hashes of its files."""

Libraries = Literal["lambda", "installed"]
"""Wheels downloaded for Lambda's platform, or copied from this environment (no network)."""


def shared_modules() -> list[Path]:
    """The agent's modules that go along: the formats, which need nothing but pydantic."""
    package = ROOT / "queue_agent"
    return [package / "__init__.py", *sorted((package / "wire").glob("*.py"))]


def libraries_of(requirements: str) -> list[str]:
    """The names that a file of requirements pins."""
    return re.findall(r"(?m)^([\w.-]+)==", requirements)


def build(folder: Path, libraries: Libraries) -> None:
    """Fill the folder with the function's package."""
    for file in shared_modules():
        _copy(file, folder / file.relative_to(ROOT))
    for file in (ROOT / "cdk" / "intake").glob("*.py"):
        _copy(file, folder / "intake" / file.name)
    if libraries == "lambda":
        _download(folder)
    else:
        _copy_installed(folder)
    # The function's disk is read-only: without bytecode, each cold start would compile it all.
    compileall.compile_dir(
        folder,
        quiet=1,
        stripdir=str(folder),
        prependdir="/var/task",
        invalidation_mode=PycInvalidationMode.UNCHECKED_HASH,
    )


def _download(folder: Path) -> None:
    subprocess.run(  # noqa: S603  our own arguments
        [
            sys.executable, "-m", "pip", "install", "--quiet", "--no-compile",
            "--target", str(folder), "--no-deps", "--only-binary", ":all:",
            "--implementation", "cp", "--python-version", "{}.{}".format(*LAMBDA_PYTHON),
            "--platform", LAMBDA_WHEELS,
            "--require-hashes", "--requirement", str(REQUIREMENTS),
        ],
        check=True,
    )  # fmt: skip
    for metadata in folder.glob("*.dist-info"):
        shutil.rmtree(metadata)


def _copy_installed(folder: Path) -> None:
    for library in libraries_of(REQUIREMENTS.read_text()):
        for file in distribution(library).files or ():
            if ".dist-info" not in file.parts[0] and file.suffix != ".pyc":
                _copy(Path(str(file.locate())), folder / file)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
