"""What a package index is given: it shows itself well, is whole, and is enough to start with."""

import subprocess
import sys
import venv
import zipfile
from collections.abc import Iterator
from email.parser import Parser
from html.parser import HTMLParser
from importlib import metadata
from pathlib import Path, PurePosixPath

import pytest
from packaging.requirements import Requirement
from readme_renderer import markdown

PROJECT = Path(__file__).parents[2]


class Page(HTMLParser):
    """Collects what a page says, and what it links to or shows from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.text = ""
        self.anchors: set[str] = set()

    def handle_starttag(self, _tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.addresses += [value or "" for name, value in attrs if name in {"href", "src"}]
        self.anchors |= {f"#{value}" for name, value in attrs if name == "id"}

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of a fresh environment, in which is what pip installs without an extra."""
    environment = tmp_path_factory.mktemp("environment")
    venv.create(environment, symlinks=True)
    python = environment / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
    subprocess.run([*pip, "--no-deps", "--no-index", str(wheel)], check=True)
    (packages,) = environment.glob("lib/python*/site-packages")
    for found in required("sd-queue-agent"):
        place = packages / found.name
        if not place.exists():
            place.symlink_to(found)
    return python.parent


def required(name: str) -> Iterator[Path]:
    """The files and folders of all that a distribution requires without extras."""
    seen, waiting = {name}, [Requirement(name)]
    while waiting:
        wanted = waiting.pop()
        for line in metadata.requires(wanted.name) or ():
            needed = Requirement(line)
            extras = wanted.extras or {""}
            applies = not needed.marker or any(needed.marker.evaluate({"extra": e}) for e in extras)
            if applies and str(needed) not in seen:
                seen.add(str(needed))
                waiting.append(needed)
                yield from places(metadata.distribution(needed.name))


def places(distribution: metadata.Distribution) -> set[Path]:
    tops = {PurePosixPath(str(file)).parts[0] for file in distribution.files or ()}
    return {Path(str(distribution.locate_file(top))) for top in tops if top != ".."}


def described(built: Path) -> str:
    """What an index shows of a distribution."""
    with zipfile.ZipFile(built) as archive:
        (path,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        headers = Parser().parsestr(archive.read(path).decode())
    assert headers["Description-Content-Type"] == "text/markdown"
    text = headers.get_payload()
    assert isinstance(text, str)
    return text


def shown(text: str) -> Page:
    html = markdown.render(text)
    assert html
    page = Page()
    page.feed(html)
    return page


def test_an_index_shows_the_readme_with_no_link_that_leads_nowhere_there(wheel: Path) -> None:
    page = shown(described(wheel))
    assert "#user-content-use-it" in page.anchors
    elsewhere = set(page.addresses) - page.anchors
    assert [address for address in elsewhere if not address.startswith("https://")] == []


def test_an_index_shows_all_words_of_the_readme(wheel: Path) -> None:
    readme = (PROJECT / "README.md").read_text()
    assert shown(described(wheel)).text.split() == shown(readme).text.split()


def test_the_sdist_is_the_repository(unpacked: Path) -> None:
    if not (PROJECT / ".git").exists():
        pytest.skip("no clone")
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=PROJECT,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    files = {line for line in listed.stdout.splitlines() if (PROJECT / line).exists()}
    assert {"Makefile", "docs/index.md", "tests/conftest.py"} <= files
    found = {str(path.relative_to(unpacked)) for path in unpacked.rglob("*") if path.is_file()}
    assert found == files | {"PKG-INFO"}


def test_a_wheel_of_the_sdist_is_that_of_the_repository(wheel: Path, wheel_of_sdist: Path) -> None:
    assert contents(wheel_of_sdist) == contents(wheel)


def contents(built: Path) -> dict[str, int]:
    with zipfile.ZipFile(built) as archive:
        return {entry.filename: entry.CRC for entry in archive.infolist()}


def run(installed: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [installed / "queue-agent", *arguments],
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_without_an_extra_the_command_runs(installed: Path) -> None:
    done = run(installed, "--version")
    assert (done.returncode, done.stdout) == (
        0,
        f"queue-agent {metadata.version('sd-queue-agent')}\n",
    )
    assert "webui" in run(installed, "runtimes").stdout


@pytest.mark.parametrize(
    ("command", "extra"),
    [
        (["demo"], "demo"),
        (["gateway"], "gateway"),
        (["serve-diffusers", "--model=tiny"], "diffusers"),
    ],
    ids=lambda it: it[0],
)
def test_a_command_that_needs_an_extra_names_it_in_one_line(
    installed: Path, command: list[str], extra: str
) -> None:
    done = run(installed, *command)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert f"pip install 'sd-queue-agent[{extra}]'" in done.stderr
