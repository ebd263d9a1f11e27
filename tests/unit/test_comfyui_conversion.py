"""Workflows in the editor's format, converted without a server."""

from collections.abc import Iterator, Sequence
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from queue_agent.wire.errors import Rejected
from queue_agent_runtimes.comfyui.conversion import Converted, convert, faults_of

Json = dict[str, JsonValue]


def known(
    required: Json | None = None,
    optional: Json | None = None,
    *outputs: str,
    module: str = "nodes",
    shown: bool = False,
) -> Json:
    inputs: Json = {"required": required or {}, "optional": optional or {}}
    return {
        "input": inputs,
        "output": [*outputs],
        "output_node": shown,
        "python_module": module,
    }


CLASSES: Json = {
    "Load": known({"name": [["a.safetensors", "b.safetensors"], {}]}, {}, "MODEL", "CLIP"),
    "Text": known({"clip": ["CLIP", {}], "text": ["STRING", {"multiline": True}]}, {}, "COND"),
    "Named": known({"seed": ["INT", {}], "text": ["STRING", {}], "steps": ["INT", {}]}, {}),
    "Both": known({"one": ["COND", {}], "two": ["COND", {}]}, {}, "COND"),
    "Model": known({"model": ["MODEL", {}], "strength": ["FLOAT", {"default": 0.5}]}, {}, "MODEL"),
    "Sample": known(
        {
            "model": ["MODEL", {}],
            "positive": ["COND", {}],
            "seed": ["INT", {"control_after_generate": True}],
            "steps": ["INT", {"default": 20}],
            "sampler": ["COMBO", {"options": ["euler", "heun"]}],
        },
        {"denoise": ["FLOAT", {"default": 1.0}]},
        "IMAGE",
    ),
    "Number": known({"value": ["INT", {}]}, {}, "INT"),
    "Resize": known(
        {
            "image": ["IMAGE", {}],
            "how": [
                "COMFY_DYNAMICCOMBO_V3",
                {
                    "options": [
                        {"key": "none", "inputs": {"required": {}}},
                        {
                            "key": "size",
                            "inputs": {
                                "required": {
                                    "width": ["INT", {"default": 64}],
                                    "crop": ["COMBO", {"options": ["no", "center"]}],
                                }
                            },
                        },
                    ]
                },
            ],
            "method": [["nearest", "lanczos"], {}],
        },
        {},
        "IMAGE",
    ),
    "Batch": known(
        {
            "images": [
                "COMFY_AUTOGROW_V3",
                {"template": {"input": {"required": {"image": ["IMAGE", {}]}}, "prefix": "image"}},
            ]
        },
        {},
        "IMAGE",
    ),
    "LoadImage": known(
        {"image": [["a.png"], {"image_upload": True}], "scale": ["FLOAT", {"default": 1.0}]},
        {},
        "IMAGE",
        "MASK",
    ),
    "Save": known({"images": ["IMAGE", {}], "prefix": ["STRING", {}]}, {}, shown=True),
    "Extension": known({"any": ["*", {}]}, {}, "IMAGE", module="custom_nodes.more"),
    "Palette": known({"colors": ["COLORS", {"default": [], "socketless": False}]}, {}, "IMAGE"),
}


def slot(name: str, kind: str, link: int | None = None, *, widget: bool = False) -> Json:
    own: Json = {"widget": {"name": name}} if widget else {}
    return {"name": name, "type": kind, "link": link, **own}


def node(
    node_id: int | str,
    kind: str,
    values: JsonValue = None,
    inputs: Sequence[Json] = (),
    outputs: Sequence[str] = (),
    **more: JsonValue,
) -> Json:
    return {
        "id": node_id,
        "type": kind,
        "inputs": [*inputs],
        "outputs": [{"name": out, "type": out} for out in outputs],
        "widgets_values": values,
        **more,
    }


def drawn(nodes: Sequence[Json], links: Sequence[JsonValue], **more: JsonValue) -> Json:
    return {"nodes": [*nodes], "links": [*links], **more}


