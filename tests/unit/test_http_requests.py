"""Requests from templates: a job's values stand in their places and change nothing else."""

import base64
import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import JsonValue, TypeAdapter

from queue_agent.runtime import Asset
from queue_agent.runtime.http import Body, Form
from queue_agent.testing import sample_png
from queue_agent.wire.errors import Rejected
from queue_agent_runtimes.http.bodies import request_of
from queue_agent_runtimes.http.declaration import HttpCall, HttpTask
from queue_agent_runtimes.http.parameters import Parameter
from queue_agent_runtimes.http.template import JobFile, Rendered, render
from queue_agent_runtimes.http.values import check_places, references_of, values_of

PNG = sample_png(8, 8)
ENCODED = base64.b64encode(PNG).decode()


def task(**parameters: dict[str, Any]) -> HttpTask:
    body = {name: f"${{{name}}}" for name in parameters}
    return HttpTask.model_validate(
        {"parameters": parameters, "request": {"path": "/p", "json": body}}
    )


def read(declared: HttpTask, **content: JsonValue) -> Mapping[str, Rendered]:
    return values_of(declared, content, {}, switch_models=True).values


class Sink:
    """Takes what a body writes."""

    def __init__(self) -> None:
        self.written = bytearray()

    async def write(self, piece: bytes) -> None:
        self.written += piece


async def sent(call: HttpCall, values: Mapping[str, Rendered]) -> Any:
    body, sink = request_of(call, values).body(), Sink()
    assert isinstance(body, Body)
    await body.write(sink)  # type: ignore[arg-type]  # all that it asks of one
    assert len(sink.written) == body.size, "as it was announced"
    return json.loads(sink.written)


@pytest.mark.parametrize("value", ["a cat", 7, 0, 1.5, True, False, [1, "a"], {"a": 1}, ""])
def test_a_lone_placeholder_becomes_the_value_itself(value: JsonValue) -> None:
    assert render({"a": ["${x}"]}, {"x": value}) == {"a": [value]}


def test_amid_other_text_it_becomes_words() -> None:
    values: dict[str, Rendered] = {"w": 512, "h": 64, "on": True}
    assert render("${w}x${h} $$5 ${on}", values) == "512x64 $5 true"


def test_what_has_no_value_is_left_out_where_it_stands() -> None:
    template: JsonValue = {"a": "${x}", "b": [1, "${x}", 2], "c": {"d": "w${x}"}, "e": None}
    assert render(template, {}) == {"b": [1, 2], "c": {}, "e": None}


def test_an_entry_of_a_list_is_taken_by_its_place() -> None:
    letters: list[Rendered] = ["a", "b"]
    assert render(["${x[1]}", "${x[7]}"], {"x": letters}) == ["b"]


@pytest.mark.parametrize(
    "text",
    ['", "admin": true, "x": "', "${seed}", "$${seed}", "{{7*7}}", "\\u0022}", "\U0001f600"],
)
async def test_text_of_a_job_is_text_whatever_it_looks_like(text: str) -> None:
    call = HttpCall.model_validate(
        {"path": "/p", "json": {"prompt": "${prompt}", "seed": "${seed}"}}
    )
    assert await sent(call, {"prompt": text, "seed": 3}) == {"prompt": text, "seed": 3}


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just("${seed}"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from(["prompt", "steps", "size", "extra", "seed", "image", "admin"])
FUZZED = HttpTask.model_validate(
    {
        "parameters": {
            "prompt": {"type": "string", "words": True},
            "steps": {"type": "integer", "minimum": 1, "maximum": 9, "default": 4},
            "size": {"type": "number"},
            "extra": {"type": "json"},
            "seed": {"type": "seed"},
            "image": {"type": "image", "many": True},
        },
        "request": {
            "path": "/p/${steps}",
            "query": {"q": "${prompt}"},
            "headers": {"X-Size": "s-${size}"},
            "json": {
                "prompt": "${prompt}",
                "nested": {"steps": "${steps}", "list": [{"extra": "${extra}"}, "${seed}"]},
                "images": "${image}",
            },
        },
    }
)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(NAMES, VALUES, max_size=6))
def test_no_job_changes_what_a_request_looks_like(content: dict[str, JsonValue]) -> None:
    try:
        check_places(FUZZED, content)
        found = values_of(FUZZED, content, {}, switch_models=True)
        request = request_of(FUZZED.request, found.values)
    except Rejected:
        return
    body = request.content
    assert isinstance(body, dict)
    assert body.keys() <= {"prompt", "nested", "images"}
    nested = body["nested"]
    assert isinstance(nested, dict)
    assert nested.keys() == {"steps", "list"}
    assert nested["steps"] in range(1, 10)
    assert request.path == f"/p/{nested['steps']}"
    assert request.query.keys() <= {"q"}
    assert all("\n" not in value and "\r" not in value for value in request.headers.values())


