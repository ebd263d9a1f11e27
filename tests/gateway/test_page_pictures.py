"""Images that the page asks for from images, in a real browser."""

import base64
import io
from typing import Any

import pytest
from PIL import Image
from pydantic import JsonValue

from gateway_site import Site
from page_visit import Seen, visit


@pytest.fixture(scope="module")
def seen(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Seen:
    files = {
        "TURNED": photograph(),
        "DOT": written(Image.new("RGB", (64, 64), "green")),
        "GREYS": written(Image.linear_gradient("L").resize((64, 64))),
    }
    given = {name: base64.b64encode(data).decode() for name, data in files.items()}
    return visit(site, "pictures", tmp_path_factory.mktemp("pictures"), **given)


def written(picture: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    data = io.BytesIO()
    picture.save(data, kind, **options)
    return data.getvalue()


def photograph() -> bytes:
    """Lying, with its upper left red, and a word to turn it to the right."""
    picture = Image.new("RGB", (60, 40), "blue")
    picture.paste("red", (0, 0, 20, 20))
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a secret place"
    return written(picture, "JPEG", exif=exif, quality=95)


def opened(url: JsonValue, mode: str = "RGB") -> Image.Image:
    assert isinstance(url, str)
    head, _, encoded = url.partition(",")
    assert head in {"data:image/png;base64", "data:image/jpeg;base64"}
    return Image.open(io.BytesIO(base64.b64decode(encoded))).convert(mode)


def painted(url: JsonValue, *places: tuple[int, int]) -> list[bool]:
    mask = opened(url, "L")
    assert set(mask.get_flattened_data()) <= {0, 255}
    return [mask.getpixel(place) == 255 for place in places]


def test_a_chosen_picture_is_sent_whole_with_its_strength_and_proportions(seen: Seen) -> None:
    assert seen["chosen"]["facts"].startswith("shore.png · 300")
    content = seen["plain"]
    (picture,) = content["init_images"]
    assert opened(picture).size == (300, 200)
    assert opened(picture).getpixel((5, 5)) == (255, 0, 0)
    assert content["denoising_strength"] == 0.4
    assert seen["chosen"]["size"] == ["512", "344"]
    assert (content["width"], content["height"]) == (512, 344)
    assert "mask" not in content


def test_what_is_painted_over_it_is_the_mask(seen: Seen) -> None:
    mask = seen["masked"]["mask"]
    assert opened(mask).size == (300, 200)
    across, above, middle, erased, under = (100, 100), (150, 30), (150, 100), (255, 100), (150, 180)
    assert painted(mask, across, above) == [True, True]
    assert painted(mask, middle) == [True], "the eraser's first stroke is undone"
    assert painted(mask, erased, under) == [False, False]


def test_a_cleared_mask_is_none(seen: Seen) -> None:
    assert seen["cleared"] is False


def test_the_keyboard_paints(seen: Seen) -> None:
    assert painted(seen["byKeyboard"]["mask"], (130, 100), (100, 100)) == [True, False]


def test_settings_used_once_more_have_picture_and_mask(seen: Seen) -> None:
    assert seen["used"] == {**seen["masked"], "seed": -1}
    assert seen["usedFacts"].startswith("of that job")
    mask = seen["usedPainted"]["mask"]
    assert painted(mask, (100, 100), (255, 100), (45, 190)) == [True, False, True]


def test_pictures_and_masks_of_other_clients_stay_as_they_were(seen: Seen) -> None:
    assert seen["foreignAgain"] == seen["foreign"]


def test_a_picture_is_dropped_or_pasted(seen: Seen) -> None:
    assert seen["pasted"]["facts"].startswith("pasted.png")
    assert seen["pasted"]["size"] == ["344", "512"]
    assert seen["dropped"]["size"] == ["512", "256"]


def test_an_image_that_was_made_is_where_others_start(seen: Seen) -> None:
    assert "512" in seen["started"]["facts"]
    assert "344" in seen["started"]["facts"]
    assert seen["started"]["size"] == ["512", "344"]
    assert seen["started"]["viewer"] is False


def test_a_large_picture_is_scaled_down(seen: Seen) -> None:
    assert "scaled down from 3000" in seen["dropped"]["facts"]
    assert "2048" in seen["dropped"]["facts"]


def test_a_photograph_is_sent_as_it_stands_and_without_what_it_tells(seen: Seen) -> None:
    (url,) = seen["photograph"]["init_images"]
    picture = opened(url)
    assert picture.size == (40, 60)
    red, _, blue = picture.getpixel((35, 5))  # type: ignore[misc]
    assert (red > 200, blue < 100) == (True, True), "turned"
    assert b"secret" not in base64.b64decode(url.partition(",")[2])


def test_what_is_no_picture_or_too_large_is_refused_in_words(seen: Seen) -> None:
    assert seen["noPicture"].startswith("This is no picture that the browser can read")
    assert seen["stillThere"].startswith("pasted.png")
    assert seen["removed"] is False
    assert seen["tooLarge"] == "This picture is too large: the gateway takes 3 kB in a request."
    assert seen["tooMuch"] == (
        "This is 5 kB, and the gateway takes 3 kB at most: choose smaller files."
    )
    assert seen["sentTooMuch"] == 0


def test_only_runtimes_that_make_images_from_images_are_asked_to(seen: Seen) -> None:
    assert seen["offered"] is False
    assert seen["notOffered"].startswith("This runtime makes no images from images")


def test_a_finger_paints_on_a_phone(seen: Seen) -> None:
    assert painted(seen["touched"]["mask"], (100, 75), (100, 225)) == [True, False]
    assert seen["phoneOverflow"] <= 0


def test_nothing_of_it_breaks_or_is_asked_of_other_hosts(seen: Seen) -> None:
    assert seen["outside"] == []
    assert seen["complaints"] == []
