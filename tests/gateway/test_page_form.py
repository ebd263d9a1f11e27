"""What the page asks for jobs by, in a real browser."""

import pytest

from gateway_site import Site
from page_visit import Seen, visit


@pytest.fixture(scope="module")
def seen(slow_site: Site, tmp_path_factory: pytest.TempPathFactory) -> Seen:
    return visit(slow_site, "form", tmp_path_factory.mktemp("form"))


def test_what_the_fields_say_is_what_the_job_asks_for(seen: Seen) -> None:
    assert "512 · 3 steps" in seen["settings"]
    assert "without fog" in seen["settings"]


def test_nothing_of_the_form_breaks_or_is_asked_of_other_hosts(seen: Seen) -> None:
    assert seen["outside"] == []
    assert seen["complaints"] == []