def picture(*between: Json, links: Sequence[JsonValue] = (), **more: JsonValue) -> Json:
    """Loader 1, text 2, sampler 3 and save node 4, with the values that an editor saves."""
    nodes = [
        node(1, "Load", ["b.safetensors"], outputs=["MODEL", "CLIP"]),
        node(2, "Text", ["a cat"], [slot("clip", "CLIP", 10)], ["COND"]),
        node(
            3,
            "Sample",
            [7, "randomize", 30, "heun", 0.8],
            [slot("model", "MODEL", 11), slot("positive", "COND", 12)],
            ["IMAGE"],
        ),
        node(4, "Save", ["cats"], [slot("images", "IMAGE", 13)], title="The end"),
    ]
    own: list[JsonValue] = [
        [10, 1, 1, 2, 0, "CLIP"],
        [11, 1, 0, 3, 0, "MODEL"],
        [12, 2, 0, 3, 1, "COND"],
        [13, 3, 0, 4, 0, "IMAGE"],
    ]
    changed = {str(new["id"]): new for new in between}
    replaced = [changed.pop(str(old["id"]), old) for old in nodes]
    return drawn([*replaced, *changed.values()], [*own, *links], **more)


def inputs(converted: Converted, node_id: str) -> dict[str, JsonValue]:
    found = converted.graph[node_id]["inputs"]
    assert isinstance(found, dict)
    return found


def refusal(saved: JsonValue) -> str:
    with pytest.raises(Rejected) as caught:
        convert(saved, CLASSES)
    assert caught.value.type == "invalid_workflow"
    return caught.value.message


def test_links_and_values_become_inputs() -> None:
    converted = convert(picture(), CLASSES)
    assert converted.warnings == ()
    assert converted.graph["4"] == {
        "class_type": "Save",
        "inputs": {"images": ["3", 0], "prefix": "cats"},
        "_meta": {"title": "The end"},
    }
    assert inputs(converted, "3") == {
        "model": ["1", 0],
        "positive": ["2", 0],
        "seed": 7,
        "steps": 30,
        "sampler": "heun",
        "denoise": 0.8,
    }
    assert faults_of(converted.graph, CLASSES) == []


def test_links_that_are_objects_and_ids_that_are_texts_are_the_same() -> None:
    saved = picture()
    links = saved["links"]
    assert isinstance(links, list)
    names = ("id", "origin_id", "origin_slot", "target_id", "target_slot", "type")
    objects: list[JsonValue] = [
        dict(zip(names, link, strict=True)) for link in links if isinstance(link, list)
    ]
    assert convert({**saved, "links": objects}, CLASSES) == convert(saved, CLASSES)


@pytest.mark.parametrize(
    "values",
    [
        [7, "fixed", 30, "heun", 0.8],
        [7, 30, "heun", 0.8],  # of before there were controls
        {"seed": 7, "steps": 30, "sampler": "heun", "denoise": 0.8, "control_after_generate": "x"},
    ],
)
def test_values_are_read_in_their_order_or_by_name(values: JsonValue) -> None:
    sampler = node(3, "Sample", values, [slot("model", "MODEL", 11), slot("positive", "COND", 12)])
    found = inputs(convert(picture(sampler), CLASSES), "3")
    assert [found[name] for name in ("seed", "steps", "sampler", "denoise")] == [7, 30, "heun", 0.8]
    assert set(found) == {"model", "positive", "seed", "steps", "sampler", "denoise"}


def test_what_is_absent_has_its_default_where_it_must_be_there() -> None:
    sampler = node(3, "Sample", [7], [slot("model", "MODEL", 11), slot("positive", "COND", 12)])
    found = inputs(convert(picture(sampler), CLASSES), "3")
    assert (found["steps"], found["sampler"]) == (20, "euler")
    assert "denoise" not in found


def test_names_are_asked_where_the_order_does_not_fit() -> None:
    sampler = node(
        3,
        "Sample",
        [7, "fixed", True, 30, "heun"],  # of a version with one input more
        [slot("model", "MODEL", 11), slot("positive", "COND", 12)],
        widgets_values_named={"seed": 7, "gone": True, "steps": 30, "sampler": "heun"},
    )
    found = inputs(convert(picture(sampler), CLASSES), "3")
    assert (found["steps"], found["sampler"], "gone" in found) == (30, "heun", False)


def test_a_button_s_value_is_no_input_s() -> None:
    loader = node(5, "LoadImage", ["mine.png", "image", 2.0], outputs=["IMAGE", "MASK"])
    assert inputs(convert(picture(loader), CLASSES), "5") == {"image": "mine.png", "scale": 2.0}


