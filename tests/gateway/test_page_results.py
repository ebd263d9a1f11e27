"""What the page shows of jobs, in a real browser."""

import pytest

from gateway_site import Site
from page_visit import Seen, visit


@pytest.fixture(scope="module")
def seen(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Seen:
    return visit(site, "results", tmp_path_factory.mktemp("results"))


def test_progress_and_the_image_are_seen_and_found_again_after_a_reload(
    seen: Seen,
) -> None:
    assert 0 < seen["progress"] < 1
    assert seen["width"] == seen["again"] == 256


def test_the_image_is_seen_while_it_is_worked_on_and_no_longer(seen: Seen) -> None:
    assert seen["preview"] == 16, "as large as the fake Web UI draws it"
    assert seen["previewLeft"] is False


def test_a_job_is_asked_for_and_its_image_enlarged_by_keyboard(seen: Seen) -> None:
    assert seen["enlarged"] is True


def test_a_variation_is_a_job_of_its_own(seen: Seen) -> None:
    assert seen["otters"] == 2


def test_a_cancelled_job_stays_cancelled(seen: Seen) -> None:
    assert seen["cancelled"] == 1


def test_a_failure_tells_its_reason(seen: Seen) -> None:
    assert "nobody" in seen["reason"]


def test_nothing_is_asked_of_other_hosts_and_nothing_breaks(seen: Seen) -> None:
    assert seen["outside"] == []
    assert seen["complaints"] == []


def test_all_text_has_enough_contrast_in_both_schemes(seen: Seen) -> None:
    assert seen["contrast"] == []
    assert seen["contrastDark"] == []


def test_a_phone_shows_the_page_without_scrolling_sideways(seen: Seen) -> None:
    assert seen["overflow"] <= 0
