"""What a finished prompt made, as the output of its job."""

from collections.abc import Iterable, Mapping

from pydantic import JsonValue

from queue_agent.runtime import Artifact, Output, Spools
from queue_agent.wire.errors import Unavailable
from queue_agent_runtimes.comfyui.api import ComfyUIApi
from queue_agent_runtimes.comfyui.execution import ComfyUIPrepared, Finished
from queue_agent_runtimes.comfyui.history import Outdated, executed
from queue_agent_runtimes.comfyui.outputs import (
    MISSING,
    MOST_BYTES,
    FileRecord,
    Found,
    fetch_artifact,
    find_outputs,
)
from queue_agent_runtimes.comfyui.workflow import origin_of


async def collect(
    api: ComfyUIApi, prepared: ComfyUIPrepared, finished: Finished, spools: Spools
) -> Output:
    """Fetch the files that the history names, in the order of the workflow's nodes.

    Of a node that became others, theirs follow in the order of their ids.

    Raises:
        Outdated: some are missing that the server has only remembered, or all.
        Unavailable: they are too few or too much, all are missing, or the server fails.
    """
    found = [*find_outputs(finished.entry), *finished.images]
    if not found and (remembered := _shown_before(finished.entry)):
        raise Outdated(remembered)
    order = {node_id: index for index, node_id in enumerate(prepared.graph)}
    origins = {output.node_id: origin_of(output.node_id, prepared.graph) for output in found}
    found.sort(
        key=lambda output: (
            order.get(origins[output.node_id], len(order)),
            _counted(output.node_id.removeprefix(origins[output.node_id])),
        )
    )
    wanted = [output for output in found if prepared.include_temp or not _is_preview(output)]
    if len(wanted) < prepared.images:
        raise Unavailable(
            f"The runtime made {len(wanted)} of {prepared.images} images.",
            type="invalid_answer",
        )
    seeds = {node_id: prepared.seeds.get(origin) for node_id, origin in origins.items()}
    artifacts, missing = await _fetch(api, wanted, seeds, spools)
    lost = {origins[found.node_id]: error for found, error in missing if not _only_named(found)}
    if outdated := lost.keys() & executed(finished.entry).cached:
        raise Outdated(outdated)
    if lost and not artifacts:
        raise next(iter(lost.values()))
    warnings = [*prepared.warnings, *finished.warnings]
    if not artifacts:
        warnings.append(_nothing_to_show(temporary=len(found) - len(wanted)))
    return Output(
        tuple(artifacts),
        {
            "prompt_id": finished.prompt_id,
            "outputs": finished.entry.get("outputs"),
            "status": finished.entry.get("status"),
            "statistics": finished.statistics,
        },
        tuple(warnings),
        tuple(error.message for _, error in missing),
    )


async def _fetch(
    api: ComfyUIApi, wanted: Iterable[Found], seeds: Mapping[str, int | None], spools: Spools
) -> tuple[list[Artifact], list[tuple[Found, Unavailable]]]:
    """What is there, and what is missing."""
    artifacts: list[Artifact] = []
    missing: list[tuple[Found, Unavailable]] = []
    size = 0
    for output in wanted:
        if size > MOST_BYTES:
            raise Unavailable(f"The outputs have over {MOST_BYTES} bytes.", type="answer_too_large")
        try:
            seed = seeds.get(output.node_id)
            artifacts.append(await fetch_artifact(api, output, seed, spools.new()))
            size += artifacts[-1].size
        except Unavailable as error:
            if error.type != MISSING:
                raise
            missing.append((output, error))
    return artifacts, missing


def _shown_before(entry: Mapping[str, JsonValue]) -> frozenset[str]:
    """All remembered nodes, where all output nodes are among them.

    A node that became others is remembered with what they put out for it, but not with the images
    that they sent.
    """
    prompt, cached = entry.get("prompt"), executed(entry).cached
    outputs = prompt[-1] if isinstance(prompt, list) and prompt else None
    known = isinstance(outputs, list) and {str(node) for node in outputs} <= cached
    return cached if known else frozenset()


def _counted(inner_id: str) -> list[tuple[int, int, str]]:
    """By which ids are ordered as people count: ``.0.0.9`` before ``.0.0.10``."""
    parts = [part for part in inner_id.split(".") if part]
    return [(0, len(part), part) if part.isdecimal() else (1, 0, part) for part in parts]


def _only_named(found: Found) -> bool:
    return isinstance(found.value, FileRecord) and found.value.only_named


def _is_preview(found: Found) -> bool:
    return isinstance(found.value, FileRecord) and found.value.is_preview


def _nothing_to_show(*, temporary: int) -> str:
    if temporary:
        return (
            f"The workflow produced only previews ({temporary}); add a save node, or ask for "
            "them with metadata.include_temp."
        )
    return "The workflow produced no output."
