"""Models fetched from a real server on the loopback interface into a folder, for jobs."""

import asyncio
import json
import os
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from model_site import TRUSTED, ModelSite, digest, model_bytes, model_site
from queue_agent.inputs.models import download
from queue_agent.inputs.models.fetcher import Fetched, ModelFetcher
from queue_agent.inputs.models.policy import ModelPolicy
from queue_agent.inputs.models.volume import ModelVolume
from queue_agent.wire.errors import QueueAgentError, Rejected, TimedOut, Unavailable
from queue_agent.wire.model_files import ModelFile
from tls_servers import certified

NAME = "style.safetensors"
SIZE = 1000


@pytest.fixture
async def web() -> AsyncIterator[ModelSite]:
    async with model_site() as site:
        yield site


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "_PAUSE", 0.0)


Fetchers = Callable[..., ModelFetcher]


@pytest.fixture
async def fetchers(tmp_path: Path) -> AsyncIterator[Fetchers]:
    """Makes fetchers of one folder, each as the agent of another pod would be."""
    made: list[ModelFetcher] = []

    def make(**options: Any) -> ModelFetcher:
        policy = ModelPolicy(
            tmp_path,
            **{
                "hosts": TRUSTED,
                "trusted": TRUSTED,
                "folders": frozenset({"loras", "checkpoints"}),
                "limit": 10 * SIZE,
                "patience": 5.0,
                **options,
            },
        )
        made.append(ModelFetcher(policy))
        return made[-1]

    yield make
    for fetcher in made:
        await fetcher.aclose()


class Heard:
    """What a job is told while its models are fetched."""

    def __init__(self) -> None:
        self.shares: list[float] = []
        self.something = asyncio.Event()

    def __call__(self, _model: ModelFile, share: float) -> None:
        self.shares.append(share)
        if share > 0:
            self.something.set()


def lora(url: str = "", name: str = NAME, **told: Any) -> ModelFile:
    return ModelFile(name, "loras", url, **told)


async def hold(
    fetcher: ModelFetcher, *models: ModelFile, keep: ExitStack | None = None, heard: Any = None
) -> Fetched:
    """Have models as a job has them, to its end unless they are kept."""
    wanted = await fetcher.wanted(models)
    with ExitStack() as own:
        return await fetcher.hold(wanted, own if keep is None else keep, heard or Heard())


async def refused(fetcher: ModelFetcher, *models: ModelFile) -> Rejected:
    with pytest.raises(Rejected) as caught:
        await hold(fetcher, *models)
    return caught.value


