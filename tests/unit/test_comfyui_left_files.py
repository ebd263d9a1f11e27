"""Which files in ComfyUI's folders are a job's, and when what was left behind goes."""

import os
from pathlib import Path

import pytest
from pydantic import JsonValue

from queue_agent.runtime import Asset
from queue_agent.runtime.shared_folder import SharedFolder
from queue_agent_runtimes.comfyui.api import ComfyUIApi
from queue_agent_runtimes.comfyui.left_files import LeftFiles, Traces
from queue_agent_runtimes.comfyui.uploads import Uploads
from queue_agent_runtimes.comfyui.workflow import Graph, with_unique_prefixes

TAG, OTHER = "0123456789abcdef", "fedcba9876543210"
NOW = 1_800_000_000.0
MINUTE = 60.0


class Folders:
    """ComfyUI's, at a time of the test's own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.left = LeftFiles(SharedFolder(root), lambda: NOW)

    def put(self, path: str, *, ago: float = 0.0, size: int = 1) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("wb") as opened:
            opened.truncate(size)
        os.utime(file, (NOW - ago, NOW - ago))

    @property
    def files(self) -> set[str]:
        return {str(path.relative_to(self.root)) for path in self.root.rglob("*") if path.is_file()}


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    return Folders(tmp_path)


def entry(
    outputs: JsonValue, *, began: float = NOW - 5, ended: float = NOW, cached: tuple[str, ...] = ()
) -> dict[str, JsonValue]:
    """An entry of the history, as the server writes it."""
    start: JsonValue = {"prompt_id": "p", "timestamp": int(began * 1000)}
    remembered: JsonValue = {"nodes": [*cached], "timestamp": int(began * 1000)}
    end: JsonValue = {"prompt_id": "p", "timestamp": int(ended * 1000)}
    messages: JsonValue = [
        ["execution_start", start],
        ["execution_cached", remembered],
        ["execution_success", end],
    ]
    return {"outputs": outputs, "status": {"status_str": "success", "messages": messages}}


def named(*files: tuple[str, str, str], node: str = "9") -> JsonValue:
    images: JsonValue = [
        {"type": kind, "subfolder": subfolder, "filename": name} for kind, subfolder, name in files
    ]
    return {node: {"images": images}}


def saving(**prefixes: str) -> Graph:
    return {
        name: {"class_type": "SaveImage", "inputs": {"filename_prefix": prefix}}
        for name, prefix in prefixes.items()
    }


def test_files_of_the_jobs_tag_go_wherever_its_save_nodes_put_them(folders: Folders) -> None:
    graph = with_unique_prefixes(saving(a="x", b="sub/deep/x", c="./flat/../x"), f"{TAG}-00000001")
    traces = Traces(TAG)
    traces.saved_by(graph)
    folders.put(f"output/{TAG}-00000001-x_00001_.png")
    folders.put(f"output/{TAG}-00000002-x_00001_.png")  # of an earlier attempt
    folders.put(f"output/sub/deep/{TAG}-00000001-x_00001_.mp4")
    folders.put(f"output/sub/deep/{TAG}-00000001-x_00001_.png")  # what a video's node adds
    folders.put(f"temp/{TAG}-00000001-x_00001_.flac")
    folders.left.remove(traces)
    assert folders.files == set()


def test_files_of_a_job_that_another_agent_ran_go_from_every_folder(folders: Folders) -> None:
    kept = {f"output/sub/{OTHER}-00000001-y_00001_.png", "output/sub/y.png"}
    for path in (
        *kept,
        f"output/sub/{TAG}-00000001-y_00001_.png",
        f"temp/a/b/{TAG}-00000002-z.png",
    ):
        folders.put(path)
    folders.left.remove(Traces(TAG))
    assert folders.files == kept


def test_files_of_others_stay(folders: Folders) -> None:
    others = {
        f"output/{OTHER}-00000001-x_00001_.png",
        f"output/mine-{TAG}-00000001-x.png",
        f"output/{TAG}.png",
        "output/ComfyUI_00001_.png",
        "temp/ComfyUI_temp_abcde_00001_.png",
        "input/cat.png",
        f"input/queue-agent/{OTHER}/1.png",
        f"input/{TAG}-00000001-x.png",
        f"models/{TAG}-00000001-x.safetensors",
    }
    for path in others:
        folders.put(path)
    folders.left.remove(Traces(TAG))
    assert folders.files == others


def test_uploads_go_with_their_folder(folders: Folders) -> None:
    traces = Traces(TAG, uploads={f"input/3d/queue-agent/{TAG}", f"output/queue-agent/{TAG}"})
    for place in ("input", "input/3d", "output"):
        folders.put(f"{place}/queue-agent/{TAG}/1.png")
    folders.left.remove(traces)
    assert folders.files == set()
    assert not (folders.root / "input" / "queue-agent" / TAG).exists()


class Uploading(ComfyUIApi):
    """A server that takes every file."""

    def __init__(self) -> None:
        """Nothing is opened."""

    async def upload(self, asset: Asset, *, filename: str, subfolder: str, folder: str) -> str:
        assert asset.data
        return f"{folder}/{subfolder}/{filename}"


async def test_uploads_are_known_by_the_folders_that_they_go_to() -> None:
    traces = Traces(TAG)
    uploads = Uploads(Uploading(), traces)
    for place in ({}, {"folder": "output"}, {"within": "3d"}):
        await uploads.put(Asset(b"1", "image/png"), **place)
    assert traces.uploads == {
        f"input/queue-agent/{TAG}",
        f"output/queue-agent/{TAG}",
        f"input/3d/queue-agent/{TAG}",
    }


def test_a_preview_that_the_prompt_made_goes(folders: Folders) -> None:
    traces = Traces(TAG)
    files = [("temp", "", "ComfyUI_temp_abcde_00001_.png"), ("output", "sub", "own name.webm")]
    traces.named_in(entry(named(*files)))
    for kind, subfolder, name in files:
        folders.put(f"{kind}/{subfolder}/{name}", ago=1)
    folders.left.remove(traces)
    assert folders.files == set()


@pytest.mark.parametrize("ago", [6, 3600, -1])
def test_a_file_that_was_not_written_meanwhile_stays_whoever_names_it(
    folders: Folders, ago: float
) -> None:
    traces = Traces(TAG)
    traces.named_in(entry(named(("output", "", "of somebody.png"))))
    folders.put("output/of somebody.png", ago=ago)
    folders.left.remove(traces)
    assert folders.files == {"output/of somebody.png"}


@pytest.mark.parametrize("node", ["9", "9.0.0.3"])
def test_a_file_that_the_server_remembered_stays(folders: Folders, node: str) -> None:
    traces = Traces(TAG)
    traces.named_in(entry(named(("temp", "", "a.png"), node=node), cached=("9",)))
    folders.put("temp/a.png", ago=1)
    folders.left.remove(traces)
    assert folders.files == {"temp/a.png"}


@pytest.mark.parametrize(
    "record",
    [
        ("output", "../..", "kept.png"),
        ("output", "", "../../kept.png"),
        ("output", "/", "kept.png"),
        ("../..", "", "kept.png"),
        ("..", "", "kept.png"),
        ("", "", "kept.png"),
        ("models", "", "kept.png"),
        ("input", "", "kept.png"),
        ("output", "link", "kept.png"),
    ],
)
def test_no_name_leads_out_of_the_folders_of_products(
    tmp_path: Path, record: tuple[str, str, str]
) -> None:
    folders = Folders(tmp_path / "mounts" / "shared")
    folders.root.mkdir(parents=True)
    places = [
        *(tmp_path / name for name in ("kept.png", "mounts/kept.png")),
        *(folders.root / name for name in ("kept.png", "models/kept.png", "input/kept.png")),
    ]
    for place in places:
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(b"1")
        os.utime(place, (NOW - 1, NOW - 1))
    (folders.root / "output").mkdir()
    (folders.root / "output" / "link").symlink_to(tmp_path)
    traces = Traces(TAG)
    traces.named_in(entry(named(record)))
    folders.left.remove(traces)
    assert [place for place in places if not place.exists()] == []


@pytest.mark.parametrize("prefix", ["../x", "../../x", "/etc/x", "a/../../x", "link/x", "..\\x"])
def test_no_prefix_leads_out_of_the_folders(tmp_path: Path, prefix: str) -> None:
    folders = Folders(tmp_path / "shared")
    (folders.root / "output").mkdir(parents=True)
    (folders.root / "output" / "link").symlink_to(tmp_path)
    name = f"{TAG}-00000001-x_00001_.png"
    places = [tmp_path / name, folders.root / name]
    for place in places:
        place.write_bytes(b"1")
    traces = Traces(TAG)
    traces.saved_by(with_unique_prefixes(saving(a=prefix), f"{TAG}-00000001"))
    folders.left.remove(traces)
    assert [place for place in places if not place.exists()] == []


@pytest.mark.parametrize(
    "odd",
    [
        {},
        {"outputs": {"9": {"images": [{"filename": "a.png", "type": "temp"}]}}},
        {"outputs": [], "status": {"messages": "none"}},
        {"outputs": {"9": 1}, "status": {"messages": [["x"], None, [1, 2], ["a", {}]]}},
        {"outputs": {"9": {"images": [None, {"filename": 3}]}}, "status": None},
    ],
)
def test_an_odd_entry_names_nothing(odd: dict[str, JsonValue]) -> None:
    traces = Traces(TAG)
    traces.named_in(odd)
    assert traces.named == {}


def test_what_was_left_behind_goes_after_an_hour(folders: Folders) -> None:
    young = {
        f"output/{TAG}-00000002-x_00001_.png",
        f"input/queue-agent/{TAG}/2.png",
    }
    for path in young:
        folders.put(path, ago=59 * MINUTE)
    for path in (
        f"output/sub/{OTHER}-00000001-x_00001_.png",
        f"temp/{OTHER}-00000001-x_00001_.png",
        f"output/win\\{OTHER}-00000001-x_00001_.png",
        f"input/queue-agent/{OTHER}/1.png",
        f"input/3d/queue-agent/{OTHER}/1.glb",
    ):
        folders.put(path, ago=61 * MINUTE)
    folders.left.sweep(set())
    assert folders.files == young
    assert not (folders.root / "input" / "queue-agent" / OTHER).exists()


def test_what_is_held_or_of_others_stays_however_old_it_is(folders: Folders) -> None:
    kept = {
        f"output/{TAG}-00000001-x_00001_.png",
        f"input/queue-agent/{TAG}/1.png",
        "output/ComfyUI_00001_.png",
        "output/sub/somebody.png",
        "temp/ComfyUI_temp_abcde_00001_.png",
        "input/cat.png",
        "input/queue-agent/notes.txt",
        f"models/{OTHER}-00000001-x.safetensors",
    }
    for path in kept:
        folders.put(path, ago=1e6)
    folders.left.sweep({TAG})
    assert folders.files == kept


def test_of_much_that_was_left_behind_the_oldest_goes_before(folders: Folders) -> None:
    gigabyte = 2**30  # of holes: it takes no room
    for minutes in (5, 11, 20, 30, 40):
        folders.put(f"output/{TAG}-{minutes:08}-x.mp4", ago=minutes * MINUTE, size=gigabyte)
    folders.left.sweep(set())
    assert folders.files == {f"output/{TAG}-{minutes:08}-x.mp4" for minutes in (5, 11)}


def test_the_newest_stays_however_much_it_is(folders: Folders) -> None:
    for number in range(4):
        folders.put(f"output/{TAG}-{number:08}-x.mp4", ago=9 * MINUTE, size=2**30)
    folders.left.sweep(set())
    assert len(folders.files) == 4


def test_no_link_that_is_named_like_a_jobs_file_is_followed(tmp_path: Path) -> None:
    folders = Folders(tmp_path / "shared")
    (folders.root / "output").mkdir(parents=True)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    kept = elsewhere / f"{TAG}-00000001-x.png"
    kept.write_bytes(b"1")
    os.utime(kept, (1, 1))
    (folders.root / "output" / f"{TAG}-00000001-y.png").symlink_to(kept)
    (folders.root / "output" / "link").symlink_to(elsewhere)
    (folders.root / "input").symlink_to(elsewhere)
    folders.left.sweep(set())
    folders.left.remove(Traces(TAG, folders={"", "link"}))
    assert kept.exists()