def test_a_seed_s_control_is_not_taken_for_the_text_after_it() -> None:
    named = node(5, "Named", [7, "randomize", "a cat", 9])
    assert inputs(convert(picture(named), CLASSES), "5") == {"seed": 7, "text": "a cat", "steps": 9}
    told = node(5, "Named", [7, "fixed it", 9])
    found = inputs(convert(picture(told), CLASSES), "5")
    assert found == {"seed": 7, "text": "fixed it", "steps": 9}


def test_a_widget_that_is_linked_takes_the_link() -> None:
    sampler = node(
        3,
        "Sample",
        [7, "fixed", 30, "heun", 0.8],
        [
            slot("model", "MODEL", 11),
            slot("positive", "COND", 12),
            slot("steps", "INT", 20, widget=True),
        ],
    )
    number = node(5, "Number", [12, "fixed"], outputs=["INT"])
    converted = convert(picture(sampler, number, links=[[20, 5, 0, 3, 2, "INT"]]), CLASSES)
    found = inputs(converted, "3")
    assert (found["steps"], found["sampler"]) == (["5", 0], "heun")
    assert inputs(converted, "5") == {"value": 12}


def test_a_primitive_gives_its_value_also_through_a_reroute() -> None:
    sampler = node(
        3,
        "Sample",
        [7, "fixed", 30, "heun", 0.8],
        [
            slot("model", "MODEL", 11),
            slot("positive", "COND", 12),
            slot("steps", "INT", 21, widget=True),
        ],
    )
    primitive = node(5, "PrimitiveNode", [12, "fixed"], outputs=["INT"])
    reroute = node(6, "Reroute", None, [slot("", "*", 20)], ["INT"])
    links: list[JsonValue] = [[20, 5, 0, 6, 0, "*"], [21, 6, 0, 3, 2, "INT"]]
    converted = convert(picture(sampler, primitive, reroute, links=links), CLASSES)
    assert inputs(converted, "3")["steps"] == 12
    assert converted.graph.keys() == {"1", "2", "3", "4"}


def test_what_is_set_by_a_name_is_got_by_it() -> None:
    sampler = node(
        3, "Sample", [7], [slot("model", "MODEL", 21), slot("positive", "COND", 12)], ["IMAGE"]
    )
    setter = node(5, "SetNode", ["m"], [slot("MODEL", "MODEL", 20)], ["MODEL"])
    getter = node(6, "GetNode", ["m"], outputs=["MODEL"])
    links: list[JsonValue] = [[20, 1, 0, 5, 0, "MODEL"], [21, 6, 0, 3, 0, "MODEL"]]
    assert inputs(convert(picture(sampler, setter, getter, links=links), CLASSES), "3")[
        "model"
    ] == ["1", 0]
    lost = convert(picture(sampler, getter, links=links), CLASSES)
    assert "model" not in inputs(lost, "3")
    assert "nothing is set" in lost.warnings[0]


def test_notes_and_groups_are_left_out() -> None:
    notes = [node(8, "Note", ["see http://example.com"]), node(9, "MarkdownNote", ["# hi"])]
    saved = picture(*notes, groups=[{"title": "all"}])
    assert convert(saved, CLASSES) == convert(picture(), CLASSES)


def patched(mode: int) -> Json:
    """A node between loader and sampler that changes the model."""
    sampler = node(
        3,
        "Sample",
        [7],
        [slot("model", "MODEL", 21), slot("positive", "COND", 12)],
        ["IMAGE"],
    )
    patch = node(5, "Model", [0.3], [slot("model", "MODEL", 20)], ["MODEL"], mode=mode)
    return picture(sampler, patch, links=[[20, 1, 0, 5, 0, "MODEL"], [21, 5, 0, 3, 0, "MODEL"]])


def test_a_bypassed_node_passes_on_what_has_its_type() -> None:
    assert inputs(convert(patched(0), CLASSES), "3")["model"] == ["5", 0]
    converted = convert(patched(4), CLASSES)
    assert inputs(converted, "3")["model"] == ["1", 0]
    assert "5" not in converted.graph
    assert converted.warnings == ()


def test_a_muted_node_is_left_out_with_its_links_and_said_so() -> None:
    converted = convert(patched(2), CLASSES)
    assert "model" not in inputs(converted, "3")
    assert "5" not in converted.graph
    assert converted.warnings == (
        "node 3 (Sample): model was linked to node 5 (Model), which is muted",
    )
    assert faults_of(converted.graph, CLASSES) == ["node 3 (Sample): model is missing"]


