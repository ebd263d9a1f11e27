"""ComfyUI's own templates, converted for a real server's classes.

Those are looked at that can run on that server: of the published ones, those that use no class
which it does not have (those of paid services, of extensions, of later versions).
"""

import json
from collections import Counter
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from typing import Final

import pytest
from pydantic import JsonValue

from comfyui_recording import recorded_object_info
from queue_agent.runtime.places import refuse_unfetched
from queue_agent.wire.errors import Rejected
from queue_agent_runtimes.comfyui.conversion import (
    Converted,
    Document,
    convert,
    faults_of,
    is_editor_format,
)
from queue_agent_runtimes.comfyui.conversion.links import ONLY_IN_THE_EDITOR
from queue_agent_runtimes.comfyui.editor import saved_in
from queue_agent_runtimes.comfyui.workflow import inputs_by_node, is_text_input

LEAST_SHARE: Final = 0.95
FAULTY: Final = {
    "3d_pixal3d_trellis2_image_to_model": "RemeshMesh): sign_mode cannot be",  # a later version's
    "image_ming_image_01_design_t2i": "attention cannot be",  # only where its kernels are
    "image_minimax_h3_t2i": "attention cannot be",
    "image_moss_image_base_t2i": "type cannot be 'moss_image'",  # a later version's
    "image_moss_image_t2i": "type cannot be 'moss_image'",
    "video_ltx2_i2v_lora": "video is missing",  # its subgraph's output is linked to nothing
}
"""Templates that this server cannot run, or nobody's."""


def templates() -> Iterator[tuple[str, JsonValue]]:
    folder = files("comfyui_workflow_templates_json") / "templates"
    for file in sorted(folder.iterdir(), key=lambda file: file.name):
        if file.name.endswith(".json"):
            saved = json.loads(file.read_text())
            if is_editor_format(saved):
                yield file.name.removesuffix(".json"), saved


def runs_here(saved: JsonValue) -> bool:
    document = Document.read(saved)
    known = recorded_object_info().keys() | ONLY_IN_THE_EDITOR | document.subgraphs.keys()
    return all(node.type in known for sheet in document.sheets() for node in sheet.nodes.values())


@cache
def outcomes() -> dict[str, tuple[Converted | None, list[str]]]:
    found: dict[str, tuple[Converted | None, list[str]]] = {}
    for name, saved in templates():
        if runs_here(saved):
            try:
                converted = convert(saved, recorded_object_info())
            except Rejected as error:
                found[name] = None, [error.message]
            else:
                found[name] = converted, faults_of(converted.graph, recorded_object_info())
    return found


def test_nearly_all_templates_are_converted_without_a_fault(
    capsys: pytest.CaptureFixture[str],
) -> None:
    table = Counter(outcome(*found) for found in outcomes().values())
    with capsys.disabled():
        print(f"\n{len(outcomes())} templates:", *(f"{n} {what}" for what, n in table.items()))
    assert len(outcomes()) > 200
    assert table["as it is"] + table["with warnings"] >= LEAST_SHARE * len(outcomes())


def test_those_with_a_fault_are_known() -> None:
    faulty = {name: faults for name, (_, faults) in outcomes().items() if faults}
    assert {name for name in faulty if name not in FAULTY} == set()
    assert [name for name in faulty if FAULTY[name] not in " ".join(faulty[name])] == []


def test_every_node_of_a_template_that_uses_none_unknown_is_named_by_where_it_stands() -> None:
    converted, _ = outcomes()["image_flux2_klein_text_to_image"]
    assert converted is not None
    assert {"9", "75:61", "75:73"} <= converted.graph.keys()
    assert not any(node_id.startswith("77:") for node_id in converted.graph)  # it is bypassed


def test_no_template_is_taken_for_one_that_names_places() -> None:
    """Neither as it is saved nor once it is converted."""
    for _, saved in templates():
        found = saved_in({"workflow": saved})
        assert found is not None
        assert list(found.references()) == []
        found.check_places()
    for converted, _ in outcomes().values():
        assert converted is not None
        refuse_unfetched(inputs_by_node(converted.graph), is_text=is_text_input)


def test_a_template_of_a_paid_service_names_the_class_that_is_not_there() -> None:
    saved = dict(templates())["api_anthropic_claude"]
    with pytest.raises(Rejected, match=r"ClaudeNode.*no such class"):
        convert(saved, recorded_object_info())


def outcome(converted: Converted | None, faults: list[str]) -> str:
    if converted is None:
        return "not converted"
    if faults:
        return "with faults"
    return "with warnings" if converted.warnings else "as it is"
