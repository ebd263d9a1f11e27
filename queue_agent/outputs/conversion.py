"""From one file to those that are delivered of it: pure, and fit for a process of its own."""

import shutil
from dataclasses import dataclass, field, replace
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import TYPE_CHECKING, Final

from queue_agent.media.facts import TooManyPixels, image_in, is_readable, kind_of
from queue_agent.media.signatures import HEAD, sniff
from queue_agent.outputs import cleaning, pictures, videos
from queue_agent.outputs.blurhash import blurhash
from queue_agent.outputs.cleaning.mark import C2PA_STORE
from queue_agent.outputs.pictures import DecodedPicture
from queue_agent.outputs.video_streams import NotConverted, VideoTarget
from queue_agent.wire.output import (
    FORMATS,
    MEDIA_TYPES,
    VIDEO_FORMATS,
    VIDEO_MEDIA_TYPES,
    FileFormat,
    ImageFormat,
    MetadataRule,
    VideoFormat,
)

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

THUMBNAIL_MEDIA_TYPE: Final = "image/webp"

TOO_MUCH: Final = "is delivered as {}: its conversion would take too much memory"

_ENCODED: Final = frozenset({*MEDIA_TYPES.values(), "image/apng"})


@dataclass(frozen=True)
class FileWish:
    """What is wanted of a file."""

    format: ImageFormat | None = None
    video_format: VideoFormat | None = None
    asked: FileFormat | None = None
    """Which format the job itself names, of whatever kind."""
    quality: int | None = None
    max_side: int | None = None
    lossless: bool = False
    metadata: MetadataRule = "keep"
    hide_graph: bool = False
    """Whether a file that holds a ComfyUI workflow is reduced to the mark."""
    mark: bool = True
    """Whether images from which nothing is taken are marked as made by a model."""
    thumbnail: bool = False
    animated_thumbnail: bool = False
    """Of videos."""
    by_pixels: bool = True
    """Whether an image of which nobody knows what else it holds may be encoded anew."""

    @property
    def needs_pixels(self) -> bool:
        """Whether an image may have to be decoded."""
        return self.format is not None or self.max_side is not None or self.thumbnail

    @property
    def needs_frames(self) -> bool:
        """Whether a video may have to be decoded, or to get another container."""
        wanted = self.video_format is not None or self.max_side is not None
        return wanted or self.thumbnail or self.animated_thumbnail

    @property
    def does_anything(self) -> bool:
        touches = self.needs_pixels or self.needs_frames
        return touches or self.hide_graph or self.mark or self.metadata != "keep"

    def may_decode(self, media_type: str) -> bool:
        """Whether a file of the type may have to be decoded."""
        if kind_of(media_type) == "video":
            return self.needs_frames
        if self.asks_for_film(media_type) or self.must_encode(media_type):
            return True
        has_format = self.format is None or MEDIA_TYPES[self.format] == media_type
        return self.thumbnail or self.max_side is not None or not has_format

    def asks_for_film(self, media_type: str) -> bool:
        """Whether the job itself wants a file of the type as a video, if it moves."""
        return self.asked in VIDEO_FORMATS and media_type in pictures.MOVING

    def must_encode(self, media_type: str) -> bool:
        """Whether an image of the type gets rid of what it holds only by another file."""
        is_known = cleaning.is_cleaned(media_type) or not is_readable(media_type)
        return self.by_pixels and self.metadata != "keep" and not is_known

    def without_pixels(self) -> "FileWish":
        """What is left where nothing can be decoded."""
        return FileWish(
            asked=self.asked,
            metadata=self.metadata,
            hide_graph=self.hide_graph,
            mark=self.mark,
            by_pixels=False,
        )


class Unhandled(Exception):
    """Nobody here knows what else the file holds. The message continues its name."""


@dataclass(frozen=True)
class Made:
    """What became of a file."""

    media_type: str
    data: bytes | None = field(default=None, repr=False)
    """The file to deliver, where it is in memory; None: the one that there was."""
    is_another: bool = False
    """Whether there is another file to deliver, wherever it lies."""
    thumbnail: bytes | None = field(default=None, repr=False)
    placeholder: str | None = None
    animated_thumbnail: bytes | None = field(default=None, repr=False)
    is_only_marked: bool = False
    """Whether it holds all that there was, and the mark beside it."""
    warning: str | None = None
    """What of the wish was not done, in words that continue the file's name."""


def made(data: bytes, wish: FileWish) -> Made:
    """What becomes of a file in memory.

    Raises:
        UnreadableImage: it has to be decoded, and is damaged.
        Damaged: what it holds has to be taken out, and its structure is broken.
        Unhandled: the same, of a type that is not known well enough.
    """
    media_type = cleaning.type_of(data[:HEAD])
    if not (wish.needs_pixels or wish.must_encode(media_type)):
        return _without_pixels(data, media_type, wish, _not_decoded(media_type, wish))
    if not is_readable(media_type):
        return _without_pixels(data, media_type, wish, _not_decoded(media_type, wish))
    try:
        result = _with_pixels(data, media_type, wish)
        return replace(result, warning=result.warning or _not_decoded(result.media_type, wish))
    except (TooManyPixels, pictures.NotEncoded) as error:
        return _without_pixels(data, media_type, wish, f"is delivered as {media_type}: it {error}")
    except MemoryError:
        return _without_pixels(data, media_type, wish, TOO_MUCH.format(media_type))


