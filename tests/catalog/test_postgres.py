"""The same engine with its catalog on PostgreSQL (run with -m postgres)."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from colour_media import make_media
from hit_names import names
from postgres import postgres

from retrieval.config import load_settings
from retrieval.engine import Engine
from retrieval.errors import CatalogDamagedError, NotFoundError

pytestmark = pytest.mark.postgres


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="pg") as folder, postgres(Path(folder)) as found:
        yield found


def test_a_store_on_postgresql_answers_as_one_on_sqlite(url: str, tmp_path: Path) -> None:
    media = make_media(tmp_path / "media", n_files=50)
    (media / "broken.jpg").write_bytes(b"nothing")
    here = load_settings({"workers": 1}, environment={})
    there = load_settings({"workers": 1, "catalog": url}, environment={})
    found = []
    for name, settings in (("sqlite", here), ("postgres", there)):
        with Engine.open(tmp_path / name, create=True, model="fake", settings=settings) as engine:
            assert engine.add(media).n_bad == 1
            engine.build()
            engine.remove(media / "0003.png")
            hits = [engine.search(text, k=20) for text in ("red", "green blue", "word9")]
            hits.append(engine.similar(media / "0001.png", k=20))
            assert engine.verify().findings == ()
            assert [f.code for f in engine.failures()] == ["not_an_image"]
            found.append(hits)
    assert found[0] == found[1]
    assert not (tmp_path / "postgres" / "catalog.sqlite").exists()
    with Engine.open(tmp_path / "postgres", settings=there) as engine:
        assert engine.search("red", k=20) == found[0][0]
        with pytest.raises(NotFoundError):
            engine.remove(media / "0003.png")
        assert len(names(engine.search("red", k=100))) == 49
    other = tmp_path / "another-store"
    with pytest.raises(CatalogDamagedError, match="belongs to store"):
        Engine.open(other, create=True, model="fake", settings=there)
