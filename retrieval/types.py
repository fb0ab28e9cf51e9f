"""The nouns: frozen dataclasses; with arrays and plain values, all that crosses a module border."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Union

if TYPE_CHECKING:  # a command that asks a running server has no use for numpy
    import numpy as np
    import numpy.typing as npt

Modality = Literal["image", "audio", "text", "video"]
"""What an item is. A part is a frame (image), a window (audio) or a chunk (text), never a video."""

MODALITIES: tuple[Modality, ...] = ("image", "audio", "text", "video")

Payload = Union["npt.NDArray[np.uint8]", "npt.NDArray[np.float32]", str]
"""What an encoder eats: image uint8 RGB [H, W, 3]; audio float32 [T] in [-1, 1]; text str."""


@dataclass(frozen=True, slots=True)
class Space:
    """One vector space: vectors of different spaces are never compared.

    Attributes:
        id: name within its model, e.g. `starter`; unique in a store.
        model: the model's name as the user writes it.
        fingerprint: hex digest over weights, preprocessing and dim.
        dim: length of a vector.
        modalities: part modalities that have vectors here (image, audio, text).
        licence: of the weights, as their source names it; empty where it is the package's own.
    """

    id: str
    model: str
    fingerprint: str
    dim: int
    modalities: tuple[Modality, ...]
    licence: str = ""


@dataclass(frozen=True, slots=True)
class MediaSpec:
    """The form in which an encoder wants its media; what the loader produces.

    Attributes:
        image_size_px: side of the square the picture is brought to.
        image_fit: `crop` scales the short side to `image_size_px / crop_fraction` and cuts the
            centre; `squash` ignores the aspect.
        crop_fraction: share of the short side that the centre crop keeps, in (0, 1].
        image_method: `fast` may skip detail that scaling throws away (JPEG at reduced size, box
            filter first); `library` scales as torchvision scales a Pillow picture, to the bit.
        interpolation: of the scaling, always with antialiasing.
        sample_rate_hz: rate of the mono audio.
        window_s, hop_s: length and step of audio windows; a sound of at most window_s is one part.
        text_max_words: words of one text chunk.
        text_overlap_words: words that neighbouring chunks share.
        frame_every_s: longest time between two frames of a video.
        speech: engine that writes down what is said in sounds, see `media.speech`; empty for none.
        speech_s: seconds that it may take for one file.
    """

    image_size_px: int = 224
    image_fit: Literal["crop", "squash"] = "squash"
    crop_fraction: float = 1.0
    image_method: Literal["fast", "library"] = "fast"
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    sample_rate_hz: int = 44_100
    window_s: float = 10.0
    hop_s: float = 5.0
    text_max_words: int = 120
    text_overlap_words: int = 20
    frame_every_s: float = 2.0
    speech: str = ""
    speech_s: float = 120.0


@dataclass(frozen=True, slots=True)
class LoadedPart:
    """A piece of media, decoded and ready to encode.

    Attributes:
        modality: image, audio or text.
        payload: see `Payload`.
        start_s, end_s: where in the item it lies; None for pictures and texts.
        record: row of a csv/jsonl file from 1, or 0 for a file that is one item.
        caption: True when the text describes the item rather than being it.
    """

    modality: Modality
    payload: Payload
    start_s: float | None = None
    end_s: float | None = None
    record: int = 0
    caption: bool = False


@dataclass(frozen=True, slots=True)
class Details:
    """What a file says of itself beyond its pixels and samples; None and empty where it does not.

    Attributes:
        taken_ns: when it was taken, nanoseconds since 1970; a time without a zone counts as UTC.
        lat, lon: where, in degrees north and east.
        camera: maker and model.
        tags: keywords, sorted.
        sample_rate_hz, n_channels: of the sound as it is stored.
        fps: frames per second of a video, on average.
        codec: of a video's pictures, or of a sound, as FFmpeg calls it.
        title, artist, album: as the file is tagged.
    """

    taken_ns: int | None = None
    lat: float | None = None
    lon: float | None = None
    camera: str | None = None
    tags: tuple[str, ...] = ()
    sample_rate_hz: int | None = None
    n_channels: int | None = None
    fps: float | None = None
    codec: str | None = None
    title: str | None = None
    artist: str | None = None
    album: str | None = None


NOTHING = Details()
"""Of a file that says nothing of itself."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A file, decoded.

    Attributes:
        modality: of the file's items.
        format: real type found in the bytes, lower case (`png`, `flac`, `csv`, ...).
        content_hash: SHA-256 of the bytes, hex.
        size_bytes, mtime_ns, inode: as fstat said while it was read.
        parts: in order of record and time.
        width_px, height_px, duration_s: None where they have no meaning.
        caption: text of the caption file beside it, or None.
        flags: sorted, e.g. `silent`, `shorter_than_header`, `first_30_min_only`.
        details: of a picture's EXIF, IPTC and XMP; of a container's streams and tags.
    """

    modality: Modality
    format: str
    content_hash: str
    size_bytes: int
    mtime_ns: int
    inode: int
    parts: tuple[LoadedPart, ...]
    width_px: int | None = None
    height_px: int | None = None
    duration_s: float | None = None
    caption: str | None = None
    flags: tuple[str, ...] = ()
    details: Details = NOTHING


@dataclass(frozen=True, slots=True)
class Failure:
    """A file that could not be used.

    Attributes:
        path: absolute, as bytes decoded with surrogateescape.
        code: stable, e.g. `truncated`, `too_many_pixels`, `decoder_crashed`.
        reason: one line for people: what, which value, which limit, what to do.
    """

    path: str
    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class Item:
    """One media file or record, as the catalog knows it.

    Attributes:
        id: its identity; stable while its content changes.
        path: absolute; a record of a csv/jsonl file has `#ROW` behind it.
        modality: image, audio, text or video.
        format, size_bytes, width_px, height_px, duration_s, caption, flags: see `Loaded`.
        record: row of a csv/jsonl file from 1, or 0 for a file that is one item.
        copies: further paths with the same bytes.
        tags: of its file and of the user, sorted.
        columns: what it has in the user's own columns.
    """

    id: int
    path: str
    modality: Modality
    format: str
    size_bytes: int
    record: int = 0
    width_px: int | None = None
    height_px: int | None = None
    duration_s: float | None = None
    caption: str | None = None
    flags: tuple[str, ...] = ()
    copies: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    columns: Mapping[str, str | int | float | bool] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class Part:
    """The piece of an item that owns one vector per Space.

    Attributes:
        id: the vector's id in segments and indexes.
        item_id: whose piece it is.
        modality: image, audio or text.
        start_s, end_s: None for pictures and texts.
        text: the chunk itself for text, else None.
    """

    id: int
    item_id: int
    modality: Modality
    start_s: float | None = None
    end_s: float | None = None
    text: str | None = None


@dataclass(frozen=True, slots=True)
class Term:
    """One thing a query is made of.

    Attributes:
        value: a text, a file's absolute path, or a stored item's id as text.
        kind: how to read `value`.
        crop: (left, top, right, bottom) of a picture as shares of its sides, each in [0, 1].
        slice_s: (start, end) in a sound or video, seconds.
        part: of a stored item, only its parts of this modality; None for those that speak for it.
    """

    value: str
    kind: Literal["text", "file", "item"] = "text"
    crop: tuple[float, float, float, float] | None = None
    slice_s: tuple[float, float] | None = None
    part: Modality | None = None


@dataclass(frozen=True, slots=True)
class Sum:
    """Vectors added with weights and brought to unit length: one vector, one direction."""

    parts: tuple[tuple[float, Term | Sum], ...]


@dataclass(frozen=True, slots=True)
class Every:
    """AND: an item scores as its worst part of the query (minimum)."""

    parts: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Either:
    """OR: an item scores as its best part of the query (maximum)."""

    parts: tuple[Expression, ...]


Expression = Union[Term, Sum, Every, Either]
"""A composed query."""


@dataclass(frozen=True, slots=True)
class Query:
    """What is looked for.

    Attributes:
        value: a text, a file's absolute path, a stored item's id as text, or a composed query.
        kind: how to read `value`; `composed` says that `expression` holds the query.
        k: how many hits are wanted, 1 to 1000.
        modality: only items of this modality, or None for any.
        expression: of a composed query.
        where: a condition on the items' fields, see `retrieval.query.where`; empty for none.
        min_confidence: hits below are left out, in [0, 1]; 0 keeps all.
        offset: how many of the best are passed over; `k + offset` is at most 10,000.
        hybrid: texts are also looked up word by word, see `retrieval.query.hybrid`.
    """

    value: str
    kind: Literal["text", "file", "item", "composed"] = "text"
    k: int = 10
    modality: Modality | None = None
    expression: Expression | None = None
    where: str = ""
    min_confidence: float = 0.0
    offset: int = 0
    hybrid: bool = True


@dataclass(frozen=True, slots=True)
class Hit:
    """One answer.

    Attributes:
        rank: from 1.
        id: the item's id.
        path: the item's path (see `Item`).
        modality: the item's.
        score: cosine of the query and the item's best part, in [-1, 1].
        start_s, end_s: where the best part lies in a sound or video, else None.
        text: the best part's text, for texts and captions.
        copies: further paths with the same bytes.
        z: how many spreads the score lies above those of this query with other items of the
            kind; None where the store is too small to say.
        confidence: share of unrelated queries whose best hit scores worse, in [0, 1];
            None where the store is too small to say.
        columns: what the item has in the user's own columns.
        by: what brought it: its vector, its words (a file name, caption, tag or text), or both.
    """

    rank: int
    id: int
    path: str
    modality: Modality
    score: float
    start_s: float | None = None
    end_s: float | None = None
    text: str | None = field(default=None, compare=False)
    copies: tuple[str, ...] = field(default=(), compare=False)
    z: float | None = field(default=None, compare=False)
    confidence: float | None = field(default=None, compare=False)
    by: Literal["vector", "text", "both"] = field(default="vector", compare=False)
    columns: Mapping[str, str | int | float | bool] = field(default_factory=dict, compare=False)

    @property
    def cosine(self) -> float:
        """The score, by its full name."""
        return self.score


Outcome = Union[Loaded, Failure]
"""What loading one file ends in."""

Outcomes = Iterator[tuple[str, Outcome]]
"""Pairs of path and outcome, in the order the paths were given."""


ROW_FLAG = "row"
"""Flag of an item that is a row of a table which names media; see `retrieval.media.rows`."""


def row_of(path: str) -> tuple[str, int]:
    """Split `path#ROW`; a path without a row is its own row 0.

    Example:
        >>> row_of("/a.csv#3"), row_of("/a.csv")
        (('/a.csv', 3), ('/a.csv', 0))
    """
    base, _, row = path.rpartition("#")
    return (base, int(row)) if base and row.isascii() and row.isdecimal() else (path, 0)
