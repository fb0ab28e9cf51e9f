"""The tools: search, similar, item, classify. They name items by id and take no paths."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import retrieval
from retrieval.around.classify import classify_by_names
from retrieval.config import Settings
from retrieval.contents import stored_vectors
from retrieval.engine import Engine
from retrieval.errors import BackendMissingError, NotFoundError
from retrieval.media import Loader
from retrieval.query.results import hits_to_json
from retrieval.types import Item

if TYPE_CHECKING:
    from mcp.server import MCPServer

__all__ = ["make_tools"]

Kind = Literal["any", "image", "audio", "text", "video"]
Plain = dict[str, Any]  # Any: JSON

_ABOUT = (
    "A store of pictures, sounds, videos and texts on this machine. Search it by what things show "
    "or sound like, in words; ask for more like a hit by its id."
)


def make_tools(engine: Engine, *, settings: Settings) -> MCPServer[None]:
    """Make the MCP server of a store; the caller runs it.

    Args:
        engine: of the store; stays open.
        settings: resolved.

    Raises:
        BackendMissingError: the SDK is not installed.
    """
    try:
        from mcp.server import MCPServer
    except ImportError as error:
        raise BackendMissingError("this needs the MCP SDK; pip install 'crossfind[mcp]'") from error
    made: MCPServer[None] = MCPServer(
        "crossfind", instructions=_ABOUT, version=retrieval.__version__, log_level="WARNING"
    )
    for tool in _tools(engine, settings):
        made.tool()(tool)
    return made


def _tools(engine: Engine, settings: Settings) -> tuple[Callable[..., Plain], ...]:
    def search(query: str, k: int = 10, kind: Kind = "any", where: str = "") -> Plain:
        """Find items by a text: what a picture shows, what a sound sounds like, what a text says.

        `kind` keeps one kind of item; `where` is a condition such as
        "duration_s < 30 AND path LIKE '%holiday%'". Confidence is the share of unrelated queries
        that find nothing as good; low ones mean that nothing matches.
        """
        hits = engine.search(query, k=k, modality=kind, where=where)
        return {"hits": hits_to_json(hits)}

    def similar(id: int, k: int = 10, kind: Kind = "any") -> Plain:
        """Find items like a stored one, named by the id of a hit; itself is left out."""
        return {"hits": hits_to_json(engine.similar(id, k=k, modality=kind))}

    def item(id: int) -> Plain:
        """Say what is known of an item: its file, format, size, length, caption."""
        return _plain(_item(engine, id))

    def classify(id: int, labels: list[str]) -> Plain:
        """Say which of two labels or more, in words, fits an item best, with probabilities."""
        path = _item(engine, id).path
        with Loader(spec=engine.encoder.media) as loader:
            found = classify_by_names(
                [path], labels=labels, encoder=engine.encoder, loader=loader,
                stored=lambda paths, space: stored_vectors(
                    engine, paths=paths, space=space, catalog_url=settings.catalog
                ),
            )  # fmt: skip
        best = found.predictions[0]
        return {"label": best.label, "confidence": best.confidence, "scores": best.scores}

    return search, similar, item, classify


def _item(engine: Engine, item_id: int) -> Item:
    found = engine.item(item_id)
    if found is None:
        raise NotFoundError(f"no item #{item_id} in the store", code="no_such_item")
    return found


def _plain(item: Item) -> Plain:
    return {
        "id": item.id, "path": item.path, "modality": item.modality, "format": item.format,
        "size_bytes": item.size_bytes, "width_px": item.width_px, "height_px": item.height_px,
        "duration_s": item.duration_s, "caption": item.caption, "copies": list(item.copies),
    }  # fmt: skip
