"""What requests say: each body as a model that refuses what it does not know."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, WithJsonSchema

from retrieval.server.limits import MAX_BATCH, MAX_DEPTH, MAX_K
from retrieval.types import Modality

__all__ = [
    "ClassifyBody",
    "EmbeddingsBody",
    "ExplainBody",
    "MomentsBody",
    "SearchBatch",
    "SearchBody",
]

MAX_TEXT = 100_000
_MAX_ID = 2**63 - 1


def _whole(value: object, *, low: int, high: int) -> object:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ValueError(f"it must be a whole number from {low} to {high}")
    return value


def _within(low: int, high: int) -> Any:  # Any: what Annotated takes
    return (
        BeforeValidator(lambda value: _whole(value, low=low, high=high)),
        WithJsonSchema({"type": "integer", "minimum": low, "maximum": high}),
    )


K = Annotated[int, *_within(1, MAX_K)]
ItemId = Annotated[int, *_within(0, _MAX_ID)]
Share = Annotated[float, Field(ge=0, le=1)]
Text = Annotated[str, Field(min_length=1, max_length=MAX_TEXT)]
Tree = dict[str, JsonValue]
"""The JSON form of a query, read by `retrieval.query.json_form`."""


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class SearchBody(_Body):
    """One search."""

    query: Text | Tree | None = Field(
        None,
        description='A text, perhaps of the grammar (`"2:beach" - people`), or its JSON form: '
        '{"text": ..}, {"item": id}, {"file": name of an uploaded part, "crop" or "slice_s"}, '
        '{"sum": [[weight, query], ..]}, {"and": [..]}, {"or": [..]}. Left out: see more_like.',
        examples=["a red parrot", {"sum": [[2, {"text": "beach"}], [-1, {"text": "people"}]]}],
    )
    k: K = Field(10, description="How many hits.")
    offset: Annotated[int, *_within(0, MAX_DEPTH)] = Field(
        0, description=f"How many of the best are passed over; k + offset <= {MAX_DEPTH}."
    )
    cursor: Annotated[str, Field(max_length=200)] | None = Field(
        None, description="`next_cursor` of the page before; the rest as there."
    )
    for_: Literal["image", "audio", "text", "video", "any"] | None = Field(
        None, alias="for", description="Only items of this modality."
    )
    where: Annotated[str, Field(max_length=MAX_TEXT)] = Field(
        "", description="A condition on the items' fields.", examples=["width_px > 800"]
    )
    min_confidence: Share = Field(0.0, description="Only hits this sure.")
    more_like: Annotated[list[ItemId], Field(max_length=MAX_BATCH)] = Field(
        default_factory=list, description="Ids of items to come nearer to."
    )
    less_like: Annotated[list[ItemId], Field(max_length=MAX_BATCH)] = Field(
        default_factory=list, description="Ids of items to get away from."
    )
    syntax: Literal["auto", "composed", "text"] = Field(
        "auto", description="How a text is read: composed if it clearly is, always, never."
    )
    hybrid: bool = Field(True, description="Also look for the words in names, captions, texts.")
    details: bool = Field(False, description="Say more of each hit's item.")
    like: Annotated[str, Field(min_length=1, max_length=4096)] | None = Field(
        None, description="For the store's own socket only: a stored path or a file, as the query."
    )
    folder: Annotated[str, Field(max_length=4096)] | None = Field(
        None, description="For the store's own socket only: where relative paths start."
    )


class SearchBatch(_Body):
    """Several searches, answered in their order."""

    queries: Annotated[list[SearchBody], Field(min_length=1, max_length=MAX_BATCH)]


class EmbeddingsBody(_Body):
    """Texts to encode, as OpenAI's clients write it."""

    input: Text | Annotated[list[Text], Field(min_length=1, max_length=MAX_BATCH)] = Field(
        examples=["a red parrot", ["a dog", "a cat"]]
    )
    model: Annotated[str, Field(max_length=200)] | None = Field(
        None, description="Must be the store's own, or be left out: a request chooses no model."
    )
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = Field(None, description="Must be the model's own, or be left out.")
    user: str | None = Field(None, description="Ignored, as others do.")
    for_: Modality = Field(
        "image", alias="for", description="What the vectors shall be compared with."
    )


class ClassifyBody(_Body):
    """Which of some classes items or files show."""

    labels: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=200)]],
        Field(min_length=2, max_length=1000),
    ] = Field(examples=[["dog", "cat", "sunset at sea"]])
    ids: Annotated[list[ItemId], Field(max_length=MAX_BATCH)] = Field(
        default_factory=list, description="Stored items; files come as further parts of a form."
    )
    temperature: Annotated[float, Field(gt=0, le=1000)] | None = None


class _OneItem(_Body):
    query: Text | Tree = Field(examples=["a red parrot", {"item": 3}])
    id: ItemId = Field(description="Of the item.", examples=[12])


class ExplainBody(_OneItem):
    """Why an item is a hit."""


class MomentsBody(_OneItem):
    """When in a sound or video a query is answered."""

    query: Text = Field(examples=["a dog barking"])
    n: Annotated[int, *_within(1, 1000)] = Field(5, description="How many.")