def test_a_bypassed_node_without_an_input_of_the_type_passes_on_nothing() -> None:
    saved = picture(node(2, "Text", ["a"], [slot("clip", "CLIP", 10)], ["COND"], mode=4))
    converted = convert(saved, CLASSES)
    assert "positive" not in inputs(converted, "3")
    assert "bypassed and has no input of that type" in converted.warnings[0]


@pytest.mark.parametrize(("output", "text"), [(0, "2"), (1, "6")])
def test_a_bypassed_node_passes_on_the_input_beside_its_output(output: int, text: str) -> None:
    both = node(
        5,
        "Both",
        None,
        [slot("one", "COND", 20), slot("two", "COND", 21)],
        ["COND", "COND"],
        mode=4,
    )
    second = node(6, "Text", ["a dog"], [slot("clip", "CLIP", 10)], ["COND"])
    sampler = node(3, "Sample", [7], [slot("model", "MODEL", 11), slot("positive", "COND", 22)])
    links: list[JsonValue] = [
        [20, 2, 0, 5, 0, "COND"],
        [21, 6, 0, 5, 1, "COND"],
        [22, 5, output, 3, 1, "COND"],
    ]
    found = inputs(convert(picture(both, second, sampler, links=links), CLASSES), "3")
    assert found["positive"] == [text, 0]


def test_a_dynamic_combo_brings_its_inputs_with_it() -> None:
    resize = node(5, "Resize", ["size", 96, "center", "lanczos"], [slot("image", "IMAGE", 20)])
    converted = convert(picture(resize, links=[[20, 3, 0, 5, 0, "IMAGE"]]), CLASSES)
    assert inputs(converted, "5") == {
        "image": ["3", 0],
        "how": "size",
        "how.width": 96,
        "how.crop": "center",
        "method": "lanczos",
    }
    none = node(5, "Resize", ["none", "lanczos"], [slot("image", "IMAGE", 20)])
    found = inputs(convert(picture(none, links=[[20, 3, 0, 5, 0, "IMAGE"]]), CLASSES), "5")
    assert found == {"image": ["3", 0], "how": "none", "method": "lanczos"}


def test_an_input_that_grows_has_as_many_as_are_linked() -> None:
    batch = node(
        5,
        "Batch",
        None,
        [slot(f"images.image{index}", "IMAGE", link) for index, link in enumerate([20, 21, None])],
    )
    links: list[JsonValue] = [[20, 3, 0, 5, 0, "IMAGE"], [21, 3, 0, 5, 1, "IMAGE"]]
    found = inputs(convert(picture(batch, links=links), CLASSES), "5")
    assert found == {"images.image0": ["3", 0], "images.image1": ["3", 0]}


def test_a_list_is_wrapped_so_that_it_is_no_link() -> None:
    palette = node(5, "Palette", [["#fff", "#000"]])
    converted = convert(picture(palette), CLASSES)
    assert inputs(converted, "5") == {"colors": {"__value__": ["#fff", "#000"]}}


def test_a_number_that_the_file_has_as_a_text_is_left_to_the_server_s_default() -> None:
    model = node(5, "Model", ["auto"], [slot("model", "MODEL", 20)], ["MODEL"])
    converted = convert(picture(model, links=[[20, 1, 0, 5, 0, "MODEL"]]), CLASSES)
    assert inputs(converted, "5")["strength"] == 0.5
    assert "strength is a number on this server" in converted.warnings[0]


def test_only_extensions_are_sent_inputs_that_the_server_does_not_name() -> None:
    more = [slot("any", "*", 20), slot("more", "IMAGE", 21)]
    links: list[JsonValue] = [[20, 3, 0, 5, 0, "IMAGE"], [21, 3, 0, 5, 1, "IMAGE"]]
    converted = convert(picture(node(5, "Extension", None, more), links=links), CLASSES)
    assert inputs(converted, "5") == {"any": ["3", 0], "more": ["3", 0]}
    save = node(5, "Save", ["x"], [slot("images", "IMAGE", 20), slot("more", "IMAGE", 21)])
    converted = convert(picture(save, links=links), CLASSES)
    assert inputs(converted, "5") == {"images": ["3", 0], "prefix": "x"}
    assert "more is no input on this server" in converted.warnings[0]


