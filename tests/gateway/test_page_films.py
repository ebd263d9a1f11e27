"""Videos and 3D models from the page's form to its player, in a real browser."""

import asyncio
import base64
from typing import Final

import pytest

from film_studio import WEBM, Studio, open_studio
from page_visit import Seen, missing, use
from queue_agent.runtime import Artifact
from queue_agent.testing import sample_png
from worker_bench import NAME

PICTURE: Final = sample_png(64, 48)


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    if (reason := missing()) is not None:
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("films")

    async def look() -> Seen:
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(Studio, "film", Artifact(WEBM, "video/webm", seed=7))
            async with open_studio(folder, patched) as (_, url):
                picture = base64.b64encode(PICTURE).decode()
                return await asyncio.to_thread(use, url, "films", folder, PICTURE=picture)

    return asyncio.run(look())


def test_what_the_runtime_makes_is_there_to_choose_with_its_own_fields(seen: Seen) -> None:
    assert seen["kinds"] == ["Image", "Video", "3D model"]
    of_images, of_videos = {*seen["imageFields"]}, {*seen["videoFields"]}
    assert of_images - of_videos == {"Sampler", "Batch size"}
    assert of_videos - of_images == {"Seconds", "FPS"}
    assert {*seen["meshFields"]} & {"Width", "Seconds", "Batch size", "Denoising strength"} == set()
    assert seen["leftToTheModel"] == [""] * 4
    assert seen["usualAgain"] == ["512", "512", "20", "7"]


def test_a_video_is_asked_for_by_words(seen: Seen) -> None:
    assert seen["fromWords"] == {
        "metadata": {"runtime": NAME, "tasktype": "text-to-video"},
        "content": {"prompt": "a boat in the rain", "seconds": 1.5, "fps": 8, "seed": 7},
    }


def test_it_hangs_in_the_gallery_with_its_poster_and_plays_there(seen: Seen) -> None:
    assert seen["hung"] == 1, "the poster is no picture of its own"
    assert seen["poster"] == [128, 96]
    assert seen["plays"] == [128, True, "metadata", 1.5, True]
    assert seen["ranges"], "the browser asks for parts of it"
    assert "1.5 s" in seen["settings"]


def test_the_viewer_plays_it_and_tells_of_it(seen: Seen) -> None:
    assert seen["viewed"] == [128, True, "metadata", 1.5, True]
    assert seen["count"] == "1 of 1"
    told = [seen["facts"][name] for name in ("Size", "Length", "Frames", "Codec")]
    assert told == ["128 \N{MULTIPLICATION SIGN} 96", "1.5 s", "12, 8 a second", "vp9"]
    assert seen["saved"] == "a-boat-in-the-rain-seed7.webm"


def test_a_video_begins_with_a_picture_and_its_settings_are_found_again(seen: Seen) -> None:
    content = dict(seen["fromPicture"]["content"])
    assert content.pop("first_frame") == f"data:image/png;base64,{_encoded()}"
    assert content == {"prompt": "a boat that leaves", "seconds": 1.5, "fps": 8, "seed": 7}
    assert seen["fromPicture"]["metadata"]["tasktype"] == "image-to-video"
    assert seen["maskOffered"] is False
    assert seen["filled"] == ["video", "1.5", "8", "a boat that leaves", "7"]
    assert seen["again"]["content"] == seen["fromPicture"]["content"]
    assert seen["again"]["metadata"]["tasktype"] == "image-to-video"


def test_a_model_needs_a_picture_and_is_downloaded(seen: Seen) -> None:
    assert seen["needed"] == "A picture is needed."
    assert seen["ofPicture"]["metadata"]["tasktype"] == "image-to-3d"
    assert seen["ofPicture"]["content"]["image"] == f"data:image/png;base64,{_encoded()}"
    assert "init_images" not in seen["ofPicture"]["content"]
    assert seen["model"].endswith(".glb")


def test_it_works_for_everybody_and_on_a_phone(seen: Seen) -> None:
    assert len(seen["axe"]) == 5
    assert {state: found for state, found in seen["axe"].items() if found} == {}
    assert seen["contrast"] == []
    assert seen["overflow"] <= 0
    assert seen["phonePoster"] == [128, 96]


def test_nothing_breaks(seen: Seen) -> None:
    assert seen["complaints"] == []
    assert seen["outside"] == []


def _encoded() -> str:
    return base64.b64encode(PICTURE).decode()
