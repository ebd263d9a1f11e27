"""The tutorial's package, taken out of its page, installed and used as a stranger would."""

import os
import re
import secrets
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from harness import scene
from queue_agent.testing.aws import EmbeddedCloud
from queue_agent.testing.process import ServerProcess

PAGE: Final = Path(__file__).parents[2] / "docs" / "adding-a-runtime.md"
FILE: Final = re.compile(r"^\*\*`([^`]+)`\*\*\n\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Package:
    """The tutorial's files, and where they have been installed."""

    sources: Path
    installed: Path

    @property
    def server(self) -> ServerProcess:
        return ServerProcess(
            [sys.executable, str(self.sources / "tests/paintbox_server.py"), "{port}"]
        )

    @property
    def path(self) -> str:
        """Where programs look first, and then where this one does."""
        return os.pathsep.join([str(self.installed), os.environ.get("PYTHONPATH", "")]).rstrip(
            os.pathsep
        )

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A Python program that finds the installed package, and not its sources."""
        inherited = {name: value for name, value in os.environ.items() if "PYTEST" not in name}
        return subprocess.run(
            [sys.executable, "-P", *arguments],
            cwd=self.sources,
            env={**inherited, "PYTHONPATH": self.path},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Package:
    sources, installed = (tmp_path_factory.mktemp(name) for name in ("sources", "installed"))
    for name, text in FILE.findall(PAGE.read_text()):
        path = sources / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    offline = ["--no-index", "--no-deps", "--no-build-isolation", "--disable-pip-version-check"]
    install = [sys.executable, "-m", "pip", "install", *offline, "--target"]
    subprocess.run([*install, installed, sources], check=True, stdout=subprocess.PIPE)
    return Package(sources, installed)


def test_the_page_holds_the_files_that_it_names(package: Package) -> None:
    tree = re.findall(r"^ +[│ ]*[├└]── (\S+\.\w+) ", PAGE.read_text(), re.MULTILINE)
    found = {path.name for path in package.sources.rglob("*.*") if path.suffix in {".py", ".toml"}}
    assert set(tree) == found
    assert len(found) == 4


def test_the_installed_package_holds_the_adapter_alone(package: Package) -> None:
    assert [path.name for path in package.installed.glob("*.py")] == ["paintbox_runtime.py"]


def test_the_adapter_is_listed_with_its_task_types(package: Package) -> None:
    listing = package.run("-m", "queue_agent", "runtimes").stdout
    (line,) = (line for line in listing.splitlines() if line.startswith("paintbox "))
    assert line.split(maxsplit=1)[1] == "image-to-image, text-to-image"
    assert "webui " in listing


def test_the_adapter_keeps_the_contract(package: Package) -> None:
    tested = package.run("-m", "pytest", "-p", "no:cacheprovider", "--quiet")
    assert tested.returncode == 0, tested.stdout[-8000:]
    passed = re.search(r"(\d+) passed", tested.stdout)
    assert passed
    assert int(passed[1]) > 30
    assert "skipped" not in tested.stdout


async def test_a_job_is_done_by_the_tutorials_runtime(
    package: Package, embedded_cloud: EmbeddedCloud, tmp_path: Path
) -> None:
    with package.server as server:
        settings = {
            "QUEUE_AGENT_RUNTIME": "paintbox",
            "QUEUE_AGENT_RUNTIME_URL": server.url,
            "PYTHONPATH": package.path,
        }
        name = f"paintbox-{secrets.token_hex(4)}"
        async with scene(embedded_cloud, name, tmp_path, settings) as stage:
            stage.start_agent()
            await stage.publish(stage.job("first"))
            answer = await stage.answer("first")
            assert answer["status"] == "completed", answer["error"]
            (image,) = answer["images"]
            assert (image["media_type"], image["seed"]) == ("image/png", 1)
            assert (image["width"], image["height"]) == (64, 64)
            assert (await stage.manifest(answer))["response"]["steps"] == 2