@pytest.mark.parametrize(("kind", "sent"), [("Save", False), ("Extension", True)])
def test_a_value_for_an_input_that_the_server_does_not_name_goes_to_extensions_only(
    kind: str, *, sent: bool
) -> None:
    primitive = node(6, "PrimitiveNode", ["x"], outputs=["STRING"])
    other = node(5, kind, None, [slot("more", "STRING", 20, widget=True)])
    converted = convert(picture(other, primitive, links=[[20, 6, 0, 5, 0, "STRING"]]), CLASSES)
    assert ("more" in inputs(converted, "5")) is sent
    assert any("more is no input" in warning for warning in converted.warnings) is not sent


def test_what_the_server_does_not_have_is_named() -> None:
    saved = picture(node(5, "Odd", [], title="Mine"), node(6, "workflow>old"))
    assert refusal(saved) == (
        'node 5 (Odd, "Mine"): this server has no such class of nodes; '
        "node 6 (workflow>old): group nodes cannot be converted; make a subgraph of it in the "
        "editor."
    )
    muted = picture(node(5, "Odd", [], mode=2))
    assert convert(muted, CLASSES).graph.keys() == {"1", "2", "3", "4"}


@pytest.mark.parametrize(
    ("saved", "words"),
    [
        ([], "no workflow"),
        ({"nodes": []}, "no nodes that a server runs"),
        ({"nodes": [7]}, r"nodes[0]"),
        ({"nodes": [{"id": 1}]}, r"nodes[0]"),
        ({"nodes": [node(1, "Load"), node("1", "Load")]}, "Two nodes have the id 1"),
    ],
)
def test_what_cannot_be_read_is_refused(saved: JsonValue, words: str) -> None:
    assert words in refusal(saved)


def test_links_in_a_circle_are_refused() -> None:
    loop = [
        node(5, "Reroute", None, [slot("", "*", 20)], ["*"]),
        node(6, "Reroute", None, [slot("", "*", 21)], ["*"]),
    ]
    sampler = node(3, "Sample", [7], [slot("model", "MODEL", 22), slot("positive", "COND", 12)])
    links: list[JsonValue] = [
        [20, 6, 0, 5, 0, "*"],
        [21, 5, 0, 6, 0, "*"],
        [22, 5, 0, 3, 0, "*"],
    ]
    assert "run in a circle" in refusal(picture(*loop, sampler, links=links))


def subgraph(
    nodes: Sequence[Json],
    links: Sequence[JsonValue],
    takes: Sequence[tuple[str, str]] = (),
    gives: Sequence[tuple[str, str]] = (),
    name: str = "sub",
) -> Json:
    return {
        "id": name,
        "name": name,
        "inputNode": {"id": -10},
        "outputNode": {"id": -20},
        "inputs": [{"name": taken, "type": kind} for taken, kind in takes],
        "outputs": [{"name": given, "type": kind} for given, kind in gives],
        "nodes": [*nodes],
        "links": [
            dict(
                zip(
                    ("id", "origin_id", "origin_slot", "target_id", "target_slot", "type"),
                    link,
                    strict=True,
                )
            )
            for link in links
            if isinstance(link, list)
        ],
    }


ENCODER = subgraph(
    [
        node(
            8,
            "Text",
            ["the inner text"],
            [slot("clip", "CLIP", 1), slot("text", "STRING", 2, widget=True)],
            ["COND"],
        )
    ],
    [[1, -10, 0, 8, 0, "CLIP"], [2, -10, 1, 8, 1, "STRING"], [3, 8, 0, -20, 0, "COND"]],
    takes=[("clip", "CLIP"), ("prompt", "STRING")],
    gives=[("COND", "COND")],
)


def with_instance(values: JsonValue, *, inner: Json = ENCODER, **more: JsonValue) -> Json:
    """The picture, with an instance of a subgraph for its text node."""
    instance = node(2, "sub", values, [slot("clip", "CLIP", 10)], ["COND"], **more)
    return picture(instance, definitions={"subgraphs": [inner]})


def test_a_subgraph_is_taken_apart() -> None:
    converted = convert(with_instance([]), CLASSES)
    assert converted.graph.keys() == {"1", "3", "4", "2:8"}
    assert inputs(converted, "2:8") == {"clip": ["1", 1], "text": "the inner text"}
    assert inputs(converted, "3")["positive"] == ["2:8", 0]


