"""The official client of OpenAI, `openai`, which needs nothing but the gateway's address."""

import asyncio
import base64
import io
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

import httpx
import openai
import pytest
from PIL import Image

from diffusers_servers import tiny_server
from gateway_site import Site, site_of
from harness import PATIENCE
from queue_agent.gateway.keys import new_key
from queue_agent.testing import sample_png
from queue_agent.testing.aws import EmbeddedCloud
from queue_agent.testing.process import ServerProcess

SMALL: Final[dict[str, Any]] = {
    "prompt": "a lighthouse",
    "size": "64x64",
    "extra_body": {"steps": 2, "seed": 7},
}
PHOTO: Final = ("photo.png", sample_png(64, 64), "image/png")
KEY: Final = "unused"
Call = Callable[[Any], Any]
Check = Callable[[Any], bool]


class Refused(NamedTuple):
    """What the client raises, with the field at fault and some words of the answer."""

    error: type[openai.APIStatusError]
    param: str | None = None
    words: str = ""


class Case(NamedTuple):
    """One call of the client, and what must come of it on each runtime."""

    call: Call
    webui: Check | Refused
    bundled: Check | Refused


def both(call: Call, expected: Check | Refused) -> Case:
    return Case(call, expected, expected)


def opened(data: bytes) -> Image.Image:
    with Image.open(io.BytesIO(data)) as image:
        image.load()
    return image


def images(*sizes: tuple[int, int], kind: str = "png") -> Check:
    """So many images, of these sizes and this format, and nothing to warn of."""

    def check(answer: Any) -> bool:
        made = [opened(base64.b64decode(item.b64_json)) for item in answer.data]
        assert [image.size for image in made] == [*sizes]
        assert {(image.format or "").lower() for image in made} == {kind}
        assert answer.output_format == kind
        assert answer.size == f"{sizes[0][0]}x{sizes[0][1]}"
        assert answer.created > 0
        return "warnings" not in answer.to_dict()

    return check


def warned_of(*names: str, count: int = 1) -> Check:
    def check(answer: Any) -> bool:
        assert len(answer.data) == count
        return [words.partition(":")[0] for words in answer.to_dict()["warnings"]] == [*names]

    return check


def linked(answer: Any) -> bool:
    """A link, behind which the image lies."""
    (item,) = answer.data
    return opened(httpx.get(item.url, timeout=PATIENCE).content).size == (64, 64)


def told(*kinds: str) -> Check:
    """These events, each of them a whole image, and nothing to warn of."""

    def check(events: Any) -> bool:
        assert [event.type for event in events] == [*kinds]
        for event in events:
            assert opened(base64.b64decode(event.b64_json)).size == (64, 64)
            assert (event.size, event.output_format) == ("64x64", "png")
            assert event.created_at > 0
            assert event.usage is None
            assert event.to_dict()["warnings"] == []
        return True

    return check


def previewed(most: int, *, of: str) -> Check:
    """Up to so many images of the work under way, one at least, and then the whole one."""

    def check(events: Any) -> bool:
        *partial, whole = events
        assert 1 <= len(partial) <= most
        for number, event in enumerate(partial):
            assert (event.type, event.partial_image_index) == (f"{of}.partial_image", number)
            seen = opened(base64.b64decode(event.b64_json))
            assert (seen.format, event.output_format) == ("JPEG", "jpeg")
            assert event.size == f"{seen.width}x{seen.height}"
            assert event.created_at > 0
        return told(f"{of}.completed")([whole])

    return check


def listed(*names: str) -> Check:
    return lambda models: {*names} <= {model.id for model in models.data}


def variation(api: Any) -> Any:
    """OpenAI takes it back, and its client says so."""
    with pytest.deprecated_call():
        return api.images.create_variation(image=PHOTO)


