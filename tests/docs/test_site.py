"""The documentation's site builds without a warning and asks nothing of other hosts."""

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Final

import pytest

PROJECT: Final = Path(__file__).parents[2]
ROLES: Final = [
    "How to publish",
    "How to be told",
    "How to operate",
    "How to add a runtime",
    "How to contribute",
]
LOADED: Final = {"img": "src", "script": "src", "iframe": "src", "source": "src"}
LOADED_LINKS: Final = {"stylesheet", "icon", "preload", "preconnect", "modulepreload"}


class Assets(HTMLParser):
    """Collects what a browser loads to show a page."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag in LOADED:
            self.addresses.append(given.get(LOADED[tag]) or "")
        if tag == "link" and LOADED_LINKS & set((given.get("rel") or "").split()):
            self.addresses.append(given.get("href") or "")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder],
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stdout
    return folder


def pages(site: Path) -> list[Path]:
    return sorted(site.rglob("*.html"))


def test_the_site_is_read_by_role(site: Path) -> None:
    tabs = re.findall(r'class="md-tabs__link">\s*([^<]*?)\s*<', (site / "index.html").read_text())
    assert [tab for tab in tabs if tab in ROLES] == ROLES


def test_no_page_loads_anything_from_another_host(site: Path) -> None:
    foreign = {}
    for page in pages(site):
        assets = Assets()
        assets.feed(page.read_text())
        assert assets.addresses
        found = [address for address in assets.addresses if "//" in address]
        if found:
            foreign[page.name] = found
    assert foreign == {}


def test_no_style_loads_anything_from_another_host(site: Path) -> None:
    styles = sorted(site.rglob("*.css"))
    assert styles
    foreign = re.compile(r"(?:url\(|@import)\s*[\"']?(?:https?:)?//")
    assert [style.name for style in styles if foreign.search(style.read_text())] == []


def test_links_that_leave_the_documentation_lead_to_pages_of_the_site(site: Path) -> None:
    reliability = (site / "reliability.html").read_text()
    link = re.search(r'href="([^"]*test_kills\.py\.html)"', reliability)
    assert link
    assert ">test_" in (site / link[1]).read_text()
    assert 'href="cdk/index.html"' in (site / "operating.html").read_text()


def test_the_reference_shows_what_the_docstrings_say(site: Path) -> None:
    client = (site / "reference" / "api" / "client.html").read_text()
    assert 'id="queue_agent.client.Client.submit"' in client
    assert "no agent would understand the job" in client


@pytest.mark.parametrize(
    "page",
    sorted({*(PROJECT / "docs").rglob("*.md"), *PROJECT.glob("*.md")}),
    ids=lambda page: str(page.relative_to(PROJECT)),
)
def test_lists_in_lists_are_indented_by_four_as_the_sites_markdown_wants(page: Path) -> None:
    prose = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    assert re.findall(r"^ {1,3}(?:[-*]|\d+\.) .*", prose, re.MULTILINE) == []