@pytest.mark.parametrize(
    "instance",
    [
        with_instance(["mine"]),
        with_instance({"prompt": "mine"}),
        with_instance(["mine"], properties={"proxyWidgets": [["-1", "prompt"]]}),
        with_instance(["mine"], properties={"proxyWidgets": [["8", "text"]]}),
        with_instance([None, "mine"], properties={"proxyWidgets": [["8", "x"], ["8", "3: text"]]}),
        with_instance([1, "mine"], widgets_values_named={"prompt": "mine", "old": 1}),
    ],
)
def test_what_an_instance_s_widgets_say_goes_before_the_inner_ones(instance: Json) -> None:
    assert inputs(convert(instance, CLASSES), "2:8")["text"] == "mine"


def test_a_shown_widget_that_is_no_input_of_the_subgraph_is_set_too() -> None:
    inner = subgraph(
        [node(8, "Text", ["inner"], [slot("clip", "CLIP", 1)], ["COND"])],
        [[1, -10, 0, 8, 0, "CLIP"], [3, 8, 0, -20, 0, "COND"]],
        takes=[("clip", "CLIP")],
        gives=[("COND", "COND")],
    )
    saved = with_instance(["mine"], inner=inner, properties={"proxyWidgets": [["8", "text"]]})
    assert inputs(convert(saved, CLASSES), "2:8")["text"] == "mine"


def test_what_stands_for_a_seed_may_be_followed_by_its_control() -> None:
    inner = subgraph(
        [
            node(
                8,
                "Named",
                [1, "fixed", "x", 2],
                [
                    slot(name, kind, link, widget=True)
                    for name, kind, link in (
                        ("seed", "INT", 1),
                        ("text", "STRING", 2),
                        ("steps", "INT", 3),
                    )
                ],
                ["COND"],
            )
        ],
        [[1, -10, 0, 8, 0, "INT"], [2, -10, 1, 8, 1, "STRING"], [3, -10, 2, 8, 2, "INT"]],
        takes=[("seed", "INT"), ("text", "STRING"), ("steps", "INT")],
    )
    found = inputs(convert(with_instance([7, "randomize", "y", 9], inner=inner), CLASSES), "2:8")
    assert found == {"seed": 7, "text": "y", "steps": 9}


def test_an_instance_may_show_a_widget_of_an_instance_within() -> None:
    outer = subgraph(
        [node(4, "sub", [], [slot("clip", "CLIP", 1)], ["COND"])],
        [[1, -10, 0, 4, 0, "CLIP"], [3, 4, 0, -20, 0, "COND"]],
        takes=[("clip", "CLIP")],
        gives=[("COND", "COND")],
        name="outer",
    )
    shows: Json = {"proxyWidgets": [["4", "prompt"]]}
    instance = node(2, "outer", ["mine"], [slot("clip", "CLIP", 10)], ["COND"], properties=shows)
    saved = picture(instance, definitions={"subgraphs": [outer, ENCODER]})
    assert inputs(convert(saved, CLASSES), "2:4:8")["text"] == "mine"


def test_two_instances_of_a_subgraph_have_their_own_values() -> None:
    second = node(5, "sub", ["two"], [slot("clip", "CLIP", 10)], ["COND"])
    saved = with_instance(["one"])
    nodes = saved["nodes"]
    assert isinstance(nodes, list)
    converted = convert({**saved, "nodes": [*nodes, second]}, CLASSES)
    assert [inputs(converted, name)["text"] for name in ("2:8", "5:8")] == ["one", "two"]


def test_all_that_stand_for_one_of_a_subgraph_s_widgets_have_the_value_of_the_first() -> None:
    """Also those that are only linked to it, as the editor does it."""
    texts = [
        node(
            number,
            "Text",
            [value],
            [slot("clip", "CLIP", 1), slot("text", "STRING", link, widget=True)],
            ["COND"],
        )
        for number, value, link in ((8, "first", 2), (9, "second", 3))
    ]
    inner = subgraph(
        texts,
        [
            [1, -10, 0, 8, 0, "CLIP"],
            [2, -10, 1, 8, 1, "STRING"],
            [3, -10, 1, 9, 1, "STRING"],
            [4, 8, 0, -20, 0, "COND"],
        ],
        takes=[("clip", "CLIP"), ("text", "STRING")],
        gives=[("COND", "COND")],
    )
    converted = convert(with_instance([], inner=inner), CLASSES)
    assert [inputs(converted, name)["text"] for name in ("2:8", "2:9")] == ["first", "first"]