def made_of_file(source: Path, target: Path, wish: FileWish) -> Made:
    """The same of a file on disk; what is delivered, if that is another, lies at `target`."""
    with source.open("rb") as file:
        media_type = sniff(file.read(HEAD))
    if kind_of(media_type) == "video" and (wish.needs_frames or media_type in cleaning.IN_PLACE):
        return _video(source, target, media_type, wish)
    if wish.asks_for_film(media_type) and (found := _film(source, target, media_type, wish)):
        return found
    result = made(source.read_bytes(), wish)
    if result.data is not None:
        target.write_bytes(result.data)
    return replace(result, data=None, is_another=result.data is not None)


def _video(source: Path, target: Path, media_type: str, wish: FileWish) -> Made:
    """Of which no more is in memory than the system holds of the file, and some frames."""
    with source.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as content:
        rule = _rule(content, media_type, wish)
    result = Made(media_type, warning=_not_decoded(media_type, wish))
    if wish.needs_frames:
        result = _with_frames(source, target, result, wish, carry=rule == "keep")
    if rule == "keep" and not (result.is_another and wish.mark):
        return result
    if rule != "keep" and result.media_type not in cleaning.IN_PLACE:
        raise Unhandled(_not_known(media_type))
    if not result.is_another:
        shutil.copyfile(source, target)
    _rid(target, result.media_type, rule)
    return replace(result, is_another=True)


def _rid(path: Path, media_type: str, rule: MetadataRule) -> None:
    """Leave in a video what the rule says, and mark it unless it is stripped."""
    if rule != "keep":
        with path.open("r+b") as file, mmap(file.fileno(), 0) as changed:
            cleaning.IN_PLACE[media_type](changed)
    if rule != "strip":
        with path.open("ab") as end:
            end.write(cleaning.tail(media_type))


def _film(source: Path, target: Path, media_type: str, wish: FileWish) -> Made | None:
    """What becomes of an image that moves where a video is asked for; None: it is none."""
    data, form = source.read_bytes(), wish.video_format
    with image_in(data, media_type) as image:
        if form is None or getattr(image, "n_frames", 1) < 2 or not videos.can_be_made():
            return None
        rule = _rule(data, media_type, wish)
        warning = None
        if rule == "keep" and pictures.says_anything(image):
            warning = f"keeps not what stood beside its picture: there is no room for it in {form}"
        try:
            picture = pictures.decoded(image, deep=False)
            videos.film(picture, target, VideoTarget(form, wish.quality, wish.max_side))
        except (NotConverted, TooManyPixels, MemoryError) as error:
            left = made(data, wish.without_pixels())
            words = f"is delivered as {media_type}: it {error}"
            if isinstance(error, MemoryError):
                words = TOO_MUCH.format(media_type)
            if left.data is not None:
                target.write_bytes(left.data)
            return replace(left, data=None, is_another=left.data is not None, warning=words)
    if rule != "keep" or wish.mark:
        _rid(target, VIDEO_MEDIA_TYPES[form], rule)
    result = Made(VIDEO_MEDIA_TYPES[form], is_another=True, warning=warning)
    if not wish.thumbnail:
        return result
    placeholder = blurhash(picture.frames[0])
    return replace(result, thumbnail=pictures.thumbnail(picture), placeholder=placeholder)


def _with_frames(source: Path, target: Path, result: Made, wish: FileWish, *, carry: bool) -> Made:
    """What has to be decoded of a video, as far as that can be; else a word on it."""
    media_type = result.media_type
    kept = f"is delivered as {media_type}"
    if not videos.can_be_read(media_type):
        return replace(result, warning=f"{kept}: its frames are not read here")
    try:
        if wish.thumbnail:
            picture = videos.first_frame(source, media_type)
            small = pictures.thumbnail(DecodedPicture((picture,)))
            result = replace(result, thumbnail=small, placeholder=blurhash(picture))
        if wish.animated_thumbnail:
            shown = videos.animated_thumbnail(source, media_type)
            result = replace(result, animated_thumbnail=shown)
        wanted = _video_target(source, media_type, wish, carry=carry)
        if wanted is None:
            return result
        videos.convert(source, target, media_type, wanted)
    except (NotConverted, pictures.NotEncoded) as error:
        return replace(result, warning=f"{kept}: it {error}")
    except MemoryError:
        return replace(result, warning=TOO_MUCH.format(media_type))
    return replace(result, media_type=VIDEO_MEDIA_TYPES[wanted.format], is_another=True)


def _video_target(
    source: Path, media_type: str, wish: FileWish, *, carry: bool
) -> VideoTarget | None:
    """What it is to become, None where it stays; raises `NotConverted`."""
    side: int | None = wish.max_side
    own: VideoFormat = "webm" if media_type == "video/webm" else "mp4"
    target = VideoTarget(wish.video_format or own, wish.quality, side, carry)
    if wish.video_format is not None:
        return None if videos.has_format(source, media_type, target) else target
    is_large = side is not None and videos.is_larger(source, media_type, side)
    return target if is_large else None


