"""Which models may be fetched, from where, and into which file: judged before anything is asked."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Final

from queue_agent.inputs.addresses import Allowlist, HttpLocation
from queue_agent.wire.errors import Rejected
from queue_agent.wire.model_files import MODEL_FORBIDDEN, ModelFile

UNKNOWN_MODEL: Final = "unknown_model"
TOO_LARGE: Final = "model_too_large"

_SAFE: Final = frozenset({".gguf", ".safetensors", ".sft"})
_PICKLES: Final = frozenset({".bin", ".ckpt", ".pt", ".pth"})
"""Formats that may hold code, which runs when they are loaded."""
_STEP: Final = re.compile(r"(?!\.)[^\x00-\x1f\x7f/\\:*?\"<>|]{1,200}(?<![ .])")
"""A folder's or a file's name, on any file system."""
_DEEPEST: Final = 5
_SHOWN: Final = 100

Headers = Mapping[str, str]


@dataclass(frozen=True)
class ModelPolicy:
    """What the operator allows. Sizes are in bytes, durations in seconds.

    Raises:
        ValueError: an entry of `hosts` or `trusted` is no network, address, host or ``*.suffix``;
            or a model of `listed` can never be fetched.
    """

    folder: Path
    """Where models lie, in a folder for each kind."""
    hosts: tuple[str, ...] = ()
    """Hosts that jobs' models may come from, those that they redirect to included."""
    trusted: tuple[str, ...] = ()
    """Hosts and networks that may be private, and spoken to without TLS."""
    folders: frozenset[str] = frozenset()
    """The kinds of models that jobs may bring."""
    limit: int = 100 * 2**30
    """Of all that was fetched, together."""
    largest: int = 64 * 2**30
    """Of one file."""
    pickles: bool = False
    """Whether jobs may bring files that may hold code."""
    credentials: Mapping[str, Headers] = field(default_factory=dict, repr=False)
    """Header fields by the host that they are for, and nobody else."""
    listed: tuple[ModelFile, ...] = ()
    """The operator's own: what a job calls the same is this."""
    timeout: float = 3600.0
    """For one model, however often its server breaks off."""
    room_patience: float = 3600.0
    """For other jobs to need their models no more, which take the room."""
    patience: float = 30.0
    """For an answer, or the next bytes of one."""
    max_redirects: int = 5

    def __post_init__(self) -> None:
        Allowlist.parse(self.trusted)
        Allowlist.parse(self.hosts)
        for model in self.listed:
            try:
                self.place_of(model)
            except Rejected as error:
                raise ValueError(error.message.rstrip(".")) from error

    def resolved(self, models: Iterable[ModelFile]) -> list[ModelFile]:
        """Each once, and those of the operator's list in the place of what is called so.

        Raises:
            Rejected: one is not what the operator's list has by its name; or two of a name are
                told to be different.
        """
        found: dict[str, ModelFile] = {}
        for asked in models:
            for model in self._meant(asked):
                other = found.get(model.key)
                if other is None or not other.url:
                    found[model.key] = model
                elif model.sha256 and other.sha256 and model.sha256 != other.sha256:
                    raise differs(model, "another with the same name in the same job")
        return list(found.values())

    def _meant(self, asked: ModelFile) -> list[ModelFile]:
        listed = [model for model in self.listed if _is(model, asked)]
        for model in listed:
            if asked.sha256 and model.sha256 and asked.sha256 != model.sha256:
                raise differs(asked, "the one of the operator's list")
        return [replace(model, sha256=model.sha256 or asked.sha256) for model in listed] or [asked]

    def source_of(self, model: ModelFile) -> ModelFile:
        """What is fetched: the operator's own, without what jobs say of it."""
        return next((own for own in self.listed if own.key == model.key), model)

    def place_of(self, model: ModelFile) -> HttpLocation:
        """Where a model may be fetched from.

        Raises:
            Rejected: of type ``model_forbidden`` or ``model_too_large``; or ``unknown_model``,
                where nobody says where it comes from.
        """
        self.check_name(model)
        self._check_kind(model)
        if not model.url:
            raise Rejected(
                f"{shown(model)} is not there, and nobody says where it comes from.",
                type=UNKNOWN_MODEL,
            )
        self.check_size(model, model.size or 0)
        try:
            place = HttpLocation.parse(model.url)
        except Rejected as error:
            # The URL is not repeated: what cannot be read may hold a secret anywhere.
            raise _forbidden(model, f"its URL {error.message}") from error
        self.check_hop(model, place)
        return place

    def check_hop(self, model: ModelFile, place: HttpLocation) -> None:
        """Whether a model may come from here, to which its URL leads, perhaps by redirects.

        Raises:
            Rejected: it may not (type ``model_forbidden``).
        """
        if place.scheme != "https" and not self._trusted.names(place):
            raise _forbidden(model, f"{place.host} is asked by https only")
        if not (model.by_operator or self._hosts.names(place)):
            raise _forbidden(
                model,
                f"it comes from {place.host}, which is none of the hosts that the operator allows "
                "(QUEUE_AGENT_MODEL_HOSTS)",
            )

    def check_size(self, model: ModelFile, size: int) -> None:
        """Whether a model of so many bytes is kept at all.

        Raises:
            Rejected: it is not (type ``model_too_large``).
        """
        for bound, words in (
            (self.largest, "the largest that is fetched (QUEUE_AGENT_MODEL_LARGEST)"),
            (self.limit, "what all may take together (QUEUE_AGENT_MODELS_LIMIT)"),
        ):
            if size > bound:
                raise Rejected(
                    f"{shown(model)} has {size} bytes; {words} is {bound}.", type=TOO_LARGE
                )

    def credentials_for(self, place: HttpLocation) -> Headers:
        """What to send to this host."""
        return self.credentials.get(place.host, {})

    def check_name(self, model: ModelFile) -> None:
        """Whether a model's name leads to a file in a folder of models.

        Raises:
            Rejected: it does not (type ``model_forbidden``).
        """
        if not is_safe(model):
            raise _forbidden(model, "that is no name of a file in a folder of models")

    def _check_kind(self, model: ModelFile) -> None:
        if not model.by_operator and model.folder not in self.folders:
            known = ", ".join(sorted(self.folders)) or "none"
            raise _forbidden(model, f"models come into these folders only: {known}")
        extension = PurePosixPath(model.name).suffix.casefold()
        vouched = model.by_operator and model.sha256
        if extension in _PICKLES and not (self.pickles or vouched):
            raise _forbidden(
                model,
                f"files of the kind {extension} may hold code that runs when they are loaded; the "
                "operator can allow them (QUEUE_AGENT_MODEL_PICKLES), or list this one with its "
                "SHA-256",
            )
        if extension not in _SAFE | _PICKLES:
            raise _forbidden(model, f"files of the kind {extension or 'without any'} are no models")

    @cached_property
    def _hosts(self) -> Allowlist:
        return Allowlist.parse(self.hosts)

    @cached_property
    def _trusted(self) -> Allowlist:
        return Allowlist.parse(self.trusted)

    @cached_property
    def guard(self) -> Allowlist:
        """Places that may be contacted although they are not public."""
        return self._trusted


def is_safe(model: ModelFile) -> bool:
    """Whether folder and name, as far as they are told, stay below the folder of models."""
    steps = [*(model.folder.split("/") if model.folder else []), *model.name.split("/")]
    return len(steps) <= _DEEPEST and all(map(_STEP.fullmatch, steps))


def differs(model: ModelFile, other: str) -> Rejected:
    """A model's file has not the hash that the job says."""
    return Rejected(
        f"{shown(model)} is not the same as {other}: their SHA-256 differ.", type="model_invalid"
    )


def shown(model: ModelFile) -> str:
    """How messages call a model."""
    return f"The model {model.key.lstrip('/')[:_SHOWN]}"


def _forbidden(model: ModelFile, reason: str) -> Rejected:
    return Rejected(f"{shown(model)} is not fetched: {reason}.", type=MODEL_FORBIDDEN)


def _is(model: ModelFile, asked: ModelFile) -> bool:
    """Whether a model goes by that name, with or without its extension, as jobs say it."""
    if asked.folder and model.folder != asked.folder:
        return False
    return model.name == asked.name or (
        not asked.url and PurePosixPath(model.name).with_suffix("").as_posix() == asked.name
    )