def nested(depth: int) -> Json:
    """The encoder in so many subgraphs around it."""
    definitions = [ENCODER]
    for level in range(depth):
        inner = "sub" if level == depth - 1 else f"sub{level + 1}"
        definitions.append(
            subgraph(
                [
                    node(
                        8,
                        inner,
                        None,
                        [slot("clip", "CLIP", 1), slot("prompt", "STRING", 2, widget=True)],
                        ["COND"],
                    )
                ],
                [[1, -10, 0, 8, 0, "C"], [2, -10, 1, 8, 1, "S"], [3, 8, 0, -20, 0, "COND"]],
                takes=[("clip", "CLIP"), ("prompt", "STRING")],
                gives=[("COND", "COND")],
                name=f"sub{level}",
            )
        )
    instance = node(2, "sub0", ["deep"], [slot("clip", "CLIP", 10)], ["COND"])
    return picture(instance, definitions={"subgraphs": [*definitions]})


def test_subgraphs_in_subgraphs_are_taken_apart() -> None:
    converted = convert(nested(3), CLASSES)
    assert inputs(converted, "2:8:8:8:8") == {"clip": ["1", 1], "text": "deep"}
    assert inputs(converted, "3")["positive"] == ["2:8:8:8:8", 0]


def test_subgraphs_without_end_are_refused() -> None:
    assert "32 deep" in refusal(nested(40))
    itself = subgraph([node(8, "sub")], [])
    assert "32 deep" in refusal(with_instance([], inner=itself))


def test_subgraphs_that_come_to_too_many_nodes_are_refused() -> None:
    doubling = [
        subgraph([node(8, f"sub{level + 1}"), node(9, f"sub{level + 1}")], [], name=f"sub{level}")
        for level in range(20)
    ]
    saved = picture(
        node(5, "sub0"), definitions={"subgraphs": [*doubling, {**ENCODER, "id": "sub20"}]}
    )
    assert "too large" in refusal(saved)


def test_links_that_take_too_many_steps_are_refused() -> None:
    length = 1500
    chain = [node(100, "Reroute", None, [slot("", "*", 1000)], ["*"])]
    links: list[JsonValue] = [[1000, 1, 0, 100, 0, "*"]]
    for number in range(101, 100 + length):
        chain.append(node(number, "Reroute", None, [slot("", "*", 900 + number)], ["*"]))
        links.append([900 + number, number - 1, 0, number, 0, "*"])
    links.append([9, 99 + length, 0, 5, 0, "*"])
    many = node(5, "Extension", None, [slot(f"any{number}", "*", 9) for number in range(length)])
    assert "too many to be followed" in refusal(picture(*chain, many, links=links))


@pytest.mark.parametrize(("mode", "positive"), [(2, None), (4, ["2", 0])])
def test_an_instance_that_does_not_run_takes_its_nodes_with_it(
    mode: int, positive: JsonValue
) -> None:
    inner = subgraph([node(8, "Text", ["x"])], [], takes=[("c", "COND")], gives=[("C", "COND")])
    instance = node(5, "sub", [], [slot("c", "COND", 20)], ["COND"], mode=mode)
    sampler = node(3, "Sample", [7], [slot("model", "MODEL", 11), slot("positive", "COND", 21)])
    saved = picture(
        instance,
        sampler,
        links=[[20, 2, 0, 5, 0, "COND"], [21, 5, 0, 3, 1, "COND"]],
        definitions={"subgraphs": [inner]},
    )
    converted = convert(saved, CLASSES)
    assert "5:8" not in converted.graph
    assert inputs(converted, "3").get("positive") == positive


def test_a_subgraph_may_pass_on_what_it_takes() -> None:
    inner = subgraph(
        [], [[1, -10, 0, -20, 0, "COND"]], takes=[("c", "COND")], gives=[("C", "COND")]
    )
    instance = node(5, "sub", [], [slot("c", "COND", 20)], ["COND"])
    sampler = node(3, "Sample", [7], [slot("model", "MODEL", 11), slot("positive", "COND", 21)])
    saved = picture(
        instance,
        sampler,
        links=[[20, 2, 0, 5, 0, "COND"], [21, 5, 0, 3, 1, "COND"]],
        definitions={"subgraphs": [inner]},
    )
    assert inputs(convert(saved, CLASSES), "3")["positive"] == ["2", 0]


