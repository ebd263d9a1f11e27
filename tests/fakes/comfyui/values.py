"""What flows between the fake's nodes: small values whose content follows from the inputs."""

import hashlib
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from PIL import Image
from PIL.PngImagePlugin import PngInfo


@dataclass(frozen=True)
class Model:
    """A checkpoint's model, text encoder or VAE, with what was applied to it."""

    words: tuple[str, ...]


@dataclass(frozen=True)
class Conditioning:
    text: str
    model: Model


@dataclass(frozen=True)
class Latent:
    word: str
    """Stands for the numbers: equal words decode to equal images."""
    width: int
    height: int
    batch_size: int


@dataclass(frozen=True)
class Images:
    frames: tuple[Image.Image, ...]


@dataclass(frozen=True)
class Mask:
    image: Image.Image


@dataclass(frozen=True)
class Blocker:
    """What keeps every node that is given it from running; an empty message is silent."""

    message: str


@dataclass(frozen=True)
class Mesh:
    data: bytes
    """The file."""


@dataclass(frozen=True)
class Audio:
    word: str
    """Stands for the samples."""


@dataclass(frozen=True)
class Video:
    data: bytes
    """Stands for the frames."""


class NodeFailure(Exception):
    """A node raised; `kind` is the exception's full type name."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class Inputs(Mapping[str, object]):
    """A node's inputs, links resolved; the getters check the type."""

    def __init__(self, values: Mapping[str, object]) -> None:
        self._values = values

    def __getitem__(self, name: str) -> object:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def text(self, name: str) -> str:
        return str(self[name])

    def integer(self, name: str) -> int:
        value = self[name]
        assert isinstance(value, int)
        return value

    def number(self, name: str) -> float:
        value = self[name]
        assert isinstance(value, int | float)
        return float(value)

    def model(self, name: str) -> Model:
        value = self[name]
        assert isinstance(value, Model)
        return value

    def conditioning(self, name: str) -> Conditioning:
        value = self[name]
        assert isinstance(value, Conditioning)
        return value

    def latent(self, name: str) -> Latent:
        value = self[name]
        assert isinstance(value, Latent)
        return value

    def images(self, name: str) -> Images:
        value = self[name]
        assert isinstance(value, Images)
        return value

    def audio(self, name: str) -> Audio:
        value = self[name]
        assert isinstance(value, Audio)
        return value

    def mask(self, name: str) -> Mask:
        value = self[name]
        assert isinstance(value, Mask)
        return value


def word_of(*parts: object) -> str:
    """A word that follows from the parts and from nothing else."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def word_of_image(image: Image.Image) -> str:
    return word_of(image.size, image.convert("RGBA").tobytes())


def paint(latent: Latent) -> Images:
    """The images a latent decodes to: two colours that follow from its word."""
    frames = []
    for index in range(latent.batch_size):
        digest = hashlib.sha256(f"{latent.word}{index}".encode()).digest()
        image = Image.new("RGB", (latent.width, latent.height), tuple(digest[:3]))
        half = (0, 0, latent.width, latent.height // 2)
        image.paste(tuple(digest[3:6]), half)
        frames.append(image)
    return Images(tuple(frames))


def encode_png(image: Image.Image, notes: Mapping[str, str]) -> bytes:
    """A PNG with the notes as its text chunks, as the real server writes the workflow."""
    info = PngInfo()
    for name, text in notes.items():
        info.add_text(name, text)
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", pnginfo=info, compress_level=1)
    return buffer.getvalue()


def encode_animation(frames: Sequence[Image.Image], kind: str) -> bytes:
    """All frames in one animated file of that kind (``WEBP`` or ``GIF``)."""
    buffer = io.BytesIO()
    frames[0].save(buffer, format=kind, save_all=True, append_images=list(frames[1:]))
    return buffer.getvalue()
