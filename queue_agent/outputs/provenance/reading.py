"""What a file says of where it comes from: its C2PA manifest, and its XMP."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import BinaryIO, Final

from pydantic import JsonValue
from pydantic_core import from_json

from queue_agent.outputs.cleaning.mark import C2PA_STORE
from queue_agent.outputs.provenance.claim import OWN
from queue_agent.outputs.provenance.signing import SIGNED_TYPES

_PIECE: Final = 2**20
_OVERLAP: Final = 4096
_SOURCE_TYPE: Final = re.compile(
    rb"DigitalSourceType(?:\s*=\s*[\"']|\s*>\s*|\s+rdf:resource\s*=\s*[\"'])([^\"'<\s]{1,300})"
)
_ELSEWHERE: Final = re.compile(
    rb"dcterms:provenance(?:\s*=\s*[\"']|\s*>\s*)(https?://[^\"'<\s]{1,300})"
)
"""Where a manifest is that is not in its file: https://spec.c2pa.org, "Embedding a Reference"."""
_UNTRUSTED: Final = "signingCredential.untrusted"
_OF_TIMESTAMPS: Final = "timeStamp."
_AUTHORITY: Final = re.compile(r"matched: (.+)")
"""In the library's words of a timestamp that fits: who made it."""


@dataclass(frozen=True)
class Timestamp:
    """When a manifest was signed, as an authority says (RFC 3161)."""

    time: str
    authority: str = ""
    is_trusted: bool = False
    """Whether that authority is known to whoever reads it."""


