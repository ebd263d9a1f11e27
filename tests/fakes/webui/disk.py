"""The files that the fake finds in its folders, and which checkpoint is in memory."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pydantic import JsonValue

from fakes.webui.recorded import answer_to

_CHECKPOINTS: Final = "/models/Stable-diffusion/"


@dataclass
class Checkpoint:
    """A file in the folder of models."""

    name: str
    """Its path below the folder."""
    sha256: str
    config: str | None = None
    folder: str = _CHECKPOINTS

    @property
    def short(self) -> str:
        return self.sha256[:10]

    @property
    def title(self) -> str:
        return f"{self.name} [{self.short}]"

    @property
    def model_name(self) -> str:
        """Within infotexts."""
        return self.name.rpartition("/")[2].rpartition(".")[0]

    def listing(self) -> dict[str, JsonValue]:
        return {
            "title": self.title,
            "model_name": self.name.rpartition(".")[0].replace("/", "_"),
            "hash": self.short,
            "sha256": self.sha256,
            "filename": f"{self.folder}{self.name}",
            "config": self.config,
        }

    @property
    def aliases(self) -> set[JsonValue]:
        """`sd_models.CheckpointInfo.ids`: all that the server understands in full."""
        stem = self.name.rpartition(".")[0]
        names = {self.name, self.model_name, stem, self.name.rpartition("/")[2]}
        listing = self.listing()
        return {*names, *(listing[key] for key in ("title", "model_name", "hash", "sha256"))}


def checkpoint_file(name: str) -> Checkpoint:
    return Checkpoint(name, hashlib.sha256(name.encode()).hexdigest())


@dataclass
class Disk:
    """All that jobs may name."""

    checkpoints: list[Checkpoint]
    loras: list[dict[str, JsonValue]] = field(default_factory=list)
    vaes: list[dict[str, JsonValue]] = field(default_factory=list)
    styles: list[dict[str, JsonValue]] = field(default_factory=list)
    embeddings: dict[str, JsonValue] = field(default_factory=dict)
    folder: Path | None = None
    """A real folder of models, beside what is made up."""

    def files(self, kind: str) -> list[Path]:
        """Those of the real folder."""
        return sorted((self.folder / kind).rglob("*.safetensors")) if self.folder else []

    @classmethod
    def usual(cls) -> "Disk":
        """What tests find unless they bring their own."""
        return cls(
            [checkpoint_file("v1-5.safetensors"), checkpoint_file("dreamy.safetensors")],
            [{"name": "ink", "alias": "ink-drawing", "path": "/models/Lora/ink.safetensors"}],
            [{"model_name": "soft.safetensors", "filename": "/models/VAE/soft.safetensors"}],
            [{"name": "warm", "prompt": "{prompt}, warm light", "negative_prompt": "blue"}],
        )

    @classmethod
    def recorded(cls) -> "Disk":
        """That of the server whose answers were recorded."""
        checkpoints = [
            Checkpoint(
                entry["title"].partition(" ")[0],
                entry["sha256"],
                entry["config"],
                "/srv/webui/models/Stable-diffusion/",
            )
            for entry in answer_to("lists", "sd-models")
        ]
        return cls(checkpoints, embeddings=answer_to("lists", "embeddings"))

    def fill(self) -> None:
        """Put in what the recordings call filled."""
        self.loras = answer_to("lists_filled", "loras")
        self.vaes = answer_to("lists_filled", "sd-vae")

    def put(self, kind: str, name: str) -> None:
        """Put one more file in."""
        if kind == "checkpoint":
            self.checkpoints.append(checkpoint_file(name))
        elif kind == "lora":
            path = f"/models/Lora/{name}.safetensors"
            self.loras.append({"name": name, "alias": name, "path": path})
        elif kind == "vae":
            self.vaes.append({"model_name": name, "filename": f"/models/VAE/{name}"})
        else:
            raise ValueError(kind)


@dataclass
class Models:
    """The lists as the server read them last, and the checkpoint in memory."""

    disk: Disk
    loaded: Checkpoint = field(init=False)
    listed: list[Checkpoint] = field(init=False)
    loras: list[dict[str, JsonValue]] = field(init=False)
    vaes: list[dict[str, JsonValue]] = field(init=False)

    def __post_init__(self) -> None:
        self.loaded = self.disk.checkpoints[0]
        self.listed = list(self.disk.checkpoints)
        self.loras, self.vaes = list(self.disk.loras), list(self.disk.vaes)

    def refresh(self, what: str) -> None:
        """Read a folder anew."""
        if what == "checkpoints":
            found = (checkpoint_file(path.name) for path in self.disk.files("Stable-diffusion"))
            self.listed = [*self.disk.checkpoints, *found]
        elif what == "loras":
            self.loras = list(self.disk.loras)
            for path in self.disk.files("Lora"):
                self.loras.append({"name": path.stem, "alias": path.stem, "path": str(path)})
        elif what == "vae":
            self.vaes = list(self.disk.vaes)
            for path in self.disk.files("VAE"):
                self.vaes.append({"model_name": path.name, "filename": str(path)})

    def find(self, name: JsonValue) -> Checkpoint | None:
        """By any of its names, in full."""
        return next((found for found in self.listed if name in found.aliases), None)

    def closest(self, name: str) -> Checkpoint | None:
        """`get_closet_checkpoint_match`: also by a part of the title, the shortest first."""
        parts = [one for one in self.listed if name in one.title]
        return self.find(name) or min(parts, key=lambda one: len(one.title), default=None)