def _without_pixels(
    data: bytes, media_type: str, wish: FileWish, warning: str | None = None
) -> Made:
    rule, is_cleaned = _rule(data, media_type, wish), cleaning.is_cleaned(media_type)
    if rule != "keep":
        if not is_cleaned:
            raise Unhandled(_not_known(media_type))
        return Made(media_type, cleaning.cleaned(data, media_type, rule), warning=warning)
    if (
        wish.hide_graph
        and not cleaning.is_cleaned(media_type)
        and _may_hold_graph(data, media_type)
    ):
        words = f"is {media_type}, of which nobody here can take out the workflow that it holds"
        return Made(media_type, warning=words)
    if not (wish.mark and kind_of(media_type) == "image" and is_cleaned):
        return Made(media_type, warning=warning)
    try:
        changed = _changed(data, media_type)
        return Made(media_type, changed, is_only_marked=True, warning=warning)
    except cleaning.Damaged:  # which whoever looks it through tells better
        return Made(media_type, warning=warning)


def _changed(data: bytes, media_type: str) -> bytes | None:
    if C2PA_STORE in data:  # which would not hold any more, and says more than the mark
        return None
    marked = cleaning.cleaned(data, media_type, "keep")
    return None if marked == data else marked


def _with_pixels(data: bytes, media_type: str, wish: FileWish) -> Made:
    with image_in(data, media_type) as image:
        target, warning = _target(image, media_type, wish)
        rule = _rule(data, media_type, wish)
        if rule != "keep" and not cleaning.is_cleaned(media_type):
            target = target or "image/png"
        if target is None and not wish.thumbnail:
            return _without_pixels(data, media_type, wish, warning)
        still = target is None or not pictures.can_move(target)
        picture = pictures.decoded(image, deep=target == "image/png", still=still)
    if wish.max_side is not None and target is not None:
        picture = picture.smaller(wish.max_side)
    if target is None:
        result = _without_pixels(data, media_type, wish, warning)
    else:
        result = _encoded(picture, target, rule, wish, warning)
    if not wish.thumbnail:
        return result
    small = pictures.thumbnail(picture)
    return replace(result, thumbnail=small, placeholder=blurhash(picture.frames[0]))


def _encoded(
    picture: DecodedPicture,
    target: str,
    rule: MetadataRule,
    wish: FileWish,
    warning: str | None,
) -> Made:
    data, words = pictures.encoded(
        picture, target, quality=wish.quality, lossless=wish.lossless, carry=rule == "keep"
    )
    if rule != "keep" or wish.mark:
        data = cleaning.cleaned(data, target, rule)
    return Made(target, data, warning=warning or words)


def _target(image: "ImageFile", media_type: str, wish: FileWish) -> tuple[str | None, str | None]:
    """What it is to be encoded as, None where it stays; and why it does not become what it should.

    It moves or not: PNG stands for both kinds.
    """
    frames = getattr(image, "n_frames", 1)
    wanted = MEDIA_TYPES[wish.format] if wish.format else media_type
    is_large = wish.max_side is not None and max(image.size) > wish.max_side
    if frames > 1 and media_type == "image/tiff":
        asked = is_large or wanted != media_type
        return None, "is delivered as it is: it has several pages" if asked else None
    if frames > 1 and wanted == "image/png":
        wanted = "image/apng"
    warning = None
    if frames > 1 and wanted != media_type and not pictures.can_move(wanted):
        warning = f"is delivered as {media_type}: it moves, and no {wanted} does"
        wanted = media_type
    if wanted == media_type and not is_large:
        return None, warning
    if wanted not in _ENCODED:
        wanted = "image/webp" if frames > 1 else "image/png"
    return wanted, warning


def _not_known(media_type: str) -> str:
    words = f"is {media_type}, of which nobody here knows what else it holds"
    return f"{words}; as mp4 or webm it would be known" if kind_of(media_type) == "video" else words


def _may_hold_graph(content: "bytes | mmap", media_type: str) -> bool:
    try:
        return cleaning.holds_graph(content, media_type)
    except cleaning.Damaged:  # which whoever looks it through tells better
        return False


def _rule(content: "bytes | mmap", media_type: str, wish: FileWish) -> MetadataRule:
    if wish.metadata == "keep" and wish.hide_graph and cleaning.is_cleaned(media_type):
        return "minimal" if _may_hold_graph(content, media_type) else "keep"
    return wish.metadata


def _not_decoded(media_type: str, wish: FileWish) -> str | None:
    """Why a file does not become what was asked for, by its kind."""
    kind, reason = kind_of(media_type), None
    if kind == "video":
        reason = "it is no image" if wish.asked in FORMATS else None
    elif wish.asked in VIDEO_FORMATS:
        reason = "it is no video"
    elif not is_readable(media_type) and (wish.format is not None or wish.max_side is not None):
        reason = "it is no image that is decoded here"
    return f"is delivered as {media_type}: {reason}" if reason else None
