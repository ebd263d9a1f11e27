"""Binary glTF: https://registry.khronos.org/glTF/specs/2.0/glTF-2.0.html, sections 3 and 4.4.

Its textures are files within the file, which are freed of all, too. What lies in its buffers stays
where it was.
"""

import json
import re
from base64 import b64encode
from typing import Final

from pydantic import JsonValue

from queue_agent.media.base64_text import decode_base64
from queue_agent.media.signatures import HEAD, sniff
from queue_agent.outputs.cleaning import iso_media, jpeg, png, webp
from queue_agent.outputs.cleaning.damage import Damaged
from queue_agent.wire.bounded_json import load
from queue_agent.wire.output import MetadataRule

_HEADER: Final = 12
_JSON, _BINARY = b"JSON", b"BIN\0"
_MOST_VALUES: Final = 1_000_000
_TEXTURES: Final = {
    "image/avif": iso_media.cleaned,
    "image/jpeg": jpeg.cleaned,
    "image/png": png.cleaned,
    "image/webp": webp.cleaned,
}
_DATA_URL: Final = re.compile(r"data:[^,;]*;base64,")
_OF_ALL: Final = ("KHR_", "EXT_")
"""What the names of extensions begin with that are no single vendor's."""
_ABOUT: Final = frozenset({"KHR_xmp", "KHR_xmp_json_ld"})
"""Extensions that say something of the file."""

Node = dict[str, JsonValue]


def cleaned(data: bytes, rule: MetadataRule) -> bytes:
    """The file with what the rule leaves; it is not marked."""
    if rule == "keep":
        return data
    chunks = dict(reversed(_chunks(data)))  # of a kind the first counts
    scene = load(chunks.get(_JSON, b""), max_values=_MOST_VALUES)
    if not isinstance(scene, dict):
        raise Damaged("is a glTF without a scene")
    buffer = bytearray(chunks.get(_BINARY, b""))
    for image in _nodes(scene.get("images")):
        _clean_texture(image, scene, buffer)
    kept = _bare(scene)
    text = json.dumps(kept, ensure_ascii=False, separators=(",", ":")).encode()
    parts = [_chunk(_JSON, text, b" ")]
    if _BINARY in chunks:
        parts.append(_chunk(_BINARY, bytes(buffer), b"\0"))
    body = b"".join(parts)
    return data[:8] + (_HEADER + len(body)).to_bytes(4, "little") + body


def _bare(scene: Node) -> Node:
    """What is shown of the scene: without names, applications' own data, and what made it."""
    required = {name for name in _list(scene.get("extensionsRequired")) if isinstance(name, str)}
    wanted = required - _ABOUT

    def is_kept(name: str) -> bool:
        return name in wanted or (name.startswith(_OF_ALL) and name not in _ABOUT)

    def bare(value: JsonValue, *, in_extension: bool) -> JsonValue:
        if isinstance(value, list):
            return [bare(one, in_extension=in_extension) for one in value]
        return bare_node(value, in_extension=in_extension) if isinstance(value, dict) else value

    def bare_node(value: Node, *, in_extension: bool) -> Node:
        kept: Node = {}
        for name, one in value.items():
            if name == "extensions" and isinstance(one, dict):
                its = {it: bare(of, in_extension=True) for it, of in one.items() if is_kept(it)}
                kept |= {name: its} if its else {}
            elif name != "extras" and (in_extension or name != "name"):
                kept[name] = bare(one, in_extension=in_extension)
        return kept

    kept = bare_node(scene, in_extension=False)
    asset = kept.get("asset")
    kept["asset"] = {
        name: value
        for name, value in (asset if isinstance(asset, dict) else {}).items()
        if name in {"version", "minVersion"}
    }
    for used in ("extensionsUsed", "extensionsRequired"):
        if names := [name for name in _list(kept.pop(used, None)) if is_kept(str(name))]:
            kept[used] = names
    return kept


def _clean_texture(image: Node, scene: Node, buffer: bytearray) -> None:
    """A texture becomes no larger by it, and begins where it did."""
    if isinstance(url := image.get("uri"), str) and (head := _DATA_URL.match(url)):
        text = b64encode(_texture(decode_base64(url[head.end() :]))).decode()
        image["uri"] = head[0] + text
    views, number = _nodes(scene.get("bufferViews")), image.get("bufferView")
    if not isinstance(number, int) or not 0 <= number < len(views):
        return
    view = views[number]
    start, size = view.get("byteOffset", 0), view.get("byteLength")
    if not isinstance(start, int) or not isinstance(size, int) or view.get("buffer") != 0:
        return
    end = start + size
    if not 0 <= start <= end <= len(buffer):
        raise Damaged("is a glTF with a texture at no place")
    found = _texture(bytes(buffer[start:end]))
    buffer[start:end] = found.ljust(size, b"\0")
    view["byteLength"] = len(found)


def _texture(data: bytes) -> bytes:
    clean = _TEXTURES.get(sniff(data[:HEAD]))
    found = data if clean is None else clean(data, "strip")
    return found if len(found) <= len(data) else data


def _chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    found, place = [], _HEADER
    while place + 8 <= len(data):
        size = int.from_bytes(data[place : place + 4], "little")
        if place + 8 + size > len(data):
            raise Damaged("is a glTF that is cut off")
        found.append((data[place + 4 : place + 8], data[place + 8 : place + 8 + size]))
        place += 8 + size
    return found


def _chunk(name: bytes, body: bytes, padding: bytes) -> bytes:
    body += padding * (-len(body) % 4)
    return len(body).to_bytes(4, "little") + name + body


def _nodes(value: JsonValue) -> list[Node]:
    return [one for one in _list(value) if isinstance(one, dict)]


def _list(value: JsonValue) -> list[JsonValue]:
    return value if isinstance(value, list) else []
