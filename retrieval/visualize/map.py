"""A store as a map: one HTML file with everything in it that draws, zooms and asks nobody."""

from __future__ import annotations

import base64
import io
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from retrieval.contents import Contents
from retrieval.errors import BadMediaError, UsageError
from retrieval.media import Found, find_file
from retrieval.types import MODALITIES, Failure, MediaSpec, Modality, Outcome
from retrieval.visualize.names import readable
from retrieval.visualize.page import MAP_SCRIPT, MAP_STYLE
from retrieval.visualize.project import centre_groups, neighbour_plane, principal_plane

__all__ = ["THUMBNAIL_SPEC", "Dot", "Method", "StoreMap", "draw_map", "make_map", "make_thumbnails"]

Method = Literal["pca", "umap"]

_SIDE_PX = 64
THUMBNAIL_SPEC = MediaSpec(image_size_px=_SIDE_PX, image_fit="crop", frame_every_s=3600.0)
"""How a picture is decoded for a thumbnail."""

_SNIPPET = 160


class _LoadsMany(Protocol):
    def load_many(self, jobs: Iterable[Found]) -> Iterator[tuple[Found, Outcome]]:
        """Load files in the order given."""


@dataclass(frozen=True, slots=True)
class Dot:
    """An item on the map.

    Attributes:
        id, path, modality: the item's.
        x, y: in [-1, 1].
        text: the beginning of a text or caption, or empty.
    """

    id: int
    path: str
    modality: Modality
    x: float
    y: float
    text: str = ""


@dataclass(frozen=True, slots=True)
class StoreMap:
    """A store in the plane.

    Attributes:
        dots: ascending by id.
        kept: in [0, 1]; share of the variance the plane keeps (`pca`), or of each item's 10 nearest
            neighbours that are its neighbours in the plane too (`umap`).
        model: whose vectors they are.
        with_gap: whether the modalities stand where they are, or each around its own mean.
    """

    dots: tuple[Dot, ...]
    kept: float
    model: str
    with_gap: bool
    method: Method = "pca"


def make_map(
    contents: Contents, *, with_gap: bool = False, method: Method = "pca", seed: int = 0
) -> StoreMap:
    """Place the items of a store in a plane.

    Args:
        contents: of the store.
        with_gap: False subtracts each modality's mean first, so that items of several modalities
            lie together by what they show; True shows the gap between the modalities.

    Returns:
        The map, scaled to [-1, 1] in both directions by one factor.
    """
    ids, vectors = contents.item_vectors()
    kinds = [contents.items[int(id_)].modality for id_ in ids]
    groups = np.array([MODALITIES.index(kind) for kind in kinds], dtype=np.int64)
    chosen = vectors if with_gap else centre_groups(vectors, groups=groups)
    if method == "pca":
        points, kept = principal_plane(chosen)
    else:
        points, kept = neighbour_plane(chosen, seed=seed)
    largest = max(float(np.abs(points).max(initial=0.0)), 1e-9)
    texts = {part.item_id: part.text for part in reversed(contents.parts) if part.text}
    dots = tuple(
        Dot(
            id=int(id_),
            path=contents.items[int(id_)].path,
            modality=kind,
            x=round(float(x) / largest, 4),
            y=round(float(y) / largest, 4),
            text=" ".join(texts.get(int(id_), "").split())[:_SNIPPET],
        )
        for id_, kind, (x, y) in zip(ids, kinds, points, strict=True)
    )
    return StoreMap(dots, round(kept, 4), contents.space.model, with_gap, method)


def make_thumbnails(
    dots: Iterable[Dot], *, loader: _LoadsMany, limit: int = 2000
) -> tuple[dict[int, bytes], list[Failure]]:
    """Decode small pictures of the first items that have one.

    Args:
        dots: of the map.
        loader: decodes as `THUMBNAIL_SPEC` says.
        limit: most pictures; a page of 2,000 has about 5 MB.

    Returns:
        Item id -> JPEG bytes of a picture of 64 x 64, and the files that could not be used.
    """
    ids: dict[str, int] = {}
    jobs: list[Found] = []
    failures: list[Failure] = []
    for dot in dots:
        if dot.modality not in ("image", "video") or len(jobs) >= limit:
            continue
        try:
            jobs.append(find_file(Path(dot.path)))
            ids[jobs[-1].path] = dot.id
        except (UsageError, BadMediaError) as error:
            failures.append(Failure(dot.path, error.code, str(error)))
    thumbnails: dict[int, bytes] = {}
    for found, outcome in loader.load_many(jobs):
        if isinstance(outcome, Failure):
            failures.append(outcome)
            continue
        frame = next((p.payload for p in outcome.parts if p.modality == "image"), None)
        if isinstance(frame, np.ndarray):
            thumbnails[ids[found.path]] = _jpeg(frame.astype(np.uint8))
    return thumbnails, failures


def draw_map(
    store_map: StoreMap, *, thumbnails: Mapping[int, bytes], title: str = "crossfind map"
) -> str:
    """Write a map as one HTML page.

    The page carries its script, style and pictures, and forbids itself every request by a content
    security policy. Names reach the page as JSON and are only ever written as text.

    Args:
        store_map: from `make_map`.
        thumbnails: from `make_thumbnails`.
        title: of the page.

    Returns:
        The page.

    Example:
        >>> dot = Dot(id=1, path="/a/<b>.png", modality="image", x=0.0, y=0.0)
        >>> page = draw_map(StoreMap((dot,), 1.0, "fake", False), thumbnails={})
        >>> "<b>" in page, "://" in page
        (False, False)
    """
    dots = [
        {
            "i": dot.id, "n": readable(os.path.basename(dot.path)), "p": readable(dot.path),
            "m": MODALITIES.index(dot.modality), "x": dot.x, "y": dot.y, "t": dot.text,
            **({"s": _data_uri(thumbnails[dot.id])} if dot.id in thumbnails else {}),
        }
        for dot in store_map.dots
    ]  # fmt: skip
    counts = [sum(dot.modality == m for dot in store_map.dots) for m in MODALITIES]
    data = json.dumps({"dots": dots, "kinds": MODALITIES, "counts": counts})
    # Inside a script element only `<` could end it.
    safe = data.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    gap = "modalities where they stand" if store_map.with_gap else "each modality around its mean"
    told = {
        "pca": f"two principal components of {store_map.model}, {gap}; they keep "
        f"{store_map.kept:.0%} of the variance",
        "umap": f"UMAP of {store_map.model}, {gap}; it keeps {store_map.kept:.0%} of each item's "
        "10 nearest",
    }
    note = f"{len(dots)} items, {told[store_map.method]}"
    return _PAGE.format(
        title=escape(title), note=escape(note), style=MAP_STYLE, data=safe, script=MAP_SCRIPT
    )


def _data_uri(jpeg: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii")


def _jpeg(pixels: npt.NDArray[np.uint8]) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=70)
    return file.getvalue()


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; \
style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<title>{title}</title><style>{style}</style></head><body>
<canvas id="map" tabindex="0" aria-label="map of the store"></canvas>
<header><h1>{title}</h1><p>{note}</p>
<input id="find" type="search" placeholder="name contains" aria-label="name contains">
<div id="kinds"></div></header>
<aside id="tip" hidden><img id="tip-image" alt=""><b id="tip-name"></b><span id="tip-kind"></span>
<p id="tip-text"></p><small id="tip-path"></small></aside>
<footer>drag to move, wheel or + and - to zoom, 0 to see all</footer>
<script id="data" type="application/json">{data}</script><script>{script}</script></body></html>
"""
