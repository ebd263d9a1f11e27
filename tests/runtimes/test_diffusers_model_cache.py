"""The folder of models of object storage: what comes into it, whatever happens on the way."""

import asyncio
import hashlib
import logging
import resource
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from queue_agent.cloud import Sink
from queue_agent.cloud.memory import ManualClock, MemoryBucket, MemoryCloud
from queue_agent.wire.errors import Unavailable
from queue_agent_diffusers.engine.loading import LoadProgress
from queue_agent_diffusers.errors import ModelNotFound, ModelUnreadable
from queue_agent_diffusers.torch import model_cache, object_storage
from queue_agent_diffusers.torch.hashes import read_manifest
from queue_agent_diffusers.torch.model_cache import fetch_model

ADDRESS = "s3://models/sd"
INDEX = b'{"unet": ["diffusers", "X"], "vae": ["diffusers", "Y"], "safety_checker": [null, null]}'
UNET = "unet/diffusion_pytorch_model.safetensors"


class Watched(MemoryBucket):
    """A bucket that counts what is read of it, and to whose reads things happen."""

    def __init__(self) -> None:
        super().__init__("models", ManualClock())
        self.reads: list[str] = []
        self.before: Callable[[str], None] = lambda _: None
        """Called with the key before its object is read."""
        self.after: Callable[[str], None] = lambda _: None
        """Called with the key when a piece of its object has been handed out."""

    async def read_into(self, key: str, sink: Sink, *, limit: int | None = None) -> None:
        self.reads.append(key.removeprefix("sd/"))
        await asyncio.to_thread(self.before, key)

        async def watched(piece: bytes) -> None:
            await sink(piece)
            self.after(key)

        await super().read_into(key, watched, limit=limit)

    def fill(self, files: Mapping[str, bytes]) -> None:
        for path, data in files.items():
            self.put(f"sd/{path}", data)


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Watched:
    bucket, cloud = Watched(), MemoryCloud()
    bucket.fill({"model_index.json": INDEX, UNET: b"u" * 2**17, "unet/config.json": b"{}"})
    monkeypatch.setattr(cloud, "bucket", lambda _: bucket)
    monkeypatch.setattr(object_storage, "connect", lambda **_: cloud)
    return bucket


def fetch(cache: Path, dtype: str = "float32", progress: LoadProgress | None = None) -> Path:
    return fetch_model(ADDRESS, cache, region="here", dtype=dtype, progress=progress)


def files_in(folder: Path) -> set[str]:
    return {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}


def left_in(cache: Path) -> set[str]:
    return {path.name for path in cache.iterdir() if path.suffix != ".lock"}


def sums(files: Mapping[str, bytes]) -> bytes:
    lines = [f"{hashlib.sha256(data).hexdigest()}  {path}\n" for path, data in files.items()]
    return "".join(lines).encode()


def test_only_the_files_of_one_precision_are_fetched_and_no_pickles(
    bucket: Watched, tmp_path: Path
) -> None:
    half = UNET.replace(".safetensors", ".fp16.safetensors")
    vae = "vae/diffusion_pytorch_model.safetensors"
    bucket.fill(
        {
            half: b"h",
            vae: b"v",
            UNET.replace(".safetensors", ".bin"): b"pickled",
            "sd-all.safetensors": b"twice",
            "safety_checker/model.safetensors": b"not used",
            "tokenizer/spiece.model": b"words",
        }
    )
    others = {"model_index.json", "unet/config.json", "tokenizer/spiece.model", vae}
    assert files_in(fetch(tmp_path, "float32")) == others | {UNET}
    assert files_in(fetch(tmp_path, "bfloat16")) == others | {half}
    reads = len(bucket.reads)
    assert files_in(fetch(tmp_path, "float32")) == others | {UNET}
    assert len(bucket.reads) == reads, "what was fetched once is there"


