"""Whatever a runtime hands over as a file, the stage delivers it, or says why not.

`make fuzz` sends 10,000 files through the whole stage, processes and all, and looks at the memory
that these took; without it a few are converted in this process.
"""

import random
import resource
from contextlib import suppress
from typing import Final

import pytest
from structlog.testing import capture_logs

from fuzz.fuzzing import FACTOR
from media_files import IMAGES, mutated
from output_samples import PLANTED, InlineWorkers
from queue_agent.outputs import (
    Conversion,
    ConversionPolicy,
    Order,
    OutputStage,
    WorkerProcesses,
    Workers,
)
from queue_agent.runtime import Artifact
from queue_agent.wire.errors import Rejected, Unavailable
from queue_agent.wire.job import Job, Metadata
from queue_agent.wire.output import OutputOptions

FILES: Final = {**IMAGES, **PLANTED}
MUTATIONS: Final = 1 + 10_000 * FACTOR // (10 * len(FILES)) if FACTOR else 6
"""Of each file; 10,000 of all by `make fuzz`."""
MEMORY: Final = 256 * 2**20
WISHES: Final = tuple(
    OutputOptions.model_validate(wish)
    for wish in (
        {"metadata": "strip"},
        {"metadata": "minimal"},
        {"metadata": "keep"},
        {"format": "webp", "thumbnail": True, "metadata": "strip"},
        {"format": "jpeg", "max_side": 16},
        {"format": "png", "max_side": 24, "metadata": "minimal"},
        {"format": "avif", "metadata": "strip"},
    )
)


def stage(workers: Workers) -> OutputStage:
    return OutputStage((Conversion(ConversionPolicy(), workers),))


async def through(made: OutputStage, data: bytes, media_type: str, wish: OutputOptions) -> None:
    """One file through the stage."""
    metadata = Metadata(id="a", tasktype="text-to-image", output=wish)
    order = Order(Job(metadata=metadata, content={}))
    with order.files, suppress(Rejected, Unavailable):
        (product,) = await made.products(order, (Artifact(data, media_type),))
        assert product.artifact.size


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.skipif(FACTOR > 0, reason="make fuzz sends more through processes")
@pytest.mark.parametrize("name", FILES)
async def test_a_file_gone_wrong_is_delivered_or_refused(name: str) -> None:
    data, media_type = FILES[name]
    dice = random.Random(name)  # noqa: S311
    made = stage(InlineWorkers())
    for number in range(MUTATIONS):
        wish = WISHES[number % len(WISHES)]
        await through(made, mutated(data, dice), media_type, wish)


@pytest.mark.skipif(not FACTOR, reason="only by make fuzz")
async def test_ten_thousand_files_gone_wrong_end_no_process_and_fill_no_memory() -> None:
    workers = WorkerProcesses(2, time_limit=20, memory=MEMORY)
    made, dice = stage(workers), random.Random(FACTOR)  # noqa: S311
    sent = 0
    with capture_logs() as logs:
        for data, media_type in FILES.values():
            for number in range(MUTATIONS):
                wish = WISHES[number % len(WISHES)]
                await through(made, mutated(data, dice), media_type, wish)
                sent += 1
    assert sent >= 1_000 * FACTOR
    assert [entry for entry in logs if entry["event"] == "conversion failed"] == []
    largest = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    assert largest < 2 * MEMORY
