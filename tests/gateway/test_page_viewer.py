"""Images, large, in a real browser."""

import pytest

from page_visit import Seen, visit_exhibition


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    return visit_exhibition("viewer", tmp_path_factory.mktemp("viewer"))


def test_an_image_opens_by_keyboard_with_the_settings_that_made_it(seen: Seen) -> None:
    assert seen["title"] == "a tall heron in the reeds <lora:ink:0.8>"
    facts = seen["facts"]
    assert facts["Negative prompt"] == "fog"
    assert facts["Seed"] == "77", "the one that made it, not the one that was asked for"
    assert (facts["Model"], facts["Model hash"]) == ("dreamy", "31e35c80fc")
    assert facts["LoRAs"] == "paper (0.5), ink (0.8)"
    assert (facts["Sampler"], facts["Schedule"]) == ("DPM++ 2M", "Karras")
    assert (facts["Steps"], facts["CFG scale"], facts["Size"]) == ("28", "6.5", "512 \u00d7 768")
    assert facts["hr_upscaler"] == "Latent", "what has no word of its own"
    assert facts["Runtime"] == "sdruntime"
    assert facts["Job"] == "page.heron"
    assert seen["own"].startswith("a heron\nNegative prompt")


def test_arrows_lead_through_the_images_of_all_jobs(seen: Seen) -> None:
    assert seen["first"] == "1 of 22"
    assert seen["second"] == ["2 of 22", "twelve hills"]
    assert seen["said"] == "2 of 22: image 1 of twelve hills"
    assert seen["last"] == "22 of 22"
    assert seen["lastForth"] is True
    assert seen["third"] == ["3 of 22", "101"]


def test_keys_make_it_larger_and_smaller_and_move_it(seen: Seen) -> None:
    assert seen["fitted"] == 100
    assert seen["zoomed"] == 225
    assert seen["smaller"] == 150
    assert seen["panned"] == 80


def test_the_mouse_makes_it_larger_and_smaller_and_moves_it(seen: Seen) -> None:
    assert seen["wheeled"] == seen["stillZoomed"] > 200
    assert seen["dragged"] == [90, 60]
    assert seen["clickedBack"] == 100
    assert seen["clicked"] == 200


def test_the_focus_stays_inside_and_comes_back_to_the_image_that_was_seen(seen: Seen) -> None:
    assert seen["inside"] is True
    assert seen["closed"] is True
    assert seen["focus"] == "Show image 2 of twelve hills"
    assert seen["filmFocus"] == "Details"


def test_it_is_downloaded_by_a_name_that_tells_what_it_is(seen: Seen) -> None:
    assert seen["file"] == ["a-tall-heron-in-the-reeds-seed77.png", "PNG"]


def test_its_link_opens_it_for_another_with_the_key(seen: Seen) -> None:
    assert seen["linkTold"] == "Copied. It opens here, for whoever has a key of the same name."
    assert seen["linked"] == seen["title"]


def test_the_link_to_the_file_needs_no_key(seen: Seen) -> None:
    assert seen["fileLink"].startswith("https://memory.invalid/images-results/output/page.heron/")


def test_films_are_seen_there_without_zoom(seen: Seen) -> None:
    assert seen["film"] is True
    assert seen["filmZoom"] is True


def test_the_same_once_more_goes_to_the_runtime_of_the_job(seen: Seen) -> None:
    assert seen["again"] == [202, "comfyruntime", True]


def test_fingers_swipe_and_close(seen: Seen) -> None:
    assert seen["swiped"] == ["2 of 22", "3 of 22", "2 of 22"]
    assert seen["tapped"] is True
    assert seen["overflow"] <= 0


def test_nothing_of_the_viewer_breaks_or_is_asked_of_other_hosts(seen: Seen) -> None:
    assert seen["outside"] == []
    assert seen["complaints"] == []
