"""The folder that is shared with a runtime: whatever names say, nothing outside it is touched."""

import os
from pathlib import Path

import pytest

from queue_agent.runtime.shared_folder import SharedFolder

OUTSIDE = ["../kept.txt", "output/../../kept.txt", "/kept.txt", "output/./../../kept.txt"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A shared folder, beside which there is a file that is nobody's business."""
    (tmp_path / "kept.txt").write_text("mine")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "kept.txt").write_text("mine")
    shared = tmp_path / "shared"
    (shared / "output" / "deep").mkdir(parents=True)
    (shared / "output" / "a.png").write_bytes(b"12345")
    (shared / "output" / "deep" / "b.png").write_bytes(b"1")
    return shared


@pytest.fixture
def folder(root: Path) -> SharedFolder:
    return SharedFolder(root)


def untouched(root: Path) -> bool:
    names = ("kept.txt", "elsewhere/kept.txt")
    return all((root.parent / name).read_text() == "mine" for name in names)


def test_files_are_found_with_their_size_and_time(folder: SharedFolder, root: Path) -> None:
    os.utime(root / "output" / "a.png", (1000, 2000))
    (file,) = folder.files("output")
    assert (file.path, file.name, file.size, file.written) == ("output/a.png", "a.png", 5, 2000)
    assert folder.find("output/a.png") == file
    assert {found.path for found in folder.walk("output")} == {"output/a.png", "output/deep/b.png"}


def test_a_file_is_removed_and_no_other(folder: SharedFolder, root: Path) -> None:
    folder.remove("output/deep/b.png")
    assert not (root / "output" / "deep" / "b.png").exists()
    assert (root / "output" / "a.png").exists()


def test_a_folder_is_removed_with_what_is_in_it(folder: SharedFolder, root: Path) -> None:
    folder.remove_folder("output/deep")
    assert [path.name for path in (root / "output").iterdir()] == ["a.png"]


def test_only_an_empty_folder_is_removed_as_one(folder: SharedFolder, root: Path) -> None:
    folder.remove_empty_folder("output/deep")
    assert (root / "output" / "deep" / "b.png").exists()
    folder.remove("output/deep/b.png")
    folder.remove_empty_folder("output/deep")
    assert not (root / "output" / "deep").exists()


@pytest.mark.parametrize("path", ["nothing", "nothing/a.png", "output/nothing", "output/a.png/x"])
def test_what_is_not_there_is_passed_over(folder: SharedFolder, root: Path, path: str) -> None:
    folder.remove(path)
    folder.remove_folder(path)
    folder.remove_empty_folder(path)
    assert (folder.find(path), folder.files(path), list(folder.walk(path))) == (None, [], [])
    assert (root / "output" / "a.png").exists()


@pytest.mark.parametrize("path", [*OUTSIDE, "", ".", "..", "output//a.png", "output/a\0.png"])
def test_no_path_leads_out(folder: SharedFolder, root: Path, path: str) -> None:
    folder.remove(path)
    folder.remove_folder(path)
    folder.remove_empty_folder(path)
    assert (folder.find(path), folder.files(path), list(folder.walk(path))) == (None, [], [])
    assert untouched(root)
    assert (root / "output" / "a.png").exists()


def test_no_link_to_a_folder_is_followed(folder: SharedFolder, root: Path) -> None:
    (root / "output" / "link").symlink_to(root.parent / "elsewhere")
    folder.remove("output/link/kept.txt")
    folder.remove_folder("output/link")
    assert folder.find("output/link/kept.txt") is None
    assert folder.files("output/link") == []
    assert "output/link/kept.txt" not in {found.path for found in folder.walk("output")}
    assert untouched(root)


def test_no_link_to_a_file_is_followed_or_taken_for_one(folder: SharedFolder, root: Path) -> None:
    (root / "output" / "link.png").symlink_to(root.parent / "kept.txt")
    folder.remove("output/link.png")
    assert folder.find("output/link.png") is None
    assert [file.name for file in folder.files("output")] == ["a.png"]
    assert untouched(root)


def test_links_in_a_folder_go_with_it_and_not_what_they_lead_to(
    folder: SharedFolder, root: Path
) -> None:
    (root / "output" / "deep" / "link").symlink_to(root.parent / "elsewhere")
    folder.remove_folder("output/deep")
    assert not (root / "output" / "deep").exists()
    assert untouched(root)


def test_the_shared_folder_itself_may_be_a_link(root: Path) -> None:
    (root.parent / "mounted").symlink_to(root)
    SharedFolder(root.parent / "mounted").remove("output/a.png")
    assert not (root / "output" / "a.png").exists()


def test_folders_in_folders_without_end_are_looked_at_so_far_and_no_further(
    folder: SharedFolder, root: Path
) -> None:
    (root / "output" / "/".join("d" * 200)).mkdir(parents=True)
    (root / "output" / "/".join("d" * 200) / "deepest.png").write_bytes(b"")
    (root / "output" / "d" / "b.png").write_bytes(b"")
    found = {file.name for file in folder.walk("output")}
    assert found == {"a.png", "b.png"}


def test_a_pipe_is_no_file(folder: SharedFolder, root: Path) -> None:
    os.mkfifo(root / "output" / "pipe")
    folder.remove("output/pipe")
    assert folder.find("output/pipe") is None
    assert [file.name for file in folder.files("output")] == ["a.png"]
    assert (root / "output" / "pipe").exists()