def test_warnings_and_faults_are_few_however_many_there_are() -> None:
    muted = [node(number, "Odd", [], mode=0) for number in range(100, 200)]
    assert refusal(picture(*muted)).endswith("and 90 more.")


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({"class_type": "Odd"}, "its class is not known"),
        ({"inputs": {"images": ["3", 0]}}, "prefix is missing"),
        ({"inputs": {"images": ["9", 0], "prefix": "x"}}, "images is linked to nothing"),
        ({"inputs": {"images": ["3", 5], "prefix": "x"}}, "no such output"),
        ({"inputs": {"images": ["1", 0], "prefix": "x"}}, "images is linked to MODEL"),
        ({"inputs": {"images": 7, "prefix": "x"}}, "images is a value, and must be a link"),
        ({"inputs": {"images": ["3", 0], "prefix": 7}}, "prefix cannot be"),
        ({"inputs": {"images": ["3", 0], "prefix": "x", "y": 1}}, "y is no input of the class"),
    ],
)
def test_the_judge_sees_each_fault(changed: Json, fault: str) -> None:
    graph = convert(picture(node(5, "Save", ["y"], [slot("images", "IMAGE", 13)])), CLASSES).graph
    assert faults_of(graph, CLASSES) == []
    graph["4"] = {**graph["4"], **changed}
    found = faults_of(graph, CLASSES)
    assert len(found) == 1
    assert fault in found[0]


def test_the_judge_looks_only_at_what_outputs_need() -> None:
    graph = convert(picture(node(5, "Both")), CLASSES).graph
    assert faults_of(graph, CLASSES) == []
    del graph["4"]
    assert faults_of(graph, CLASSES) == ["no node is an output"]


def test_a_value_that_a_combo_does_not_have_is_a_fault_unless_it_is_a_file() -> None:
    graph = convert(picture(), CLASSES).graph
    inputs_of_3, inputs_of_1 = graph["3"]["inputs"], graph["1"]["inputs"]
    assert isinstance(inputs_of_3, dict)
    assert isinstance(inputs_of_1, dict)
    inputs_of_1["name"] = "not/here.safetensors"
    assert faults_of(graph, CLASSES) == []
    inputs_of_3["sampler"] = "odd"
    assert faults_of(graph, CLASSES) == ["node 3 (Sample): sampler cannot be 'odd'"]


LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=3), st.just("sub")
)
VALUES: st.SearchStrategy[JsonValue] = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)


def places(value: JsonValue, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    yield path
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from places(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from places(inner, (*path, index))


def put(value: JsonValue, path: tuple[str | int, ...], new: JsonValue) -> JsonValue:
    if not path:
        return new
    step, *rest = path
    if isinstance(value, dict):
        return {**value, str(step): put(value[str(step)], tuple(rest), new)}
    assert isinstance(value, list)
    assert isinstance(step, int)
    return [*value[:step], put(value[step], tuple(rest), new), *value[step + 1 :]]


BASES: tuple[Json, ...] = (
    patched(4),
    nested(2),
    with_instance(["mine"], properties={"proxyWidgets": [["8", "text"]]}),
    picture(node(5, "Resize", ["size", 96, "center", "lanczos"], [slot("image", "IMAGE", 13)])),
)


@given(st.data())
def test_whatever_stands_in_a_file_it_is_converted_or_refused(data: st.DataObject) -> None:
    saved: JsonValue = data.draw(st.sampled_from(BASES))
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from(list(places(saved))))
        saved = put(saved, path, data.draw(VALUES))
    with suppress(Rejected):
        converted = convert(saved, CLASSES)
        faults_of(converted.graph, CLASSES)


@given(st.data())
def test_whatever_a_server_says_of_its_classes_a_file_is_converted_or_refused(
    data: st.DataObject,
) -> None:
    classes: JsonValue = CLASSES
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from(list(places(classes))[1:]))
        with suppress(KeyError, AssertionError, IndexError):
            classes = put(classes, path, data.draw(VALUES))
    assert isinstance(classes, dict)
    with suppress(Rejected):
        converted = convert(data.draw(st.sampled_from(BASES)), classes)
        faults_of(converted.graph, classes)
