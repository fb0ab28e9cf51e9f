"""Drawings that the starter's recipe keeps, beside drawing them each time."""

import json
import shutil
from itertools import pairwise

import numpy as np
import pytest

from retrieval.training.starter import drawings
from retrieval.training.starter.drawings import Drawings
from retrieval.training.starter.render import draw
from retrieval.training.starter.sources import Picture

pytestmark = pytest.mark.skipif(shutil.which("rsvg-convert") is None, reason="no rsvg-convert")
SIDE_PX = 16


def square(key, colour):
    shape = f'<rect x="2" y="2" width="9" height="6" fill="{colour}"/>'
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" width="16" height="16">{shape}</svg>'
    return Picture(key, svg.encode(), key)


PICTURES = [
    square("b/1", "#d22"),
    square("b/2", "#22d"),
    Picture("b/broken", b"<svg", "broken"),
    square("a/1", "#2a2"),
]


def test_drawings_are_kept_in_order_without_the_broken_and_drawn_once(tmp_path, monkeypatch):
    wanted = {p.key: draw(p.svg, side_px=SIDE_PX) for p in PICTURES}
    first = list(Drawings(tmp_path, side_px=SIDE_PX).of(PICTURES))
    assert [p.key for p, _ in first] == ["b/1", "b/2", "a/1"]
    monkeypatch.setattr(drawings, "draw_all", lambda *_args, **_kwargs: pytest.fail("drawn again"))
    turned = [PICTURES[3], PICTURES[2], PICTURES[1]]
    again = list(Drawings(tmp_path, side_px=SIDE_PX).of(turned))
    assert [p.key for p, _ in again] == ["a/1", "b/2"]
    for picture, pixels in first + again:
        np.testing.assert_array_equal(pixels, wanted[picture.key])
    assert all(not np.array_equal(a, b) for (_, a), (_, b) in pairwise(first))


def test_pixels_whose_names_were_not_written_are_drawn_again_in_their_place(tmp_path):
    list(Drawings(tmp_path, side_px=SIDE_PX).of(PICTURES[:1]))
    with (tmp_path / "drawn-b-16.raw").open("ab") as file:
        file.write(b"half of a drawing")
    found = list(Drawings(tmp_path, side_px=SIDE_PX).of(PICTURES[:3]))
    np.testing.assert_array_equal(found[1][1], draw(PICTURES[1].svg, side_px=SIDE_PX))
    names = json.loads((tmp_path / "drawn-b-16.json").read_text())
    assert names == {"drawn": ["b/1", "b/2"], "broken": ["b/broken"]}
    assert (tmp_path / "drawn-b-16.raw").stat().st_size == 2 * 16 * 16 * 3