BAD, LOST = openai.BadRequestError, openai.NotFoundError
EDIT: Final = {**SMALL, "image": PHOTO}
CASES: Final[dict[str, Case]] = {
    "an image": both(lambda api: api.images.generate(**SMALL), images((64, 64))),
    "two images": both(lambda api: api.images.generate(**SMALL, n=2), images((64, 64), (64, 64))),
    "a size": both(
        lambda api: api.images.generate(**SMALL | {"size": "128x72"}), images((128, 72))
    ),
    "what changes nothing": both(
        lambda api: api.images.generate(
            **SMALL, quality="auto", background="opaque", moderation="auto", output_format="png",
            output_compression=100, user="someone", response_format="b64_json",
        ),
        images((64, 64)),
    ),
    "hints": Case(
        lambda api: api.images.generate(**SMALL, quality="high", style="vivid", moderation="low"),
        warned_of("quality", "style", "moderation"),
        warned_of("style", "moderation"),
    ),
    "links": both(lambda api: api.images.generate(**SMALL, response_format="url"), linked),
    "a model that is a runtime": both(
        lambda api: api.images.generate(**SMALL, model="gpt-image-1"), images((64, 64))
    ),
    "a model that is a checkpoint": both(
        lambda api: api.images.generate(**SMALL, model="first"), images((64, 64))
    ),
    "an unknown model": both(
        lambda api: api.images.generate(**SMALL, model="nope"), Refused(LOST, "model", "nope")
    ),
    "another format": both(
        lambda api: api.images.generate(**SMALL, output_format="jpeg", output_compression=50),
        images((64, 64), kind="jpeg"),
    ),
    "transparency": both(
        lambda api: api.images.generate(**SMALL, background="transparent"),
        Refused(BAD, "background"),
    ),
    "a size that is none": both(
        lambda api: api.images.generate(**SMALL | {"size": "big"}), Refused(BAD, "size")
    ),
    "too many": both(lambda api: api.images.generate(**SMALL, n=99), Refused(BAD, "n")),
    "what only the runtime can refuse": both(
        lambda api: api.images.generate(**SMALL | {"extra_body": {"steps": "many"}}),
        Refused(BAD, words="steps"),
    ),
    "what is said twice, and otherwise": both(
        lambda api: api.images.generate(**SMALL | {"extra_body": {"batch_size": 3}}, n=2),
        Refused(BAD, "n", "batch_size"),
    ),
    "vectors": both(
        lambda api: api.images.generate(**SMALL | {"extra_body": {"svg": {"depth": 2}}}),
        Refused(BAD, "svg"),
    ),
    "an unknown field": both(
        lambda api: api.images.generate(**SMALL | {"extra_body": {"steps": 2, "frobnicate": 1}}),
        warned_of("frobnicate"),
    ),
    "a stream": both(
        lambda api: api.images.generate(**SMALL, stream=True), told("image_generation.completed")
    ),
    "a stream of two": both(
        lambda api: api.images.generate(**SMALL, n=2, stream=True),
        told(*["image_generation.completed"] * 2),
    ),
    "a stream with previews": both(
        lambda api: api.images.generate(
            **SMALL | {"extra_body": {"steps": 400, "seed": 7}}, stream=True, partial_images=2
        ),
        previewed(2, of="image_generation"),
    ),
    "previews without a stream": both(
        lambda api: api.images.generate(**SMALL, partial_images=2), Refused(BAD, "partial_images")
    ),
    "an edit": both(lambda api: api.images.edit(**EDIT), images((64, 64))),
    "an edit of the image's size": both(
        lambda api: api.images.edit(**EDIT | {"size": "auto"}), images((64, 64))
    ),
    "an edit with a mask": both(lambda api: api.images.edit(**EDIT, mask=PHOTO), images((64, 64))),
    "all hints of an edit": Case(
        lambda api: api.images.edit(
            **EDIT, quality="low", input_fidelity="high", background="opaque", output_format="png",
            user="someone", response_format="b64_json",
        ),
        warned_of("input_fidelity", "quality"),
        warned_of("input_fidelity"),
    ),
    "a form that says it otherwise": both(
        lambda api: api.images.edit(**EDIT | {"extra_body": {"width": 128}}),
        Refused(BAD, "size", "width"),
    ),
    "an edit of two images": Case(
        lambda api: api.images.edit(**EDIT | {"image": [PHOTO, PHOTO]}),
        Refused(BAD),
        warned_of("image"),
    ),
    "an edit of two images that makes two": Case(
        lambda api: api.images.edit(**EDIT | {"image": [PHOTO, PHOTO]}, n=2),
        images((64, 64), (64, 64)),
        warned_of("image", count=2),
    ),
    "an edit that streams": both(
        lambda api: api.images.edit(**EDIT, stream=True), told("image_edit.completed")
    ),
    "an edit of what is no image": both(
        lambda api: api.images.edit(**EDIT | {"image": b"nothing"}), Refused(BAD)
    ),
    "a variation": both(variation, Refused(LOST, words="images/edits")),
    "all models": both(lambda api: api.models.list(), listed("gpt-image-1", "first")),
    "a model": both(
        lambda api: api.models.retrieve("gpt-image-1"), lambda model: model.id == "gpt-image-1"
    ),
    "no such model": both(
        lambda api: api.models.retrieve("org/nope"), Refused(LOST, "model", "org/nope")
    ),
    "no images at all": both(
        lambda api: api.chat.completions.create(model="x", messages=[]), Refused(LOST)
    ),
}  # fmt: skip


def start(site: Site, **settings: str) -> ServerProcess:
    """A gateway with names for the runtime and for its first checkpoint, which its agent tells."""
    name = site.deployment.runtime_name
    first = site.start_gateway()
    with httpx.Client(base_url=first.url, timeout=PATIENCE) as http:
        while len(found := http.get("/v1/models").json()["data"]) < 2:
            pass  # each answer takes a while
    first.stop()
    models = f"gpt-image-1={name},first={name}:{found[1]['id']}"
    return site.start_gateway(QUEUE_AGENT_GATEWAY_MODELS=models, **settings)


@pytest.fixture(scope="module")
def before_a_web_ui(site: Site) -> ServerProcess:
    return start(site)


@pytest.fixture(scope="module")
def before_the_bundled_runtime(
    embedded_cloud: EmbeddedCloud, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("bundled")
    with site_of(embedded_cloud, folder, tiny_server(), "diffusers") as site:
        yield start(site)


def ask(gateway: ServerProcess, call: Call) -> Any:
    """What the client answers; of a stream all events."""
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=KEY, max_retries=0) as api:
        answer = call(api)
        return [*answer] if isinstance(answer, openai.Stream) else answer


def ask_by_the_other(gateway: ServerProcess, call: Call) -> Any:
    """The same of its asynchronous twin."""

    async def run() -> Any:
        url = f"{gateway.url}/v1"
        async with openai.AsyncOpenAI(base_url=url, api_key=KEY, max_retries=0) as api:
            answer = await call(api)
            if isinstance(answer, openai.AsyncStream):
                return [event async for event in answer]
            return answer

    return asyncio.run(run())


def try_out(ask: Callable[[], Any], expected: Check | Refused) -> None:
    if not isinstance(expected, Refused):
        assert expected(ask())
        return
    with pytest.raises(expected.error) as caught:
        ask()
    assert type(caught.value) is expected.error
    assert caught.value.param == expected.param
    assert caught.value.type == "invalid_request_error"
    assert expected.words in caught.value.message


@pytest.mark.parametrize("name", CASES)
def test_a_client_of_openai_needs_only_another_address(
    before_a_web_ui: ServerProcess, name: str
) -> None:
    try_out(lambda: ask(before_a_web_ui, CASES[name].call), CASES[name].webui)


@pytest.mark.parametrize("name", CASES)
def test_so_does_its_twin_where_the_runtime_is_the_bundled_one(
    before_the_bundled_runtime: ServerProcess, name: str
) -> None:
    call = CASES[name].call
    try_out(lambda: ask_by_the_other(before_the_bundled_runtime, call), CASES[name].bundled)


def test_keys_and_rates_are_told_by_the_clients_own_errors(site: Site) -> None:
    key, entry = new_key("team-a")
    file = site.folder / "keys-of-openai.json"
    file.write_text(f'{{"keys": [{entry.model_copy(update={"rate": 1}).model_dump_json()}]}}')
    gateway = site.start_gateway(QUEUE_AGENT_GATEWAY_KEYS_FILE=str(file))
    try:
        url = f"{gateway.url}/v1"
        with (
            openai.OpenAI(base_url=url, api_key="qag_wrong", max_retries=0) as wrong,
            openai.OpenAI(base_url=url, api_key=key, max_retries=0) as right,
        ):
            with pytest.raises(openai.AuthenticationError) as unknown:
                wrong.images.generate(**SMALL)
            assert unknown.value.code == "invalid_api_key"
            assert right.models.list().data
            with pytest.raises(openai.RateLimitError) as often:
                right.models.list()
            assert int(often.value.response.headers["retry-after"]) > 0
    finally:
        gateway.stop()


def test_a_stream_that_fails_raises_the_clients_own_error(before_a_web_ui: ServerProcess) -> None:
    body = {**SMALL, "extra_body": {"steps": 2, "sampler_name": "No such sampler"}}
    with pytest.raises(openai.APIError) as caught:
        ask(before_a_web_ui, lambda api: api.images.generate(**body, stream=True))
    assert "ampler" in caught.value.message
    assert caught.value.type == "invalid_request_error"


def test_what_takes_too_long_is_asked_for_only_once(site: Site) -> None:
    hasty = site.start_gateway(QUEUE_AGENT_GATEWAY_SYNC_TIMEOUT="0.2")
    body = {**SMALL, "extra_body": {"steps": 100, "seed": 504}}
    try:
        with (
            openai.OpenAI(base_url=f"{hasty.url}/v1", api_key=KEY, max_retries=2) as api,
            pytest.raises(openai.InternalServerError) as caught,
        ):
            api.images.generate(**body)
        assert caught.value.code == "timeout"
        jobs = httpx.get(f"{hasty.url}/v1/jobs", timeout=PATIENCE).json()["jobs"]
        assert [job["content"].get("seed") for job in jobs].count(504) == 1
    finally:
        hasty.stop()