def test_a_checkpoint_is_found_beside_what_is_none(bucket: Watched, tmp_path: Path) -> None:
    bucket.objects.clear()
    bucket.fill({"README.md": b"read", "sd15.safetensors": b"all", "old/sd15.ckpt": b"pickled"})
    assert fetch(tmp_path / "one").name == "sd15.safetensors"
    assert bucket.reads == ["sd15.safetensors"]
    bucket.fill({"sdxl.safetensors": b"all"})
    with pytest.raises(ModelUnreadable, match="no checkpoint that is the only one"):
        fetch(tmp_path / "two")


def test_a_fetch_that_ended_in_its_middle_leaves_nothing_and_counts_for_nothing(
    bucket: Watched, tmp_path: Path
) -> None:
    def refuse(key: str) -> None:
        if key.endswith(".safetensors"):
            raise Unavailable("no", type="cloud_access_denied")

    bucket.fill({".complete": b"", f".{UNET}": b""})
    bucket.before = refuse
    with pytest.raises(ModelNotFound, match="s3://models/sd cannot be fetched: no"):
        fetch(tmp_path)
    assert bucket.reads.count(UNET) == 1, "a refusal is final"
    assert left_in(tmp_path) == set()
    bucket.before = lambda _: None
    assert (fetch(tmp_path) / UNET).read_bytes() == b"u" * 2**17


def test_what_a_killed_server_left_is_removed(bucket: Watched, tmp_path: Path) -> None:
    del bucket
    folder = model_cache.kept_at(ADDRESS, tmp_path, "float32")
    (tmp_path / f"{folder.name}-killed" / "unet").mkdir(parents=True)
    (tmp_path / "another-killed").mkdir()
    assert fetch(tmp_path) == folder
    assert left_in(tmp_path) == {folder.name, "another-killed"}