@pytest.mark.parametrize("value", ["../admin", "a/b?c#d", "%2e%2e", "a b", "é", "..\\x"])
def test_a_value_in_an_address_stays_in_its_segment(value: str) -> None:
    path = request_of(HttpCall(path="/p/${x}/end"), {"x": value}).path
    assert path.count("/") == 3
    assert not {"?", "#", " ", "\\"} & set(path)


@pytest.mark.parametrize("value", ["", ".", "..", "...", "x" * 1001])
def test_what_cannot_be_a_segment_is_refused(value: str) -> None:
    with pytest.raises(Rejected, match="cannot be part of an address"):
        request_of(HttpCall(path="/p/${x}"), {"x": value})


@pytest.mark.parametrize("value", ["a\r\nX-Admin: 1", "a\nb", "a\0b", "\u4e00"])
def test_a_value_in_a_header_makes_no_other(value: str) -> None:
    with pytest.raises(Rejected, match="The header X-A cannot hold"):
        request_of(HttpCall(path="/p", headers={"X-A": "${x}"}), {"x": value})


@pytest.mark.parametrize(
    ("parameter", "value", "words"),
    [
        ({"type": "string"}, 7, "must be a text"),
        ({"type": "string", "enum": ["a", "b"]}, "c", "must be one of a, b"),
        ({"type": "string", "max_length": 2}, "abc", "must have 0 to 2 characters"),
        ({"type": "string", "pattern": "[a-z]+"}, "a1", "must match"),
        ({"type": "integer"}, True, "must be a whole number"),
        ({"type": "integer"}, "7", "must be a whole number"),
        ({"type": "integer"}, 7.5, "must be a whole number"),
        ({"type": "integer", "minimum": 1}, 0, "must be at least 1"),
        ({"type": "integer", "maximum": 9}, 10, "must be at most 9"),
        ({"type": "integer", "multiple_of": 8}, 12, "must be a multiple of 8"),
        ({"type": "number"}, False, "must be a number"),
        ({"type": "number"}, float("inf"), "must be a finite number"),
        ({"type": "boolean"}, 1, "must be true or false"),
        ({"type": "seed"}, -2, "must be -1, for a random one, or from 0"),
        ({"type": "seed"}, 2**32, "must be -1, for a random one, or from 0"),
        ({"type": "image"}, 7, "must be a text"),
        ({"type": "image", "many": True, "most": 1}, [ENCODED, ENCODED], "1 at most"),
        ({"type": "image", "required": True}, None, "is required"),
        ({"type": "string", "required": True}, None, "is required"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_in_words(
    parameter: dict[str, Any], value: JsonValue, words: str
) -> None:
    with pytest.raises(Rejected) as caught:
        read(task(x=parameter), x=value)
    assert caught.value.type == "invalid_content"
    assert caught.value.message.startswith(f"x: {words}")


def test_all_faults_of_a_job_are_named_at_once() -> None:
    declared = task(a={"type": "integer"}, b={"type": "boolean"})
    with pytest.raises(Rejected, match=r"a: must be a whole number; b: must be true or false\."):
        read(declared, a="x", b="y")


def test_a_field_may_have_several_names_and_its_own_wins() -> None:
    declared = task(steps={"type": "integer", "names": ["num_inference_steps"], "default": 5})
    assert read(declared) == {"steps": 5}
    assert read(declared, num_inference_steps=6) == {"steps": 6}
    assert read(declared, num_inference_steps=6, steps=7.0) == {"steps": 7}
    assert read(declared, steps=None) == {"steps": 5}


def test_a_random_seed_is_drawn_so_that_the_result_can_name_it() -> None:
    declared = task(seed={"type": "seed", "maximum": 2**62})
    drawn = [values_of(declared, {"seed": -1}, {}, switch_models=True).seed for _ in range(2)]
    assert drawn[0] != drawn[1]
    assert values_of(declared, {"seed": 0}, {}, switch_models=True).seed == 0


def test_fields_that_are_not_sent_are_told_of_unless_they_ask_for_nothing() -> None:
    content: dict[str, JsonValue] = {"hr_scale": 2, "batch_size": 1, "n_iter": 1, "eta": 1.0}
    found = values_of(task(prompt={"type": "string"}), content, {}, switch_models=True)
    assert found.warnings == ("hr_scale: the runtime has no such field; ignored.",)


def test_a_job_chooses_the_model_only_where_that_is_allowed() -> None:
    declared = task(model={"type": "string"})
    content: dict[str, JsonValue] = {"override_settings": {"sd_model_checkpoint": "xl"}}
    assert values_of(declared, content, {}, switch_models=True).values == {"model": "xl"}
    refused = values_of(declared, content, {}, switch_models=False)
    assert refused.values == {}
    assert "does not allow" in refused.warnings[0]


@pytest.mark.parametrize(
    ("how", "expected"), [("base64", ENCODED), ("data-url", f"data:image/png;base64,{ENCODED}")]
)
async def test_files_go_in_as_text(how: str, expected: str) -> None:
    declared = task(image={"type": "image", "many": True, "as": how}, prompt={"type": "string"})
    found = values_of(declared, {"image": ENCODED, "prompt": "q"}, {}, switch_models=True)
    assert await sent(declared.request, found.values) == {"image": [expected], "prompt": "q"}


def test_references_are_the_urls_of_files_alone() -> None:
    declared = task(
        image={"type": "image", "many": True, "names": ["init_images"]},
        clip={"type": "video"},
        prompt={"type": "string", "words": True},
    )
    urls = ["https://example.com/a.png", "s3://b/a.mp4", "https://example.com/p"]
    content: dict[str, JsonValue] = {
        "init_images": [urls[0], ENCODED],
        "clip": urls[1],
        "prompt": urls[2],
        "other": "https://example.com/never-sent",
    }
    found = {(one.url, one.path, one.kind) for one in references_of(declared, content)}
    assert found == {(urls[0], ("init_images", 0), "image"), (urls[1], ("clip",), "video")}
    check_places(declared, content)


@pytest.mark.parametrize("value", ["http://10.0.0.1/x", ["a", "file:///etc/passwd"]])
def test_what_the_server_might_fetch_by_itself_is_refused(value: JsonValue) -> None:
    declared = task(prompt={"type": "string", "words": True}, extra={"type": "json"})
    with pytest.raises(Rejected) as caught:
        check_places(declared, {"prompt": "https://fine.example", "extra": value})
    assert caught.value.type == "reference_forbidden"


def test_a_url_is_passed_on_from_named_hosts_alone() -> None:
    declared = task(image={"type": "image", "as": "url", "hosts": ["*.cdn.example"]})
    good = "https://a.cdn.example/x.png?sig=1"
    check_places(declared, {"image": good})
    assert not [*references_of(declared, {"image": good})]
    assert read(declared, image=good) == {"image": good}
    for bad in ("https://evil.example/x", "http://169.254.169.254/", "s3://bucket/x", "file:///x"):
        with pytest.raises(Rejected, match="image: "):
            check_places(declared, {"image": bad})
    with pytest.raises(Rejected, match="image: must be a URL"):
        read(declared, image=ENCODED)


def test_forms_hold_texts_and_files() -> None:
    files: list[Rendered] = [JobFile(Asset(PNG, "image/png"))] * 2
    body: dict[str, Any] = {"image": "${i}", "n": "${n}", "tags": ["a"], "gone": "${x}"}
    call = HttpCall.model_validate({"path": "/p", "multipart": body})
    made = request_of(call, {"i": files, "n": 2}).body()
    assert isinstance(made, Form)
    names = [entry[0]["name"] for entry in made._fields]
    assert sorted(names) == ["image", "image", "n", "tags"]
    texts = HttpCall.model_validate({"path": "/p", "form": {"n": "${n}"}})
    plain = request_of(texts, {"n": 2}).body()
    assert isinstance(plain, Form)
    assert plain().decode() == "n=2"


def test_a_parameter_that_no_type_fits_is_no_parameter() -> None:
    with pytest.raises(ValueError, match="hosts"):
        TypeAdapter(Parameter).validate_python({"type": "image", "as": "url"})
