"""Whatever a runtime hands over as a video, the stage delivers it, or says why not.

Always through processes: FFmpeg's faults would be the tests' own. `make fuzz` sends many, and looks
at the memory that the processes took.
"""

import random
import resource
from contextlib import suppress
from typing import Final

from fuzz.fuzzing import FACTOR
from media_files import mutated
from queue_agent.media.facts import media_type_of
from queue_agent.outputs import (
    Conversion,
    ConversionPolicy,
    Order,
    OutputStage,
    WorkerProcesses,
    describe,
)
from queue_agent.runtime import Artifact
from queue_agent.wire.errors import Rejected, Unavailable
from queue_agent.wire.job import Job, Metadata
from queue_agent.wire.output import OutputOptions
from video_files import KINDS, video

MEMORY: Final = 256 * 2**20
MUTATIONS: Final = 1 + 500 * FACTOR // len(KINDS) if FACTOR else 4
"""Of each kind; 10,000 of all by `make fuzz`."""
WISHES: Final = tuple(
    OutputOptions.model_validate(wish)
    for wish in (
        {"format": "mp4", "metadata": "minimal"},
        {"format": "webm", "max_side": 32, "metadata": "strip"},
        {"max_side": 24, "thumbnail": True},
        {"format": "webm", "animated_thumbnail": True},
    )
)


async def test_a_video_gone_wrong_is_delivered_or_refused() -> None:
    workers = WorkerProcesses(2, time_limit=30, memory=MEMORY)
    stage, dice = OutputStage((Conversion(ConversionPolicy(), workers),)), random.Random(FACTOR)  # noqa: S311
    delivered = 0
    for kind, (_, _, media_type, _) in KINDS.items():
        for number in range(MUTATIONS):
            wish = WISHES[number % len(WISHES)]
            metadata = Metadata(id="a", tasktype="text-to-video", output=wish)
            order = Order(Job(metadata=metadata, content={}))
            with order.files, suppress(Rejected, Unavailable):
                made = Artifact(mutated(video(kind), dice), media_type)
                (product,) = await stage.products(order, (made,))
                assert product.artifact.size or not made.size
                assert media_type_of(product.artifact.data) == product.artifact.media_type or (
                    product.artifact.content == made.content
                )
                for variant in product.variants:
                    if variant.role != "original":
                        assert (await describe(variant.asset, "It")).width
                delivered += 1
    assert delivered
    largest = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    assert not FACTOR or largest < 2 * MEMORY
