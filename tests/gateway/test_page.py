"""The page, in a real browser: playwright-core from npm and a Chromium of the system."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from gateway_site import Site, client_of, opened_site
from queue_agent.gateway.keys import KeyFile, new_key
from queue_agent.testing.aws import EmbeddedCloud
from queue_agent.testing.process import ServerProcess

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parent.parent
PLAYWRIGHT: Final = Path(os.environ.get("PLAYWRIGHT", ROOT / ".venv" / "page"))
CHROMIUM: Final = os.environ.get("CHROMIUM") or shutil.which("chromium")


def missing() -> str | None:
    """What the browser's tests lack on this machine."""
    if shutil.which("node") is None:
        return "node is not installed"
    if CHROMIUM is None:
        return "chromium is not installed (on Debian: apt-get install chromium)"
    if not (PLAYWRIGHT / "node_modules" / "playwright-core").is_dir():
        return f"playwright-core is not in {PLAYWRIGHT} (make test installs it where npm is)"
    return None


@pytest.fixture(scope="module")
def slow_site(
    embedded_cloud: EmbeddedCloud, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    """One whose jobs run long enough for a browser to see them at it."""
    if (reason := missing()) is not None:
        pytest.skip(reason)
    with opened_site(embedded_cloud, tmp_path_factory.mktemp("page"), step=0.02) as site:
        yield site


@pytest.fixture(scope="module")
def visit(slow_site: Site, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a browser saw that used the page; its screenshots go to SCREENSHOTS if that is set."""
    key, entry = new_key("page")
    keys = tmp_path_factory.mktemp("keys") / "keys.json"
    keys.write_text(KeyFile(keys=(entry,)).model_dump_json())
    gateway = slow_site.start_gateway(QUEUE_AGENT_GATEWAY_KEYS_FILE=str(keys))
    folder = os.environ.get("SCREENSHOTS") or tmp_path_factory.mktemp("screenshots")
    done = subprocess.run(
        ["node", str(HERE / "page.mjs"), gateway.url, str(folder)],
        env={**os.environ, "PLAYWRIGHT": str(PLAYWRIGHT), "CHROMIUM": str(CHROMIUM), "KEY": key},
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr
    seen: dict[str, Any] = json.loads(done.stdout)
    return seen


def test_progress_and_the_image_are_seen_and_found_again_after_a_reload(
    visit: dict[str, Any],
) -> None:
    assert 0 < visit["progress"] < 1
    assert visit["width"] == visit["again"] == 256


def test_the_image_is_seen_while_it_is_worked_on_and_no_longer(visit: dict[str, Any]) -> None:
    assert visit["preview"] == 16, "as large as the fake Web UI draws it"
    assert visit["previewLeft"] is False


def test_a_job_is_asked_for_and_its_image_enlarged_by_keyboard(visit: dict[str, Any]) -> None:
    assert visit["enlarged"] is True


def test_a_variation_is_a_job_of_its_own(visit: dict[str, Any]) -> None:
    assert visit["otters"] == 2


def test_a_cancelled_job_stays_cancelled(visit: dict[str, Any]) -> None:
    assert visit["cancelled"] == 1


def test_a_failure_tells_its_reason(visit: dict[str, Any]) -> None:
    assert "nobody" in visit["reason"]


def test_nothing_is_asked_of_other_hosts_and_nothing_breaks(visit: dict[str, Any]) -> None:
    assert visit["outside"] == []
    assert visit["complaints"] == []


def test_all_text_has_enough_contrast_in_both_schemes(visit: dict[str, Any]) -> None:
    assert visit["contrast"] == []
    assert visit["contrastDark"] == []


def test_a_phone_shows_the_page_without_scrolling_sideways(visit: dict[str, Any]) -> None:
    assert visit["overflow"] <= 0


async def test_the_page_allows_itself_nothing_from_elsewhere(gateway: ServerProcess) -> None:
    async with client_of(gateway) as client:
        page = await client.get("/")
        parts = re.findall(r'(?:src|href)="(/static/[^"]+)"', page.text)
        assert len(parts) >= 3
        for part in parts:
            answer = await client.get(part)
            assert answer.status_code == 200
            assert answer.headers["x-content-type-options"] == "nosniff"
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "<style" not in page.text
    assert not re.search(r"<script(?![^>]*src=)", page.text)
    assert not re.search(r'\s(on\w+|style)="', page.text)
