"""Whatever bytes are to be signed or verified: a manifest that holds, or why not.

`make fuzz` has far more signed in processes of the stage, and looks at the memory these took.
"""

import io
import random
import resource
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from fuzz.fuzzing import FACTOR, examples
from media_files import mutated
from output_samples import gradient, saved, saved_moving
from provenance_samples import usual_files
from queue_agent.cli.app import app
from queue_agent.outputs import WorkerProcesses
from queue_agent.outputs.provenance import OriginClaim, SigningCredentials, facts_in
from queue_agent.outputs.provenance.signing import NotSigned, Signature, sign, sign_file
from video_files import SOUNDS, sound, video

PICTURE: Final = gradient("RGB", (48, 32))
FILES: Final = {
    "image/png": saved(PICTURE, "PNG"),
    "image/jpeg": saved(PICTURE, "JPEG"),
    "image/webp": saved(PICTURE, "WEBP"),
    "image/avif": saved(PICTURE, "AVIF"),
    "image/gif": saved_moving("GIF"),
    "image/tiff": saved(PICTURE, "TIFF"),
    "video/mp4": video("mp4"),
    "video/quicktime": video("quicktime"),
    "video/x-msvideo": video("avi"),
    **{media_type: sound(media_type) for media_type in SOUNDS},
}
LENGTHS: Final = (0, 1, 7, 8, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)
CLAIM: Final = OriginClaim("webui", datetime.now(UTC), ["sdxl"])
MEMORY: Final = 256 * 2**20


@cache
def signature() -> Signature:
    files = usual_files()
    return Signature(SigningCredentials.of(files.certificate, files.key, datetime.now(UTC)))


@cache
def signed(media_type: str) -> bytes:
    target = io.BytesIO()
    sign(io.BytesIO(FILES[media_type]), target, media_type, CLAIM, signature())
    return target.getvalue()


def of_kinds() -> st.SearchStrategy[tuple[str, bytes]]:
    """A file of each kind, signed or not."""
    return st.sampled_from(sorted(FILES)).flatmap(
        lambda kind: st.sampled_from([(kind, FILES[kind]), (kind, signed(kind))])
    )


@st.composite
def gone_wrong(draw: st.DrawFn) -> tuple[str, bytes]:
    """Such a file cut off, with other bytes, or with a length that lies."""
    media_type, data = draw(of_kinds())
    match draw(st.sampled_from(["cut", "bits", "length", "several"])):
        case "cut":
            return media_type, data[: draw(st.integers(0, len(data)))]
        case "bits":
            changed = bytearray(data)
            for place in draw(st.lists(st.integers(0, len(data) - 1), min_size=1, max_size=4)):
                changed[place] ^= 1 << draw(st.integers(0, 7))
            return media_type, bytes(changed)
        case "length":
            order = draw(st.sampled_from(["big", "little"]))
            lie = draw(st.sampled_from(LENGTHS)).to_bytes(4, "big" if order == "big" else "little")
            place = draw(st.integers(0, len(data) - 4))
            return media_type, data[:place] + lie + data[place + 4 :]
        case _:
            return media_type, mutated(data, random.Random(draw(st.integers())))  # noqa: S311


@given(gone_wrong())
@examples(300)
def test_what_is_gone_wrong_is_signed_so_that_it_holds_or_not_at_all(
    file: tuple[str, bytes],
) -> None:
    media_type, data = file
    target = io.BytesIO()
    try:
        is_signed = sign(io.BytesIO(data), target, media_type, CLAIM, signature())
    except NotSigned:
        return
    target = target if is_signed else io.BytesIO(data)
    target.seek(0)
    found = facts_in(target, media_type).manifest
    assert found is not None
    assert found.holds, found.faults


@given(gone_wrong())
@examples(200)
def test_what_is_gone_wrong_is_read_and_told(file: tuple[str, bytes]) -> None:
    media_type, data = file
    facts = facts_in(io.BytesIO(data), media_type)
    assert facts.manifest is None or facts.manifest.holds or facts.manifest.faults


def test_verify_tells_of_each_in_words(tmp_path: Path) -> None:
    dice, path = random.Random(7), tmp_path / "file"  # noqa: S311
    for media_type in FILES:
        for _ in range(6):
            path.write_bytes(mutated(signed(media_type), dice))
            ended = CliRunner().invoke(app, ["verify", str(path)])
            assert ended.exit_code in {0, 1, 2, 3}, ended.output
            assert isinstance(ended.exception, SystemExit | None)
            assert "C2PA: " in ended.output


def many(dice: random.Random) -> Iterator[tuple[str, bytes]]:
    while True:
        for media_type, data in FILES.items():
            yield media_type, mutated(dice.choice([data, signed(media_type)]), dice)


@pytest.mark.skipif(not FACTOR, reason="only by make fuzz")
async def test_thousands_gone_wrong_end_no_process_and_fill_no_memory(tmp_path: Path) -> None:
    workers = WorkerProcesses(1, 60, MEMORY)
    source, target = tmp_path / "source", tmp_path / "target"
    files = many(random.Random(FACTOR))  # noqa: S311
    for _ in range(500 * FACTOR):
        media_type, data = next(files)
        source.write_bytes(data)
        try:
            await workers.do(
                sign_file, source, target, media_type, CLAIM, signature(), raises=(NotSigned,)
            )
        except NotSigned:
            continue
    largest = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    assert largest < MEMORY