def test_what_breaks_off_is_begun_again_a_few_times(
    bucket: Watched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(object_storage, "_PAUSE", lambda _: 0.0)
    breaks = iter([True, True])

    def break_off(key: str) -> None:
        if key.endswith(UNET) and next(breaks, False):
            raise Unavailable("the connection broke", type="cloud_unavailable")

    bucket.after = break_off
    bucket.fill({"SHA256SUMS": sums({UNET: b"u" * 2**17})})
    assert (fetch(tmp_path) / UNET).read_bytes() == b"u" * 2**17
    assert bucket.reads.count(UNET) == 3
    breaks = iter([True] * 99)
    with pytest.raises(ModelNotFound, match="the connection broke"):
        fetch(tmp_path, "float16")


def test_servers_that_share_the_folder_fetch_a_model_once(
    bucket: Watched, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    begun, waits, may_go_on = threading.Event(), threading.Event(), threading.Event()

    class Told(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "another server fetches it" in record.getMessage():
                waits.set()

    def hold(_: str) -> None:
        begun.set()
        may_go_on.wait()

    bucket.before = hold
    found: list[Path] = []
    servers = [threading.Thread(target=lambda: found.append(fetch(tmp_path))) for _ in range(2)]
    log, told = logging.getLogger(model_cache.__name__), Told()
    log.addHandler(told)
    try:
        with caplog.at_level(logging.INFO, log.name):
            servers[0].start()
            begun.wait()
            servers[1].start()
            waits.wait()
            may_go_on.set()
            for server in servers:
                server.join()
    finally:
        log.removeHandler(told)
    assert found == [model_cache.kept_at(ADDRESS, tmp_path, "float32")] * 2
    assert bucket.reads.count(UNET) == 1


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Writing more is refused, as on a disk that is full."""
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, usual[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)


def test_a_disk_that_is_full_is_told_and_given_back(bucket: Watched, tmp_path: Path) -> None:
    del bucket
    with largest_file(2**16), pytest.raises(ModelNotFound, match="File too large"):
        fetch(tmp_path)
    assert left_in(tmp_path) == set()


def test_a_file_that_is_replaced_meanwhile_is_no_part_of_the_model(
    bucket: Watched, tmp_path: Path
) -> None:
    bucket.before = lambda key: bucket.put(key, b"shorter") if key.endswith(UNET) else None
    with pytest.raises(ModelUnreadable, match="has 131072 bytes, and 7 came"):
        fetch(tmp_path)
    assert left_in(tmp_path) == set()


@pytest.mark.parametrize("path", ["../../outside.json", "unet/../../outside.json"])
def test_no_name_leads_out_of_the_folder(bucket: Watched, tmp_path: Path, path: str) -> None:
    bucket.fill({path: b"{}"})
    with pytest.raises(ModelNotFound, match="leads out of its folder"):
        fetch(tmp_path / "cache")
    assert files_in(tmp_path) <= {f"cache/{left}" for left in files_in(tmp_path / "cache")}
    assert left_in(tmp_path / "cache") == set()


def test_a_file_that_the_manifest_names_has_to_be_there(bucket: Watched, tmp_path: Path) -> None:
    vae = "vae/diffusion_pytorch_model.safetensors"
    bucket.fill({"SHA256SUMS": sums({vae: b"v", "unet/diffusion_pytorch_model.bin": b"p"})})
    with pytest.raises(ModelUnreadable, match=f"lacks {vae}, which SHA256SUMS names"):
        fetch(tmp_path)
    bucket.fill({vae: b"v"})
    fetch(tmp_path)


def test_a_checkpoint_named_by_itself_is_compared_with_the_manifest_beside_it(
    bucket: Watched, tmp_path: Path
) -> None:
    bucket.fill({"one.safetensors": b"one", "SHA256SUMS": sums({"one.safetensors": b"two"})})
    address = f"{ADDRESS}/one.safetensors"
    with pytest.raises(ModelUnreadable, match=r"sd/one\.safetensors has other content"):
        fetch_model(address, tmp_path, region="here")
    bucket.fill({"one.safetensors": b"two"})
    assert fetch_model(address, tmp_path, region="here").read_bytes() == b"two"


def test_how_much_comes_is_known_before_it_comes(bucket: Watched, tmp_path: Path) -> None:
    seen: list[tuple[int | None, int | None]] = []
    progress = LoadProgress("sd")
    bucket.after = lambda _: seen.append((progress.done, progress.total))
    (tmp_path / "anothers").write_bytes(bytes(1000))
    fetch(tmp_path, progress=progress)
    total = sum(len(entry.data) for entry in bucket.objects.values())
    assert {told for _, told in seen[1:]} == {total}, "all but the index, by which it is known"
    assert max(done or 0 for done, _ in seen) <= total
    assert progress.stage is None


A, B = "a" * 64, "b" * 64


@pytest.mark.parametrize(
    ("text", "hashes"),
    [
        (f"{A}  unet/x\n{B} *./vae/y z\n", {"unet/x": A, "vae/y z": B}),
        (f"\ufeff{A.upper()}  x\r\n\r\n# made by hand\r\n", {"x": A}),
        (f"SHA256 (./unet/x (1)) = {A}\n", {"unet/x (1)": A}),
        (f"\\{A}  back\\\\slash\\n\n", {"back\\slash\n": A}),
        (f"{B}  SHA256SUMS\n{A}  x\n{A}  x\n", {"x": A}),
        ("", {}),
    ],
)
def test_a_manifest_is_read_in_every_form_that_sha256sum_writes(
    text: str, hashes: Mapping[str, str]
) -> None:
    assert read_manifest(text) == hashes


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"{A}  x\n{A[1:]}  y", "Line 2"),
        ("<html>", "Line 1"),
        (f"{A}\tx", "Line 1"),
        (f"MD5 (x) = {A}", "Line 1"),
        (f"{A}  x\n{B}  ./x", "x with two hashes"),
    ],
)
def test_a_manifest_that_cannot_be_read_is_no_permission(text: str, words: str) -> None:
    with pytest.raises(ModelUnreadable, match=words):
        read_manifest(text)
