"""Galleries load small files until somebody wants the whole ones, in a real browser."""

import pytest

from page_visit import Seen, visit_exhibition


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    return visit_exhibition("thumbnails", tmp_path_factory.mktemp("thumbnails"))


def test_a_gallery_of_fifty_large_pictures_loads_less_than_a_megabyte(seen: Seen) -> None:
    assert seen["thumbnails"] == 50
    assert seen["wholeFiles"] == 0
    assert 100_000 < seen["bytes"] < 1_000_000


def test_a_placeholder_is_seen_until_the_picture_is(seen: Seen) -> None:
    assert seen["placeholders"] > 0
    assert seen["blurredOnceLoaded"] == 0


def test_what_is_enlarged_is_the_file_itself(seen: Seen) -> None:
    assert (seen["width"], seen["enlarged"]) == (512, 1024)


def test_nothing_breaks(seen: Seen) -> None:
    assert seen["complaints"] == []
    assert seen["outside"] == []
