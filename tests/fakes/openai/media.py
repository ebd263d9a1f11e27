"""Small real files, which differ as the requests for them do."""

import colorsys
import hashlib
import io
import json
import struct

import av
from PIL import Image

_SIDE = 64


def colour_of(request: object) -> tuple[int, int, int]:
    digest = hashlib.sha256(json.dumps(request, sort_keys=True, default=repr).encode()).digest()
    red, green, blue = colorsys.hsv_to_rgb(digest[0] / 256, 0.5 + digest[1] / 512, 0.9)
    return int(red * 255), int(green * 255), int(blue * 255)


def png(request: object, size: tuple[int, int] = (_SIDE, _SIDE)) -> bytes:
    made = io.BytesIO()
    Image.new("RGB", size, colour_of(request)).save(made, "PNG")
    return made.getvalue()


def mp4(request: object, *, frames: int, rate: int, size: tuple[int, int]) -> bytes:
    """A clip that any player shows, of a colour that brightens."""
    made = io.BytesIO()
    red, green, blue = colour_of(request)
    with av.open(made, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=rate)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.options = {"flags": "+bitexact", "preset": "ultrafast", "threads": "1"}
        for number in range(frames):
            share = 0.4 + 0.6 * number / max(1, frames - 1)
            colour = (int(red * share), int(green * share), int(blue * share))
            pixels = bytes((*colour, 255)) * (size[0] * size[1])
            frame = av.VideoFrame.from_bytes(pixels, *size, "rgba")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return made.getvalue()


def glb(request: object) -> bytes:
    """A triangle in binary glTF 2.0, with its colour."""
    positions = struct.pack("<9f", 0, 0, 0, 1, 0, 0, 0, 1, 0)
    colour = [part / 255 for part in colour_of(request)]
    document = {
        "asset": {"version": "2.0"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "material": 0}]}],
        "materials": [{"pbrMetallicRoughness": {"baseColorFactor": [*colour, 1]}}],
        "buffers": [{"byteLength": len(positions)}],
        "bufferViews": [{"buffer": 0, "byteLength": len(positions)}],
        "accessors": [
            {
                "bufferView": 0,
                "componentType": 5126,
                "count": 3,
                "type": "VEC3",
                "min": [0, 0, 0],
                "max": [1, 1, 0],
            }
        ],
    }
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<I4s", len(text), b"JSON") + text
    chunks += struct.pack("<I4s", len(positions), b"BIN\0") + positions
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks
