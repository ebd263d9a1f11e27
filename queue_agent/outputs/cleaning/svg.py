"""SVG: what is drawn is written anew, and nothing else; https://www.w3.org/TR/SVG2/.

Elements and attributes that are not known to draw go, with their texts: descriptions, editors' own,
scripts, links, what lies elsewhere, comments, and names that nothing leads to.
"""

import re
from base64 import b64encode
from collections.abc import Callable
from typing import Final
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

from queue_agent.media.base64_text import decode_base64
from queue_agent.outputs.cleaning.damage import Damaged
from queue_agent.wire.output import MetadataRule

MEDIA_TYPE: Final = "image/svg+xml"

_NAMESPACE: Final = "http://www.w3.org/2000/svg"
_LINKS: Final = "http://www.w3.org/1999/xlink"
_XML: Final = "http://www.w3.org/XML/1998/namespace"
_BEGIN: Final = re.compile(
    rb"(?:\xef\xbb\xbf)?\s*(?:<\?(?:(?!\?>).)*\?>\s*|<!--(?:(?!-->).)*-->\s*"
    rb"|<!DOCTYPE\s+svg[^>\[]{0,300}>\s*)*<(?:[A-Za-z]\w{0,20}:)?svg[\s>/]",
    re.DOTALL,
)


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_ELEMENTS: Final = _words(
    "animate animateMotion animateTransform circle clipPath defs ellipse feBlend "
    "feColorMatrix feComponentTransfer feComposite feConvolveMatrix feDiffuseLighting "
    "feDisplacementMap feDistantLight feDropShadow feFlood feFuncA feFuncB feFuncG feFuncR "
    "feGaussianBlur feImage feMerge feMergeNode feMorphology feOffset fePointLight "
    "feSpecularLighting feSpotLight feTile feTurbulence filter g image line linearGradient "
    "marker mask mpath path pattern polygon polyline radialGradient rect set stop style svg "
    "switch symbol text textPath tspan use"
)
_WITH_TEXT: Final = frozenset({"text", "textPath", "tspan"})
_PROPERTIES: Final = _words(
    "alignment-baseline baseline-shift clip clip-path clip-rule color color-interpolation "
    "color-interpolation-filters cursor direction display dominant-baseline "
    "enable-background fill fill-opacity fill-rule filter flood-color flood-opacity font "
    "font-family font-size font-size-adjust font-stretch font-style font-variant "
    "font-weight image-rendering isolation letter-spacing lighting-color line-height marker "
    "marker-end marker-mid marker-start mask mask-type mix-blend-mode opacity overflow "
    "paint-order shape-rendering stop-color stop-opacity stroke stroke-dasharray "
    "stroke-dashoffset stroke-linecap stroke-linejoin stroke-miterlimit stroke-opacity "
    "stroke-width text-anchor text-decoration text-orientation text-rendering transform "
    "transform-box transform-origin unicode-bidi vector-effect visibility white-space "
    "word-spacing writing-mode"
)
_ATTRIBUTES: Final = _PROPERTIES | _words(
    "accumulate additive amplitude attributeName azimuth baseFrequency begin bias by "
    "calcMode clipPathUnits cx cy d diffuseConstant divisor dur dx dy edgeMode elevation "
    "end exponent filterUnits fr from fx fy gradientTransform gradientUnits height in in2 "
    "intercept k1 k2 k3 k4 kernelMatrix kernelUnitLength keyPoints keySplines keyTimes "
    "lengthAdjust limitingConeAngle markerHeight markerUnits markerWidth maskContentUnits "
    "maskUnits max method min mode numOctaves offset operator order orient origin "
    "pathLength patternContentUnits patternTransform patternUnits points pointsAtX "
    "pointsAtY pointsAtZ preserveAlpha preserveAspectRatio primitiveUnits r radius refX "
    "refY repeatCount repeatDur restart result rotate rx ry scale seed side slope spacing "
    "specularConstant specularExponent spreadMethod startOffset stdDeviation stitchTiles "
    "surfaceScale systemLanguage tableValues target targetX targetY textLength to type "
    "values version viewBox width x x1 x2 xChannelSelector y y1 y2 yChannelSelector z"
)
_ANIMATED: Final = frozenset({None, "class", *_ATTRIBUTES})
"""What may change in time: no link, since what it would lead to nobody has looked at."""
_COMMENT: Final = re.compile(r"/\*.*?(?:\*/|\Z)", re.DOTALL)
_AT_RULE: Final = re.compile(r"@[^{};]*+(?:;|\{(?:[^{}]++|\{[^{}]*+\})*+\}|\Z|\{|\})", re.DOTALL)
_LED_TO: Final = re.compile(r"#([^\s\"'()\[\]{},;:>+~]+)")
_ELSEWHERE: Final = re.compile(r"url\(\s*[\"']?(?!#)|@import|image-set\(|\\", re.IGNORECASE)
_PICTURE: Final = re.compile(r"data:image/[a-z+.-]{1,40};base64,", re.IGNORECASE)

Clean = Callable[[bytes], bytes]
"""Of a picture within the picture."""


def is_svg(head: bytes) -> bool:
    """Whether a file that begins so is one, in an encoding that has the letters of ASCII."""
    return _BEGIN.match(head) is not None


def cleaner(clean: Clean) -> Callable[[bytes, MetadataRule], bytes]:
    """A cleaner, by one of the pictures that may lie within; files are not marked.

    What it writes is UTF-8.
    """

    def cleaned(data: bytes, rule: MetadataRule) -> bytes:
        return data if rule == "keep" else _Written(clean, _names_in(data)).of(data)

    return cleaned


def _names_in(data: bytes) -> frozenset[str]:
    """The names that something in the file leads to."""
    found: set[str] = set()

    def start(_: str, attributes: dict[str, str]) -> None:
        for value in attributes.values():
            found.update(_LED_TO.findall(value))

    def text(value: str) -> None:
        found.update(_LED_TO.findall(value))

    parser = _parser()
    parser.StartElementHandler = start
    parser.CharacterDataHandler = text
    _parse(parser, data)
    return frozenset(found)


class _Written:
    """What is written of a file while it is read."""

    def __init__(self, clean: Clean, names: frozenset[str]) -> None:
        self._clean = clean
        self._names = names
        self._parts: list[str] = []
        self._open: list[str] = []
        self._left_out = 0
        """How many elements are open of which nothing is written."""
        self._style: list[str] = []

    def of(self, data: bytes) -> bytes:
        parser = _parser()
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text
        _parse(parser, data)
        if not self._parts:
            raise Damaged("is an SVG without a picture")
        return "".join(self._parts).encode()

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        local = name.removeprefix(f"{_NAMESPACE} ")
        draws = local in _ELEMENTS and attributes.get("attributeName") in _ANIMATED
        if self._left_out or not draws or (not self._open and local != "svg"):
            self._left_out += 1
            return
        if "href" in attributes:  # which holds where both are
            attributes.pop(f"{_LINKS} href", None)
        kept = {"xmlns": _NAMESPACE, "xmlns:xlink": _LINKS} if not self._open else {}
        for attribute, value in attributes.items():
            if (found := self._attribute(attribute, value)) is not None:
                kept[found[0]] = found[1]
        self._open.append(local)
        if local != "style":
            written = "".join(f" {one}={quoteattr(value)}" for one, value in kept.items())
            self._parts.append(f"<{local}{written}>")

    def _end(self, _: str) -> None:
        if self._left_out:
            self._left_out -= 1
            return
        local = self._open.pop()
        if local == "style":
            self._parts.append(f"<style>{escape(_rules(''.join(self._style)))}</style>")
            self._style.clear()
        else:
            self._parts.append(f"</{local}>")

    def _text(self, text: str) -> None:
        if self._left_out or not self._open:
            return
        if self._open[-1] == "style":
            self._style.append(text)
        elif self._open[-1] in _WITH_TEXT:
            self._parts.append(escape(text))

    def _attribute(self, name: str, value: str) -> tuple[str, str] | None:
        """As it is written; None: it is no part of the picture."""
        kept: str | None = None
        if name in {"href", f"{_LINKS} href"}:
            name, kept = "xlink:href", self._link(value)
        elif name == f"{_XML} space":
            name, kept = "xml:space", "preserve" if value == "preserve" else None
        elif name == "id":
            kept = value if value in self._names else None
        elif name == "style":
            kept = _declarations(value)
        elif name == "class" or (name in _ATTRIBUTES and not _ELSEWHERE.search(value)):
            kept = value
        return None if kept is None else (name, kept)

    def _link(self, value: str) -> str | None:
        if value.startswith("#"):
            return value
        if not (head := _PICTURE.match(value)):
            return None
        return head[0] + b64encode(self._clean(decode_base64(value[head.end() :]))).decode()


def _rules(style: str) -> str:
    """A sheet's plain rules; whatever is more goes."""
    kept = []
    for block in _AT_RULE.sub("", _COMMENT.sub("", style)).split("}")[:-1]:
        before, _, its = block.partition("{")
        selector = before.rpartition(";")[2].strip()
        if selector and "{" not in its and "@" not in selector:
            kept.append(f"{selector}{{{_declarations(its)}}}")
    return "".join(kept)


def _declarations(style: str) -> str:
    kept = []
    for declaration in _COMMENT.sub("", style).split(";"):
        name, _, value = declaration.partition(":")
        if name.strip().lower() in _PROPERTIES and not _ELSEWHERE.search(value):
            kept.append(f"{name.strip()}:{value.strip()}")
    return ";".join(kept)


def _parser() -> expat.XMLParserType:
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = _no_entities
    return parser


def _no_entities(_name: str, _system: str | None, _public: str | None, internal: bool) -> None:
    if internal:
        raise Damaged("is an SVG with definitions of its own")


def _parse(parser: expat.XMLParserType, data: bytes) -> None:
    try:
        parser.Parse(data, True)
    except (expat.ExpatError, LookupError) as error:
        raise Damaged("is a broken SVG") from error
