"""Input files of one job, uploaded to the server."""

import asyncio
from urllib.parse import urlsplit

from queue_agent.media.facts import kind_of
from queue_agent.runtime import Asset, Assets, MediaKind
from queue_agent.runtime.images import image_asset
from queue_agent.wire.errors import Rejected
from queue_agent.wire.media_types import extension, extension_of
from queue_agent.wire.shortening import shortened
from queue_agent_runtimes.comfyui.api import ComfyUIApi
from queue_agent_runtimes.comfyui.file_inputs import FileInput, FileInputs
from queue_agent_runtimes.comfyui.left_files import UPLOADS, Traces
from queue_agent_runtimes.comfyui.workflow import (
    INVALID_WORKFLOW,
    FileValue,
    Graph,
    Workflow,
    find_carried,
    find_references,
    with_files,
)


class Uploads:
    """Uploads under names that belong to the job alone."""

    def __init__(self, api: ComfyUIApi, traces: Traces) -> None:
        self._api = api
        self._traces = traces
        self._subfolder = f"{UPLOADS}/{traces.tag}"
        self._count = 0

    async def put(
        self, asset: Asset, *, folder: str = "input", within: str = "", own: str = ""
    ) -> str:
        """Upload one file; the name by which a loading node of that folder finds it.

        `within` is the folder in that one where it has to lie, `own` the extension that it had.

        Raises:
            Rejected: the server does not take the file.
        """
        self._count += 1
        subfolder = "/".join(filter(None, (within, self._subfolder)))
        self._traces.uploads.add(f"{folder}/{subfolder}")
        return await self._api.upload(
            asset,
            filename=f"{self._count}.{extension(asset.media_type, own)}",
            subfolder=subfolder,
            folder=folder,
        )


async def with_uploads(
    workflow: Workflow, assets: Assets, uploads: Uploads, known: FileInputs
) -> Graph:
    """The workflow with its files on the server: those fetched, and those that the job carries.

    Raises:
        Rejected: a file is missing, no clean base64 or of another kind, or nothing takes it.
    """
    graph, images = workflow.graph, workflow.carried
    names: dict[tuple[str, str], str] = {}
    for reference in find_references(graph, known):
        node_id, _, name = reference.path
        asked = known.find(str(graph[str(node_id)]["class_type"]), str(name))
        if asked is None or (reference.url, asked.place) in names:
            continue
        asset = assets.get(reference.url)
        if asset is None:
            raise Rejected(
                f"The input {shortened(reference.url)} was not fetched.", type=INVALID_WORKFLOW
            )
        own = extension_of(urlsplit(reference.url).path)
        names[reference.url, asked.place] = await _put(uploads, asset, asked, own)
    used = set()
    for found in find_carried(graph, known, images):
        used.add(found.value)
        if (found.value, found.input.place) not in names:
            asset = await asyncio.to_thread(_carried, found, images.get(found.value))
            own = extension_of(found.value) if found.value in images else ""
            names[found.value, found.input.place] = await _put(uploads, asset, found.input, own)
    if unused := images.keys() - used:
        raise Rejected(
            f"images: no node has an input {shortened(min(unused))}.", type=INVALID_WORKFLOW
        )
    return with_files(graph, names, known)


async def _put(uploads: Uploads, asset: Asset, asked: FileInput, own: str) -> str:
    return await uploads.put(asset, folder=asked.folder, within=asked.within, own=own)


def _carried(found: FileValue, image: str | None) -> Asset:
    if image is not None:
        field = f"images ({shortened(found.value, 100)})"
    else:
        field = f"{shortened(found.node_id, 100)}.inputs.{shortened(found.name, 100)}"
    asset = image_asset(found.value if image is None else image, {}, field=field)
    if not _fits(asset.media_type, found.input.kind):
        raise Rejected(
            f"{field}: is no {found.input.kind} (its bytes look like {asset.media_type}).",
            type="invalid_content",
        )
    return asset


def _fits(media_type: str, kind: MediaKind) -> bool:
    return kind == "file" or kind_of(media_type) in ({kind, "video"} if kind == "audio" else {kind})