def lying(folder: Path) -> dict[str, bytes]:
    """The files of models, and parts of such."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in files
        if ".queue-agent" not in path.parts
    }


def used_at(folder: Path, name: str, when: int) -> None:
    os.utime(folder / ".queue-agent" / "loras" / f"{name}.json", (when, when))


# What is fetched


async def test_a_missing_model_is_fetched_into_its_folder_and_the_share_is_told(
    web: ModelSite, fetchers: Fetchers, tmp_path: Path
) -> None:
    data, heard = model_bytes(SIZE), Heard()
    url = web.serve("/a", data)
    told = lora(url, sha256=digest(data), size=SIZE)
    fetched = await hold(fetchers(), told, heard=heard)
    assert fetched.came == (told,)
    assert lying(tmp_path) == {f"loras/{NAME}": data}
    assert heard.shares[0] == 0.0
    assert heard.shares == sorted(heard.shares)
    assert heard.shares[-1] == 1.0


async def test_a_model_that_is_there_is_not_fetched_again(
    web: ModelSite, fetchers: Fetchers
) -> None:
    url = web.serve("/a", model_bytes(SIZE))
    await hold(fetchers(), lora(url))
    assert (await hold(fetchers(), lora(url))).came == ()
    assert len(web.requests) == 1


async def test_a_model_may_lie_in_a_folder_within_its_own(
    web: ModelSite, fetchers: Fetchers, tmp_path: Path
) -> None:
    data = model_bytes(SIZE)
    await hold(fetchers(), lora(web.serve("/a", data), name=f"sdxl/{NAME}"))
    assert lying(tmp_path) == {f"loras/sdxl/{NAME}": data}


async def test_the_operators_list_says_where_a_model_comes_from_and_needs_no_hosts(
    web: ModelSite, fetchers: Fetchers, tmp_path: Path
) -> None:
    data = model_bytes(SIZE)
    own = lora(web.redirect("/own", web.serve("/a", data)), by_operator=True)
    fetcher = fetchers(hosts=(), listed=(own,))
    for named in (lora(), ModelFile(NAME), ModelFile("style"), lora(web.serve("/bad", b"no"))):
        await hold(fetcher, named)
    assert lying(tmp_path) == {f"loras/{NAME}": data}
    assert not web.asked_for("/bad")


async def test_names_that_nobody_knows_are_left_to_the_runtime(fetchers: Fetchers) -> None:
    fetcher = fetchers()
    assert await fetcher.wanted([ModelFile("x.safetensors"), ModelFile("../../etc/x.ckpt")]) == []


# What is refused


@pytest.mark.parametrize(
    "model",
    [
        lora("http://127.0.0.1:1/x", name="../x.safetensors"),
        lora("http://127.0.0.1:1/x", name="/x.safetensors"),
        lora("http://127.0.0.1:1/x", name="a/../../x.safetensors"),
        lora("http://127.0.0.1:1/x", name="a//x.safetensors"),
        lora("http://127.0.0.1:1/x", name=".hidden.safetensors"),
        lora("http://127.0.0.1:1/x", name="a\0b.safetensors"),
        lora("http://127.0.0.1:1/x", name="a/b/c/d/e/f.safetensors"),
        replace(lora("http://127.0.0.1:1/x"), folder="custom_nodes"),
        replace(lora("http://127.0.0.1:1/x"), folder="../loras"),
        replace(lora("http://127.0.0.1:1/x"), folder=".queue-agent"),
        replace(lora("http://127.0.0.1:1/x"), folder="loras/.."),
        lora("http://127.0.0.1:1/x", name="x.py"),
        lora("http://127.0.0.1:1/x", name="x"),
        lora("http://127.0.0.1:1/x", name="x.ckpt"),
        lora("http://127.0.0.1:1/x", name="x.PT"),
        lora("http://127.0.0.1:1/x", name="x.ckpt", sha256="0" * 64),
        lora("http://user:pw@127.0.0.1:1/x"),
        lora("https://example.org/x"),
        lora("ftp://127.0.0.1/x"),
        lora("file:///etc/passwd"),
    ],
    ids=lambda model: model.key.replace("\0", "0"),
)
async def test_what_the_operator_does_not_allow_is_refused_before_anything_is_asked(
    fetchers: Fetchers, tmp_path: Path, model: ModelFile
) -> None:
    error = await refused(fetchers(), model)
    assert error.type == "model_forbidden"
    assert lying(tmp_path) == {}


async def test_pickles_come_where_the_operator_says_so_or_lists_them_with_their_hash(
    web: ModelSite, fetchers: Fetchers, tmp_path: Path
) -> None:
    data = b"PK\3\4 a pickle in an archive"
    asked = lora(web.serve("/a", data), name="x.ckpt")
    assert (await refused(fetchers(), asked)).type == "model_forbidden"
    await hold(fetchers(pickles=True), asked)
    own = replace(asked, name="y.ckpt", by_operator=True, sha256=digest(data))
    await hold(fetchers(listed=(own,)), ModelFile("y.ckpt"))
    assert lying(tmp_path).keys() == {"loras/x.ckpt", "loras/y.ckpt"}
    with pytest.raises(ValueError, match="hold code"):
        fetchers(listed=(replace(own, sha256=""),))


async def test_every_place_that_a_model_is_redirected_to_must_be_allowed(
    web: ModelSite, fetchers: Fetchers, tmp_path: Path
) -> None:
    async with model_site("127.0.0.2") as elsewhere:
        url = web.redirect("/a", elsewhere.serve("/x", model_bytes(SIZE)))
        error = await refused(fetchers(trusted=(*TRUSTED, "127.0.0.2")), lora(url))
        assert error.type == "model_forbidden"
        assert "127.0.0.2, which is none of the hosts" in error.message
        assert elsewhere.requests == []
        both = (*TRUSTED, "127.0.0.2")
        await hold(fetchers(hosts=both, trusted=both), lora(url))
    assert lying(tmp_path).keys() == {f"loras/{NAME}"}


async def test_an_allowed_host_that_leads_into_the_cluster_is_refused(
    web: ModelSite, fetchers: Fetchers
) -> None:
    url = web.redirect("/a", "https://10.0.0.7/x")
    error = await refused(fetchers(hosts=(*TRUSTED, "10.0.0.0/8")), lora(url))
    assert error.type == "model_forbidden"
    assert "not on the public internet" in error.message


async def test_redirects_in_a_circle_end(web: ModelSite, fetchers: Fetchers) -> None:
    url = web.redirect("/a", "/a")
    assert (await refused(fetchers(), lora(url))).type == "unknown_model"
    assert len(web.requests) == 6


async def test_plain_http_is_for_trusted_hosts_only(fetchers: Fetchers) -> None:
    error = await refused(fetchers(hosts=("example.org",)), lora("http://example.org/x"))
    assert "by https only" in error.message


async def test_another_hash_or_size_than_told_is_invalid_and_nothing_is_kept(
    web: ModelSite, fetchers: Fetchers, tmp_path: Path
) -> None:
    url = web.serve("/a", model_bytes(SIZE))
    assert (await refused(fetchers(), lora(url, sha256="0" * 64))).type == "model_invalid"
    assert (await refused(fetchers(), lora(url, size=SIZE + 1))).type == "model_invalid"
    assert (await refused(fetchers(), lora(url, size=SIZE - 1))).type == "model_invalid"
    short = web.serve("/short", model_bytes(SIZE), promised=False)
    assert (await refused(fetchers(), lora(short, size=SIZE + 1))).type == "model_invalid"
    assert (await refused(fetchers(), lora(short, size=SIZE - 1))).type == "model_invalid"
    assert lying(tmp_path) == {}


async def test_what_the_first_bytes_show_is_refused_before_the_rest_comes(
    web: ModelSite, fetchers: Fetchers
) -> None:
    never = asyncio.Event()
    page = web.serve("/a", b"<!DOCTYPE html>" * 100, go_on=never)
    assert (await refused(fetchers(patience=60.0), lora(page))).type == "model_invalid"
    other = web.serve("/b", model_bytes(SIZE), go_on=never)
    told = lora(other, size=SIZE + 1)
    assert (await refused(fetchers(patience=60.0), told)).type == "model_invalid"


async def test_a_web_page_in_the_place_of_a_model_is_invalid(
    web: ModelSite, fetchers: Fetchers, tmp_path: Path
) -> None:
    page = b"<!DOCTYPE html><html>Please log in" + b" " * 9000
    for name in ("x.safetensors", "x.gguf", "x.ckpt"):
        error = await refused(fetchers(pickles=True), lora(web.serve("/a", page), name=name))
        assert error.type == "model_invalid"
    tiny = await refused(fetchers(), lora(web.serve("/tiny", b"no")))
    assert tiny.type == "model_invalid"
    assert lying(tmp_path) == {}


@pytest.mark.parametrize("status", ["404 Not Found", "401 Unauthorized", "403 Forbidden"])
async def test_a_model_that_its_server_refuses_is_unknown(
    web: ModelSite, fetchers: Fetchers, status: str
) -> None:
    url = web.serve("/a", b"", status=status)
    error = await refused(fetchers(), lora(f"{url}?token=secret"))
    assert error.type == "unknown_model"
    assert "secret" not in error.message
    assert ("QUEUE_AGENT_MODEL_CREDENTIALS" in error.message) == ("404" not in status)


async def test_a_model_that_is_too_large_is_refused_in_words_before_it_comes(
    web: ModelSite, fetchers: Fetchers, tmp_path: Path
) -> None:
    url = web.serve("/a", model_bytes(SIZE))
    unsaid = web.serve("/b", model_bytes(SIZE), promised=False)
    for options in ({"largest": SIZE - 1}, {"limit": SIZE - 1}):
        assert (await refused(fetchers(**options), lora(url))).type == "model_too_large"
        assert (await refused(fetchers(**options), lora(unsaid))).type == "model_too_large"
        known = await refused(fetchers(**options), lora(url, size=SIZE))
        assert f"has {SIZE} bytes" in known.message
    both = [lora(url, size=SIZE), lora(url, name="b.safetensors", size=SIZE)]
    assert (await refused(fetchers(limit=2 * SIZE - 1), *both)).type == "model_too_large"
    assert lying(tmp_path) == {}


# Credentials


async def test_credentials_go_to_their_own_host_and_to_no_other(
    web: ModelSite, fetchers: Fetchers
) -> None:
    async with model_site("127.0.0.2") as elsewhere:
        url = web.redirect("/a", elsewhere.serve("/x", model_bytes(SIZE)))
        both = (*TRUSTED, "127.0.0.2")
        secret = {"127.0.0.1": {"Authorization": "Bearer secret"}}
        fetcher = fetchers(hosts=both, trusted=both, credentials=secret)
        await hold(fetcher, lora(url))
        assert web.asked_for("/a")[0]["authorization"] == "Bearer secret"
        assert "authorization" not in elsewhere.asked_for("/x")[0]


async def test_models_come_by_https_from_a_host_with_its_own_certificate(
    fetchers: Fetchers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, pem = certified("models.example.org", tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(pem))

    async def resolve(host: str, port: int) -> Sequence[str]:
        return ["127.0.0.1"]

    async with model_site(tls=context) as secure:
        secure.serve("/x", model_bytes(SIZE))
        port = secure.url.rpartition(":")[2]
        policy = ModelPolicy(
            tmp_path / "models",
            hosts=("*.example.org",),
            trusted=TRUSTED,
            folders=frozenset({"loras"}),
        )
        fetcher = ModelFetcher(policy, resolve=resolve)
        await hold(fetcher, lora(f"https://models.example.org:{port}/x"))
        await fetcher.aclose()
    assert lying(tmp_path / "models").keys() == {f"loras/{NAME}"}


# Broken connections


async def test_a_download_that_breaks_off_is_taken_up_where_it_was(
    web: ModelSite, fetchers: Fetchers, tmp_path: Path
) -> None:
    data = model_bytes(SIZE)
    url = web.serve("/a", data, breaks_after=[400, 300])
    await hold(fetchers(), lora(url, sha256=digest(data)))
    assert [asked.get("range") for asked in web.asked_for("/a")] == [
        None,
        "bytes=400-",
        "bytes=700-",
    ]
    assert lying(tmp_path) == {f"loras/{NAME}": data}


@pytest.mark.parametrize("options", [{"etag": None}, {"etag": 'W/"weak"'}, {"ranges": False}])
async def test_where_the_rest_cannot_be_asked_for_it_begins_anew(
    web: ModelSite, fetchers: Fetchers, tmp_path: Path, options: dict[str, Any]
) -> None:
    data = model_bytes(SIZE)
    url = web.serve("/a", data, breaks_after=[400], **options)
    await hold(fetchers(), lora(url, sha256=digest(data)))
    assert lying(tmp_path) == {f"loras/{NAME}": data}
    # a weak tag goes with no ranges
    asked_for_the_rest = ["range" in asked for asked in web.asked_for("/a")]
    assert asked_for_the_rest == [False, "ranges" in options]


async def test_a_server_that_goes_on_giving_some_is_asked_for_as_long_as_it_does(
    web: ModelSite, fetchers: Fetchers, tmp_path: Path
) -> None:
    data = model_bytes(SIZE)
    url = web.serve("/a", data, breaks_after=[60] * 15)
    await hold(fetchers(), lora(url, sha256=digest(data)))
    assert len(web.requests) == 16
    assert lying(tmp_path) == {f"loras/{NAME}": data}


async def test_a_version_that_changed_meanwhile_is_fetched_from_its_beginning(
    web: ModelSite, fetchers: Fetchers, tmp_path: Path
) -> None:
    url = web.serve("/a", model_bytes(SIZE, "a"), breaks_after=[400] + [0] * 6)
    with pytest.raises(Unavailable):
        await hold(fetchers(), lora(url))
    new = model_bytes(SIZE, "b")
    web.serve("/a", new, etag='"v2"')
    await hold(fetchers(), lora(url))
    assert lying(tmp_path) == {f"loras/{NAME}": new}


async def test_an_agent_takes_up_what_another_has_left(
    web: ModelSite, fetchers: Fetchers, tmp_path: Path
) -> None:
    data = model_bytes(SIZE)
    url = web.serve("/a", data, breaks_after=[400, 0, 0, 0, 0, 0, 0])
    with pytest.raises(Unavailable) as caught:
        await hold(fetchers(), lora(url))
    assert caught.value.type == "model_unavailable"
    assert lying(tmp_path) == {f"loras/.{NAME}.part": data[:400]}
    web.paths["/a"].breaks_after.clear()
    await hold(fetchers(), lora(url, sha256=digest(data)))
    assert web.asked_for("/a")[-1]["range"] == "bytes=400-"
    assert lying(tmp_path) == {f"loras/{NAME}": data}


async def test_a_left_part_that_is_damaged_is_fetched_anew(
    web: ModelSite, fetchers: Fetchers, tmp_path: Path
) -> None:
    data = model_bytes(SIZE)
    url = web.serve("/a", data, breaks_after=[400, 0, 0, 0, 0, 0])
    with pytest.raises(Unavailable):
        await hold(fetchers(), lora(url))
    part = tmp_path / "loras" / f".{NAME}.part"
    part.write_bytes(data[:200] + b"?" * 200)
    web.paths["/a"].breaks_after.clear()
    await hold(fetchers(), lora(url, sha256=digest(data)))
    assert lying(tmp_path) == {f"loras/{NAME}": data}


async def test_what_was_fetched_and_not_put_in_its_place_is_not_fetched_again(
    web: ModelSite, fetchers: Fetchers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = model_bytes(SIZE)
    url = web.serve("/a", data)

    def die(*_: object) -> None:
        raise KeyError("killed")

    with monkeypatch.context() as patched:
        patched.setattr("queue_agent.inputs.models.volume._move_without_replacing", die)
        with pytest.raises(KeyError):
            await hold(fetchers(), lora(url))
    await hold(fetchers(), lora(url))
    assert len(web.requests) == 1
    assert lying(tmp_path) == {f"loras/{NAME}": data}


async def test_a_server_that_is_not_available_for_now_is_asked_again(
    web: ModelSite, fetchers: Fetchers
) -> None:
    url = web.serve("/a", b"", status="503 Service Unavailable")
    with pytest.raises(Unavailable) as caught:
        await hold(fetchers(), lora(url))
    assert caught.value.type == "model_unavailable"
    assert len(web.requests) == 4


async def test_a_model_is_asked_for_again_no_earlier_than_its_server_says(
    web: ModelSite, fetchers: Fetchers, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)
        web.serve("/a", data)

    monkeypatch.setattr(download, "_pause", pause)
    data = model_bytes()
    url = web.serve("/a", b"", status="429 Too Many Requests", headers={"Retry-After": "7"})
    await hold(fetchers(), lora(url))
    assert pauses == [7.0]


@pytest.mark.parametrize(("asked", "heeded"), [("31", 31.0), ("86400", 300.0)])
async def test_a_server_that_wants_more_time_than_jobs_wait_has_them_come_again(
    web: ModelSite, fetchers: Fetchers, asked: str, heeded: float
) -> None:
    url = web.serve("/a", b"", status="503 Service Unavailable", headers={"Retry-After": asked})
    with pytest.raises(Unavailable) as caught:
        await hold(fetchers(), lora(url))
    assert (caught.value.type, caught.value.retry_after) == ("model_unavailable", heeded)
    assert len(web.requests) == 1


async def test_a_download_that_takes_too_long_ends(
    web: ModelSite, fetchers: Fetchers, tmp_path: Path
) -> None:
    url = web.serve("/a", model_bytes(SIZE), go_on=asyncio.Event())
    with pytest.raises(TimedOut) as caught:
        await hold(fetchers(timeout=0.2), lora(url))
    assert caught.value.type == "model_unavailable"
    web.paths["/a"].go_on = None
    await hold(fetchers(), lora(url))
    assert lying(tmp_path).keys() == {f"loras/{NAME}"}


async def test_a_full_disk_is_said_in_words(
    web: ModelSite, fetchers: Fetchers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "shutil.disk_usage", lambda _: type("Usage", (), {"free": 64 * 2**20 + SIZE - 1})
    )
    with pytest.raises(Unavailable) as caught:
        await hold(fetchers(), lora(web.serve("/a", model_bytes(SIZE))))
    assert caught.value.type == "disk_full"


# Sharing


async def test_jobs_that_want_the_same_model_share_a_download(
    web: ModelSite, fetchers: Fetchers
) -> None:
    go_on = asyncio.Event()
    url = web.serve("/a", model_bytes(SIZE), go_on=go_on)
    fetcher, heard = fetchers(), [Heard() for _ in range(3)]
    async with asyncio.TaskGroup() as jobs:
        for one in heard:
            jobs.create_task(hold(fetcher, lora(url), heard=one))
        for one in heard:
            await one.something.wait()
        go_on.set()
    assert len(web.requests) == 1
    assert all(one.shares[-1] == 1.0 for one in heard)


async def test_a_download_goes_on_as_long_as_anybody_waits_for_it(
    web: ModelSite, fetchers: Fetchers, tmp_path: Path
) -> None:
    go_on = asyncio.Event()
    url = web.serve("/a", model_bytes(SIZE), go_on=go_on)
    fetcher, heard = fetchers(), [Heard(), Heard()]
    jobs = [asyncio.create_task(hold(fetcher, lora(url), heard=one)) for one in heard]
    for one in heard:
        await one.something.wait()
    jobs[0].cancel()
    await asyncio.wait({jobs[0]})
    go_on.set()
    assert (await jobs[1]).came
    assert jobs[0].cancelled()
    assert len(web.requests) == 1
    assert web.left.empty()


async def test_a_download_that_nobody_waits_for_any_more_stops_and_can_be_taken_up(
    web: ModelSite, fetchers: Fetchers, tmp_path: Path
) -> None:
    data, heard = model_bytes(SIZE), Heard()
    url = web.serve("/a", data, go_on=asyncio.Event())
    fetcher = fetchers(patience=60.0)
    job = asyncio.create_task(hold(fetcher, lora(url), heard=heard))
    await web.asked.wait()
    await heard.something.wait()
    job.cancel()
    assert await web.left.get() == "/a"
    await asyncio.wait({job})
    web.paths["/a"].go_on = None
    await hold(fetcher, lora(url, sha256=digest(data)))
    assert lying(tmp_path) == {f"loras/{NAME}": data}


async def test_one_who_comes_while_an_abandoned_download_ends_begins_anew(
    web: ModelSite, fetchers: Fetchers
) -> None:
    heard = Heard()
    url = web.serve("/a", model_bytes(SIZE), go_on=asyncio.Event())
    fetcher = fetchers()
    job = asyncio.create_task(hold(fetcher, lora(url), heard=heard))
    await heard.something.wait()
    web.paths["/a"].go_on = None
    job.cancel()
    others = []
    for _ in range(20):  # at each step of the way out
        await asyncio.sleep(0)
        others.append(asyncio.create_task(fetcher.have(lora(url), lambda *_: None)))
    assert any(await asyncio.gather(*others))
    await asyncio.wait({job})
    assert job.cancelled()


async def test_agents_that_share_a_volume_fetch_a_model_once(
    web: ModelSite, fetchers: Fetchers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("queue_agent.inputs.models.fetcher._LOOK", 0.01)
    go_on, data = asyncio.Event(), model_bytes(SIZE)
    url = web.serve("/a", data, go_on=go_on)
    heard = [Heard(), Heard()]
    async with asyncio.TaskGroup() as pods:
        for one in heard:
            pods.create_task(hold(fetchers(), lora(url), heard=one))
        for one in heard:
            await one.something.wait()
        go_on.set()
    assert len(web.requests) == 1
    assert lying(tmp_path) == {f"loras/{NAME}": data}


async def test_a_job_with_a_wrong_hash_does_not_spoil_the_download_of_another(
    web: ModelSite, fetchers: Fetchers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("queue_agent.inputs.models.fetcher._LOOK", 0.01)
    go_on = asyncio.Event()
    url = web.serve("/a", model_bytes(SIZE), go_on=go_on)
    fetcher, heard = fetchers(), Heard()
    wrong = asyncio.create_task(hold(fetcher, lora(url, sha256="0" * 64), heard=heard))
    await heard.something.wait()
    good = asyncio.create_task(hold(fetcher, lora(url)))
    go_on.set()
    with pytest.raises(Rejected):
        await wrong
    assert (await good).came


async def test_what_jobs_say_of_a_listed_model_spoils_no_download_of_it(
    web: ModelSite, fetchers: Fetchers, tmp_path: Path
) -> None:
    go_on, heard = asyncio.Event(), [Heard(), Heard()]
    own = lora(web.serve("/a", model_bytes(SIZE), go_on=go_on), by_operator=True)
    fetcher = fetchers(listed=(own,))
    wrong = asyncio.create_task(hold(fetcher, lora(sha256="0" * 64), heard=heard[0]))
    good = asyncio.create_task(hold(fetcher, lora(), heard=heard[1]))
    for one in heard:
        await one.something.wait()
    go_on.set()
    assert (await good).came
    with pytest.raises(Rejected):
        await wrong
    assert len(web.requests) == 1
    assert lying(tmp_path).keys() == {f"loras/{NAME}"}


# What is there already


async def test_a_name_under_which_jobs_had_another_file_is_told(
    web: ModelSite, fetchers: Fetchers, tmp_path: Path
) -> None:
    fetcher, told = fetchers(), lora(web.serve("/a", model_bytes(SIZE)))
    assert (await hold(fetcher, told)).replaced == ()
    assert (await hold(fetcher, told)).replaced == ()
    (tmp_path / "loras" / NAME).unlink()
    (tmp_path / "loras" / NAME).write_bytes(model_bytes(SIZE + 1))
    assert (await hold(fetcher, told)).replaced == (told,)
    assert (await hold(fetcher, told)).replaced == ()


async def test_the_operators_file_is_never_replaced_and_must_be_the_one_that_is_asked_for(
    web: ModelSite, fetchers: Fetchers, tmp_path: Path
) -> None:
    data, other = model_bytes(SIZE), model_bytes(SIZE, "o")
    (tmp_path / "loras").mkdir()
    (tmp_path / "loras" / NAME).write_bytes(other)
    url = web.serve("/a", data)
    assert (await hold(fetchers(), lora(url))).came == ()
    await hold(fetchers(), lora(url, sha256=digest(other), size=SIZE))
    error = await refused(fetchers(), lora(url, sha256=digest(data)))
    assert error.type == "model_invalid"
    assert (await refused(fetchers(), lora(url, size=1))).type == "model_invalid"
    assert web.requests == []
    assert lying(tmp_path) == {f"loras/{NAME}": other}


async def test_a_file_that_the_operator_puts_there_meanwhile_is_kept(
    web: ModelSite, fetchers: Fetchers, tmp_path: Path
) -> None:
    go_on, heard, own = asyncio.Event(), Heard(), model_bytes(SIZE, "o")
    url = web.serve("/a", model_bytes(SIZE), go_on=go_on)
    job = asyncio.create_task(hold(fetchers(), lora(url), heard=heard))
    await heard.something.wait()
    (tmp_path / "loras" / NAME).write_bytes(own)
    go_on.set()
    await job
    assert lying(tmp_path) == {f"loras/{NAME}": own}
    assert ModelVolume(tmp_path).record(lora()) is None


async def test_a_model_fetched_with_another_hash_is_refused_in_words(
    web: ModelSite, fetchers: Fetchers
) -> None:
    data = model_bytes(SIZE)
    url = web.serve("/a", data)
    await hold(fetchers(), lora(url))
    await hold(fetchers(), lora(url, sha256=digest(data)))
    error = await refused(fetchers(), lora(url, sha256="1" * 64))
    assert error.type == "model_invalid"
    assert "SHA-256" in error.message


async def test_a_model_of_the_same_name_from_elsewhere_is_used_with_a_warning(
    web: ModelSite, fetchers: Fetchers
) -> None:
    first, second = web.serve("/a", model_bytes(SIZE)), web.serve("/b", model_bytes(SIZE))
    await hold(fetchers(), lora(f"{first}?token=secret"))
    assert (await hold(fetchers(), lora(f"{first}?download=true"))).warnings == ()
    (warning,) = (await hold(fetchers(), lora(second))).warnings
    assert warning.endswith(f"is the one from {first}")


async def test_two_hashes_for_one_name_in_a_job_are_refused(fetchers: Fetchers) -> None:
    url = "http://127.0.0.1:1/x"
    error = await refused(fetchers(), lora(url, sha256="0" * 64), lora(url, sha256="1" * 64))
    assert error.type == "model_invalid"


# Room


async def fill(web: ModelSite, fetcher: ModelFetcher, folder: Path, *names: str) -> None:
    """Fetch models one after another, of which the first was used longest ago."""
    for number, name in enumerate(names):
        await hold(fetcher, lora(web.serve(f"/{name}", model_bytes(SIZE)), name=name))
        used_at(folder, name, number + 1)


async def test_what_was_not_used_for_the_longest_time_makes_room(
    web: ModelSite, fetchers: Fetchers, tmp_path: Path
) -> None:
    fetcher = fetchers(limit=3 * SIZE)
    await fill(web, fetcher, tmp_path, "a.gguf.safetensors", "b.safetensors", "c.safetensors")
    await hold(fetcher, ModelFile("a.gguf.safetensors"))  # used once more, by its name
    await hold(fetcher, lora(web.serve("/d", model_bytes(SIZE)), name="d.safetensors"))
    assert lying(tmp_path).keys() == {
        "loras/a.gguf.safetensors",
        "loras/c.safetensors",
        "loras/d.safetensors",
    }


async def test_the_operators_files_are_not_counted_and_never_go(
    web: ModelSite, fetchers: Fetchers, tmp_path: Path
) -> None:
    (tmp_path / "loras").mkdir()
    own = tmp_path / "loras" / "own.safetensors"
    own.write_bytes(model_bytes(5 * SIZE))
    fetcher = fetchers(limit=2 * SIZE)
    await fill(web, fetcher, tmp_path, "a.safetensors", "b.safetensors", "c.safetensors")
    assert lying(tmp_path).keys() == {
        "loras/own.safetensors",
        "loras/b.safetensors",
        "loras/c.safetensors",
    }


async def test_a_fetched_file_that_the_operator_replaced_never_goes(
    web: ModelSite, fetchers: Fetchers, tmp_path: Path
) -> None:
    fetcher = fetchers(limit=SIZE)
    await fill(web, fetcher, tmp_path, "a.safetensors")
    own = tmp_path / "loras" / "a.safetensors"
    own.unlink()
    own.write_bytes(b"the operator's")
    await fill(web, fetcher, tmp_path, "b.safetensors", "c.safetensors")
    assert lying(tmp_path).keys() == {"loras/a.safetensors", "loras/c.safetensors"}


@pytest.mark.parametrize("same_agent", [True, False])
async def test_what_is_in_use_never_goes_and_who_needs_its_room_waits(
    web: ModelSite,
    fetchers: Fetchers,
    tmp_path: Path,
    same_agent: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if not same_agent:
        monkeypatch.setattr("queue_agent.inputs.models.fetcher._LOOK", 0.01)
    one = fetchers(limit=2 * SIZE)
    other = one if same_agent else fetchers(limit=2 * SIZE)
    await fill(web, one, tmp_path, "a.safetensors", "b.safetensors")
    new = lora(web.serve("/c", model_bytes(SIZE)), name="c.safetensors")
    with ExitStack() as first, ExitStack() as second:
        await hold(one, ModelFile("a.safetensors"), keep=first)
        await hold(one, ModelFile("b.safetensors"), keep=second)
        waiting = asyncio.create_task(hold(other, new))
        await web.asked.wait()
        while len(web.asked_for("/c")) < 2:  # noqa: ASYNC110  a server tells nobody
            await asyncio.sleep(0.01)
        assert lying(tmp_path).keys() >= {"loras/a.safetensors", "loras/b.safetensors"}
        first.close()
        await waiting
    assert lying(tmp_path).keys() == {"loras/b.safetensors", "loras/c.safetensors"}


async def test_jobs_that_need_each_others_room_all_get_their_models(
    web: ModelSite, fetchers: Fetchers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("queue_agent.inputs.models.fetcher._LOOK", 0.01)
    fetcher = fetchers(limit=3 * SIZE)
    urls = {name: web.serve(f"/{name}", model_bytes(SIZE)) for name in "abcd"}

    async def job(*names: str) -> None:
        await hold(fetcher, *(lora(urls[name], name=f"{name}.safetensors") for name in names))

    async with asyncio.timeout(90), asyncio.TaskGroup() as jobs:
        jobs.create_task(job("a", "b"))
        jobs.create_task(job("c", "d"))
        jobs.create_task(job("b", "c", "a"))


async def test_a_job_that_waits_too_long_for_room_is_left_to_others(
    web: ModelSite, fetchers: Fetchers, tmp_path: Path
) -> None:
    fetcher = fetchers(limit=SIZE, room_patience=0.05)
    await fill(web, fetcher, tmp_path, "a.safetensors")
    with ExitStack() as held:
        await hold(fetcher, ModelFile("a.safetensors"), keep=held)
        with pytest.raises(TimedOut) as caught:
            await hold(fetcher, lora(web.serve("/b", model_bytes(SIZE)), name="b.safetensors"))
    assert caught.value.type == "models_in_use"


async def test_who_is_cancelled_while_a_part_is_opened_leaves_it_closed(
    web: ModelSite, fetchers: Fetchers, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_part, files = ModelVolume.opened, []
    loop, opening, may_go_on = asyncio.get_running_loop(), asyncio.Event(), threading.Event()

    def opened(volume: ModelVolume, model: ModelFile) -> BinaryIO:
        files.append(open_part(volume, model))
        loop.call_soon_threadsafe(opening.set)
        may_go_on.wait(90)
        return files[0]

    monkeypatch.setattr(ModelVolume, "opened", opened)
    holding = asyncio.create_task(hold(fetchers(), lora(web.serve("/a", model_bytes(SIZE)))))
    await opening.wait()
    holding.cancel()
    may_go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await holding
    assert [file.closed for file in files] == [True]


async def test_what_a_dead_agent_left_unfinished_makes_room_too(
    web: ModelSite, fetchers: Fetchers, tmp_path: Path
) -> None:
    fetcher = fetchers(limit=SIZE)
    broken = web.serve("/a", model_bytes(SIZE), breaks_after=[400, 0, 0, 0, 0, 0])
    with pytest.raises(Unavailable):
        await hold(fetcher, lora(broken, name="a.safetensors"))
    await fill(web, fetcher, tmp_path, "b.safetensors")
    assert lying(tmp_path).keys() == {"loras/b.safetensors"}


async def test_room_is_made_for_a_model_whose_size_nobody_says(
    web: ModelSite, fetchers: Fetchers, tmp_path: Path
) -> None:
    fetcher = fetchers(limit=2 * SIZE)
    await fill(web, fetcher, tmp_path, "a.safetensors", "b.safetensors")
    url = web.serve("/c", model_bytes(SIZE), promised=False)
    await hold(fetcher, lora(url, name="c.safetensors"))
    assert lying(tmp_path).keys() == {"loras/b.safetensors", "loras/c.safetensors"}


async def test_a_volume_without_locks_serves_one_agent_all_the_same(
    web: ModelSite, fetchers: Fetchers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without(*_: object) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", without)
    monkeypatch.setattr("os.link", without)
    fetcher = fetchers(limit=2 * SIZE)
    await fill(web, fetcher, tmp_path, "a.safetensors", "b.safetensors")
    with ExitStack() as held:
        await hold(fetcher, ModelFile("a.safetensors"), keep=held)
        used_at(tmp_path, "a.safetensors", 1)
        await hold(fetcher, lora(web.serve("/c", model_bytes(SIZE)), name="c.safetensors"))
    assert lying(tmp_path).keys() == {"loras/a.safetensors", "loras/c.safetensors"}


# The folder


async def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    file = tmp_path / "models"
    file.write_text("no folder")
    for folder in (file, tmp_path / "missing"):
        with pytest.raises(Unavailable) as caught:
            await ModelFetcher(ModelPolicy(folder)).check()
        assert str(folder) in caught.value.message
    await ModelFetcher(ModelPolicy(tmp_path)).check()


async def test_the_operators_models_need_no_folder_that_can_be_written(
    fetchers: Fetchers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "loras").mkdir()
    (tmp_path / "loras" / NAME).write_bytes(model_bytes(SIZE))

    def refuse(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("os.open", refuse)
    await hold(fetchers(), lora("http://127.0.0.1:1/x"))


async def test_records_name_no_secrets(web: ModelSite, fetchers: Fetchers, tmp_path: Path) -> None:
    await hold(fetchers(), lora(web.serve("/a", model_bytes(SIZE)) + "?token=secret"))
    (record,) = (tmp_path / ".queue-agent").rglob("*.json")
    told = json.loads(record.read_text())
    assert told["url"] == f"{web.url}/a"
    assert told["sha256"] == digest(model_bytes(SIZE))


async def test_errors_are_of_the_tree(fetchers: Fetchers) -> None:
    with pytest.raises(QueueAgentError):
        await hold(fetchers(), lora("https://127.0.0.1:1/x"))
