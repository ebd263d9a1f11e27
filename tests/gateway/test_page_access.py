"""What axe-core says of the page in each of its states."""

import pytest

from page_visit import Seen, visit_exhibition


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    return visit_exhibition("access", tmp_path_factory.mktemp("access"))


def test_nothing_serious_is_found_at_any_size_and_in_any_scheme(seen: Seen) -> None:
    assert seen["states"] == 48
    assert seen["faults"] == []


def test_nothing_breaks_on_the_way(seen: Seen) -> None:
    assert seen["outside"] == []
    assert seen["complaints"] == []
