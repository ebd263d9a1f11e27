"""Inputs in memory and in files: read by many, and gone when their job is."""

import asyncio
import os
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from queue import SimpleQueue
from typing import IO

import pytest

from harness import PATIENCE
from queue_agent.media.asset import IN_MEMORY, Asset, Spool, Spools
from queue_agent.wire.errors import Unavailable

SMALL = os.urandom(1000)
LARGE = os.urandom(3 * IN_MEMORY + 1)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The temporary folder, in which no name may ever be seen; no file may be left open."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = descriptors()
    yield tmp_path
    assert descriptors() <= before


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def descriptors() -> set[str]:
    return set(os.listdir("/dev/fd"))  # noqa: PTH208  numbers, not paths


@asynccontextmanager
async def spooled(data: bytes) -> AsyncIterator[Asset]:
    with Spool() as spool:
        for start in range(0, len(data), 70_000):
            await spool.write(data[start : start + 70_000])
        assert spool.size == len(data)
        yield await spool.asset()


@pytest.mark.parametrize("data", [b"", SMALL, LARGE], ids=["empty", "small", "large"])
async def test_an_asset_is_read_whole_in_parts_and_in_pieces(data: bytes, folder: Path) -> None:
    async with spooled(data) as asset:
        assert isinstance(asset.content, bytes) is (len(data) <= IN_MEMORY)
        assert asset.size == len(data)
        assert asset.data == data
        with asset.open() as file:
            file.seek(-10, os.SEEK_END) if data else None
            assert file.read() == data[-10:]
            assert file.seek(5) == 5
            assert file.read(3) + file.read(3) == data[5:11]
        pieces = [piece async for piece in asset.stream(9999)]
        assert b"".join(pieces) == data
        assert {len(piece) for piece in pieces[:-1]} <= {9999}
        assert names(folder) == []


async def test_a_large_asset_is_read_at_several_places_at_a_time() -> None:
    async def read(asset: Asset, size: int) -> bytes:
        return b"".join([piece async for piece in asset.stream(size)])

    async with spooled(LARGE) as asset:
        found = await asyncio.gather(*(read(asset, size) for size in (10_000, 300_000, 5_000_000)))
    assert [data == LARGE for data in found] == [True] * 3


async def test_a_reader_reads_on_when_the_asset_has_gone_and_no_other_begins() -> None:
    async with spooled(LARGE) as asset:
        file = asset.open()
        begun = asset.stream(100)
        first = await anext(begun)
    with file:
        assert file.read() == LARGE
    assert first + await anext(begun) == LARGE[:200]
    await begun.aclose()
    with pytest.raises(ValueError, match="closed"):
        asset.open()


async def test_what_is_not_finished_is_gone_too(folder: Path) -> None:
    with Spool() as spool:
        await spool.write(LARGE)
    assert names(folder) == []


async def test_without_a_folder_to_keep_it_a_large_input_is_unavailable(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(folder / "missing"))
    with Spool() as spool:
        await spool.write(SMALL)
        with pytest.raises(Unavailable, match="cannot be kept on disk: No such file"):
            await spool.write(LARGE)


async def test_an_attempt_that_fails_closes_what_it_opened_and_nothing_else() -> None:
    async def written(spools: Spools) -> Asset:
        spool = spools.new()
        await spool.write(LARGE)
        return await spool.asset()

    with Spools() as spools:
        kept = [await written(spools)]
        with suppress(ZeroDivisionError), spools.attempt():
            lost = await written(spools)
            raise ZeroDivisionError
        with spools.attempt():
            kept.append(await written(spools))
        with pytest.raises(ValueError, match="closed"):
            lost.open()
        assert [asset.data for asset in kept] == [LARGE, LARGE]


async def test_a_spool_that_is_given_up_as_its_file_is_opened_leaves_none_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened, given_up = threading.Event(), threading.Event()
    files: SimpleQueue[IO[bytes]] = SimpleQueue()

    def opening() -> IO[bytes]:
        file = open_one()
        opened.set()
        given_up.wait(PATIENCE)
        files.put(file)
        return file

    open_one = tempfile.TemporaryFile
    monkeypatch.setattr(tempfile, "TemporaryFile", opening)
    with Spool() as spool:
        writing = asyncio.create_task(spool.write(bytes(IN_MEMORY + 1)))
        assert await asyncio.to_thread(opened.wait, PATIENCE)
        writing.cancel()
        with suppress(asyncio.CancelledError):
            await writing
    given_up.set()
    await asyncio.get_running_loop().shutdown_default_executor()
    assert files.get_nowait().closed