@dataclass(frozen=True)
class ManifestFacts:
    """What a file's manifest says, and whether it holds."""

    faults: tuple[str, ...] = ()
    """Why it does not, in the library's words."""
    is_trusted: bool = False
    """Whether its signer is known to whoever reads it."""
    generator: str = ""
    signer: str = ""
    made: str = ""
    """When, as it says."""
    timestamp: Timestamp | None = None
    """None: nobody but the signer says when."""
    timestamp_faults: tuple[str, ...] = ()
    """Why that of the file is not taken for one, in the library's words."""
    source_types: tuple[str, ...] = ()
    actions: tuple[str, ...] = ()
    software: str = ""
    models: tuple[str, ...] = ()
    prompt: str = ""
    ingredients: tuple[str, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether nothing was changed since it was signed."""
        return not self.faults


@dataclass(frozen=True)
class FileFacts:
    """All that a file says."""

    has_manifest: bool
    manifest: ManifestFacts | None = None
    """None: there is none, or nobody here can read it."""
    source_types: tuple[str, ...] = field(default=())
    """In XMP."""
    elsewhere: str = ""
    """Where the file says that its manifest is, which nobody fetches."""


def facts_in(file: BinaryIO, media_type: str, anchors: str | None = None) -> FileFacts:
    """What a file says; its manifest where the extra is installed.

    Raises:
        ModuleNotFoundError: it has a manifest, and the extra is not there.
        ValueError: the trust anchors are no certificates.
    """
    seen = _looked_through(file)
    file.seek(0)
    manifest = manifest_of(file, media_type, anchors) if seen.has_manifest else None
    return replace(seen, manifest=manifest)


def manifest_of(
    file: BinaryIO, media_type: str, anchors: str | None = None
) -> ManifestFacts | None:
    """What the manifest says, of which there is one; `anchors` are authorities to trust, in PEM."""
    import c2pa  # noqa: PLC0415  an extra

    settings: dict[str, JsonValue] = {
        "version": 1,
        "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False},
    }
    if anchors is not None:
        settings["trust"] = {"trust_anchors": anchors}
    try:
        context = c2pa.Context.from_dict(settings)
    except c2pa.C2paError as error:
        raise ValueError(str(error)) from error
    try:
        with context:
            called = SIGNED_TYPES.get(media_type, media_type)
            reader = c2pa.Reader.try_create(called, file, context=context)
            if reader is None:
                return None
            with reader:
                return _facts(from_json(reader.json()))
    except c2pa.C2paError as error:
        return ManifestFacts(faults=(str(error),))


def _looked_through(file: BinaryIO) -> FileFacts:
    has_manifest, elsewhere, found, before = False, "", dict[str, None](), b""
    while piece := file.read(_PIECE):
        seen = before + piece
        has_manifest = has_manifest or C2PA_STORE in seen
        found |= {_text(match): None for match in _SOURCE_TYPE.finditer(seen)}
        if (named := _ELSEWHERE.search(seen)) is not None:
            elsewhere = elsewhere or _text(named)
        before = seen[-_OVERLAP:]
    return FileFacts(has_manifest, source_types=tuple(found), elsewhere=elsewhere)


def _text(match: re.Match[bytes]) -> str:
    return match[1].decode("utf-8", "replace")


def _facts(store: Mapping[str, JsonValue]) -> ManifestFacts:
    manifest = _at(_at(store, "manifests"), str(store.get("active_manifest")))
    results = _at(_at(store, "validation_results"), "activeManifest")
    codes = _codes(results, "failure")
    actions = [
        action
        for assertion in _list(manifest.get("assertions"))
        if str(assertion.get("label", "")).startswith("c2pa.actions")
        for action in _list(_at(assertion, "data").get("actions"))
    ]
    parameters = [_at(action, "parameters") for action in actions]
    signature = _at(manifest, "signature_info")
    of_time = {
        code.removeprefix(_OF_TIMESTAMPS): words
        for code, words in _codes(results, "success", "informational", "failure").items()
        if code.startswith(_OF_TIMESTAMPS)
    }
    generators = _list(manifest.get("claim_generator_info"))
    return ManifestFacts(
        faults=tuple(f"{code}: {words}" for code, words in codes.items() if code != _UNTRUSTED),
        is_trusted=store.get("validation_state") == "Trusted",
        generator=" ".join(_words(generators[0], "name", "version")) if generators else "",
        signer=", ".join(_words(signature, "common_name", "issuer")),
        made=_first(actions, "when"),
        timestamp=_timestamp(signature, of_time),
        timestamp_faults=tuple(
            f"{_OF_TIMESTAMPS}{code}: {words}"
            for code, words in of_time.items()
            if code not in {"validated", "trusted", "untrusted"}
        ),
        source_types=_each(actions, "digitalSourceType"),
        actions=_each(actions, "action"),
        software=_software(actions),
        models=tuple(str(model) for one in parameters for model in _plain(one.get(f"{OWN}models"))),
        prompt=_first(parameters, f"{OWN}prompt"),
        ingredients=_each(_list(manifest.get("ingredients")), "title"),
    )


def _codes(results: Mapping[str, JsonValue], *kinds: str) -> dict[str, str]:
    """What was found, with explanations."""
    return {
        str(status.get("code")): str(status.get("explanation", ""))
        for kind in kinds
        for status in _list(results.get(kind))
    }


def _timestamp(signature: Mapping[str, JsonValue], of_time: Mapping[str, str]) -> Timestamp | None:
    if "validated" not in of_time or not signature.get("time"):
        return None
    named = _AUTHORITY.search(of_time["validated"])
    return Timestamp(
        str(signature["time"]), named[1] if named else "", is_trusted="trusted" in of_time
    )


def _software(actions: list[Mapping[str, JsonValue]]) -> str:
    agents = [action.get("softwareAgent") for action in actions]
    names = (_at({"agent": agent}, "agent").get("name", agent) for agent in agents if agent)
    return str(next(names, ""))


def _at(value: Mapping[str, JsonValue], name: str) -> Mapping[str, JsonValue]:
    inner = value.get(name)
    return inner if isinstance(inner, Mapping) else {}


def _plain(value: JsonValue) -> list[JsonValue]:
    return value if isinstance(value, list) else []


def _list(value: JsonValue) -> list[Mapping[str, JsonValue]]:
    return [one for one in _plain(value) if isinstance(one, Mapping)]


def _each(values: list[Mapping[str, JsonValue]], name: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(str(one[name]) for one in values if name in one))


def _first(values: list[Mapping[str, JsonValue]], name: str) -> str:
    return next(iter(_each(values, name)), "")


def _words(value: Mapping[str, JsonValue], *names: str) -> list[str]:
    return [str(value[name]) for name in names if value.get(name)]
