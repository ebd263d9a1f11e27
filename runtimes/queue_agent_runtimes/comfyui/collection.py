"""What a finished prompt made, as the output of its job."""

from collections.abc import Iterable, Mapping

from queue_agent.runtime import Artifact, Output, Spools
from queue_agent.wire.errors import Unavailable
from queue_agent_runtimes.comfyui.api import ComfyUIApi
from queue_agent_runtimes.comfyui.execution import ComfyUIPrepared, Finished
from queue_agent_runtimes.comfyui.history import Outdated, executed, outer_node
from queue_agent_runtimes.comfyui.outputs import (
    MISSING,
    MOST_BYTES,
    FileRecord,
    Found,
    fetch_artifact,
    find_outputs,
)


async def collect(
    api: ComfyUIApi, prepared: ComfyUIPrepared, finished: Finished, spools: Spools
) -> Output:
    """Fetch the files that the history names, in the order of the workflow's nodes.

    Raises:
        Outdated: some are missing that the server has only remembered.
        Unavailable: they are too few or too much, all are missing, or the server fails.
    """
    found = [*find_outputs(finished.entry), *finished.images]
    order = {node_id: index for index, node_id in enumerate(prepared.graph)}
    found.sort(key=lambda output: order.get(output.node_id, len(order)))
    wanted = [output for output in found if prepared.include_temp or not _is_preview(output)]
    if len(wanted) < prepared.images:
        raise Unavailable(
            f"The runtime made {len(wanted)} of {prepared.images} images.",
            type="invalid_answer",
        )
    artifacts, missing = await _fetch(api, wanted, prepared.seeds, spools)
    lost = {outer_node(found.node_id): error for found, error in missing if not _only_named(found)}
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
    api: ComfyUIApi, wanted: Iterable[Found], seeds: Mapping[str, int], spools: Spools
) -> tuple[list[Artifact], list[tuple[Found, Unavailable]]]:
    """What is there, and what is missing."""
    artifacts: list[Artifact] = []
    missing: list[tuple[Found, Unavailable]] = []
    for output in wanted:
        if sum(artifact.size for artifact in artifacts) > MOST_BYTES:
            raise Unavailable(f"The outputs have over {MOST_BYTES} bytes.", type="answer_too_large")
        try:
            seed = seeds.get(output.node_id)
            artifacts.append(await fetch_artifact(api, output, seed, spools.new()))
        except Unavailable as error:
            if error.type != MISSING:
                raise
            missing.append((output, error))
    return artifacts, missing


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
