"""Whatever a file holds, the one place that decodes answers that it is broken or too large."""

import random
from contextlib import suppress
from typing import Final

import pytest

from fuzz.fuzzing import FACTOR
from media_files import IMAGES, OTHERS, mutated
from queue_agent.media.facts import UnreadableImage, check_whole, decode, facts_of

MUTATIONS: Final = 1_000 * FACTOR or 50
"""Of each file; 10,000 by `make fuzz`."""


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("name", [*IMAGES, *OTHERS])
def test_a_file_gone_wrong_is_answered(name: str) -> None:
    data, _ = IMAGES.get(name) or OTHERS[name]
    dice = random.Random(f"{name} {FACTOR}")  # noqa: S311
    for number in range(MUTATIONS):
        changed = mutated(data, dice)
        with suppress(UnreadableImage):
            facts_of(changed)
        look = check_whole if number % 2 else decode
        with suppress(UnreadableImage):
            look(changed, max_pixels=100_000)
