"""Full text in the catalog: what is found is what a plain scan finds, through every change."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from migrated import migrate_to
from postgres import postgres

from retrieval.catalog.connect import connect, sqlite_url
from retrieval.catalog.records import Batch, FileRecord, ItemRecord, path_key
from retrieval.catalog.store import Catalog
from retrieval.catalog.words import fold, path_words, query_words, words
from retrieval.types import Modality, Part

SYNTAX = [
    '"', "'", '""', "*", "a*", "NEAR(a b)", "a AND b", "a OR b", "NOT a", "words:a", "^a", "(a",
    "a)", "{words}: a", "-a", "+a", "a:*", "a & !b", "a | b", "a <-> b", "\\", "%",
    "'; DROP TABLE texts; --",
    "_", "a%", "\x00", "\ud800", "\u202e", "a\x00b", "🙂", "é", "e\u0301", "ß", "日本", "ﬁ", "",
]  # fmt: skip


@pytest.fixture(
    scope="module", params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)]
)
def catalog(request: pytest.FixtureRequest) -> Iterator[Catalog]:
    with tempfile.TemporaryDirectory(prefix="ft") as folder:
        path = Path(folder) / "catalog.sqlite"
        if request.param == "sqlite":
            opened = Catalog.open(path, uuid="u", create=True)
            yield opened
            opened.close()
            return
        with postgres(Path(folder)) as url:
            opened = Catalog.open(path, uuid="u", url=url, create=True)
            yield opened
            opened.close()


def file(path: str, content: str) -> FileRecord:
    return FileRecord(path=path, size_bytes=5, mtime_ns=7, caption_stamp="", content_hash=content)


def item(
    id_: int,
    content: str,
    *,
    caption: str | None = None,
    texts: tuple[str, ...] = (),
    version: int = 0,
) -> ItemRecord:
    modality: Modality = "text" if texts else "image"
    parts = tuple(
        Part(id_ * 10 + n + version, id_, modality, text=text)
        for n, text in enumerate(texts or (None,))
    )
    return ItemRecord(id_, content, 0, modality, "x", 5, None, None, None, caption, (), parts)


def clear(catalog: Catalog) -> None:
    with catalog.writing() as writer:
        writer.remove_paths([file.path for file in writer.files(limit=10_000)])
        writer.clear_tombstones(range(100_000))  # so that part ids can be used again


def found(catalog: Catalog, word: str, **options: object) -> list[tuple[int, int | None]]:
    with catalog.reading() as reader:
        matches = reader.text_matches(word, limit=10_000, **options)  # type: ignore[arg-type]
    return sorted((m.item_id, m.part_id) for m in matches)


def n_texts(catalog: Catalog) -> int:
    with catalog.reading() as reader:
        return int(reader._connection.execute(sa.text("SELECT count(*) FROM texts")).scalar_one())


def hostile(rng: random.Random) -> str:
    return "".join(rng.choice([*SYNTAX, "a", "b", "Cat", "dogs", " "]) for _ in range(4))


def test_500_hostile_texts_are_found_by_their_words_and_by_nothing_else(catalog: Catalog) -> None:
    clear(catalog)
    rng = random.Random(5)
    captions = [*SYNTAX, *(hostile(rng) for _ in range(500 - len(SYNTAX)))]
    stored = [text.replace("\x00", "").encode("utf-8", "replace").decode() for text in captions]
    with catalog.writing() as writer:
        writer.apply(
            Batch(
                files=tuple(file(f"/{n}", f"h{n}") for n in range(1, 501)),
                items=tuple(
                    item(n, f"h{n}", caption=text or None) for n, text in enumerate(stored, start=1)
                ),
            )
        )
    asked = sorted({word for text in [*captions, *map(hostile, [rng] * 500)]
                    for word in query_words(text)})  # fmt: skip
    assert len(asked) > 20
    for word in asked:
        names = {n for n in range(1, 501) if word == str(n)}
        slow = {n for n, text in enumerate(stored, start=1) if word in words(text)}
        assert {id_ for id_, _ in found(catalog, word)} == slow | names, word
    with catalog.reading() as reader:
        for text in captions:
            assert reader.items_named(text, limit=9) == ([int(text)] if text.isdigit() else [])
        assert reader.counts()["files"] == 500


def test_a_text_is_found_by_its_part_and_a_name_by_every_path(catalog: Catalog) -> None:
    clear(catalog)
    with catalog.writing() as writer:
        writer.apply(
            Batch(
                files=(file("/a/RedParrot2.JPG", "h1"), file("/b/Élan vital.png", "h1"),
                       file("/c.txt", "h2")),
                items=(item(1, "h1"), item(2, "h2", texts=("one whale", "two whales"))),
            )
        )  # fmt: skip
    assert found(catalog, "whale") == [(2, 20), (2, 21)]
    assert found(catalog, "whale", among=["two"]) == [(2, 21)]
    assert found(catalog, "parrot") == found(catalog, "elan") == [(1, None)]
    assert found(catalog, "redpar") == []
    assert found(catalog, "redpar", prefix=True) == [(1, None)]
    assert found(catalog, "wha", prefix=True) == []  # only names are found by their beginning
    with catalog.reading() as reader:
        for name in ("redparrot2.jpg", "RedParrot2", "elan vital", "b/ÉLAN VITAL", "/c.txt"):
            assert reader.items_named(name, limit=9) == [2 if "c" in name else 1], name
        for name in ("parrot2", "x/RedParrot2", "", "/", "*"):
            assert reader.items_named(name, limit=9) == [], name


def test_texts_go_and_change_with_what_they_speak_of(catalog: Catalog) -> None:
    clear(catalog)
    before = n_texts(catalog)
    with catalog.writing() as writer:
        writer.apply(
            Batch(files=(file("/x.png", "h1"), file("/y.png", "h1")),
                  items=(item(1, "h1", caption="an owl"),))
        )  # fmt: skip
        writer.apply(
            Batch(
                files=(file("/x.png", "h1"),), items=(item(1, "h1", caption="a hawk", version=1),)
            )
        )
    assert (found(catalog, "owl"), found(catalog, "hawk")) == ([], [(1, None)])
    assert found(catalog, "x") == found(catalog, "y") == [(1, None)]
    with catalog.writing() as writer:
        writer.apply(Batch(vanished=("/y.png",)))
    assert found(catalog, "y") == []
    with catalog.writing() as writer:
        assert writer.mark_stale([11]) == 1
    assert found(catalog, "hawk") == found(catalog, "x") == [(1, None)]
    with catalog.writing() as writer:
        writer.apply(Batch(files=(FileRecord("/x.png", 5, 7, "", None, code="cut", reason="r"),)))
    assert found(catalog, "x") == found(catalog, "hawk") == []
    assert n_texts(catalog) == before == 0


def test_a_transaction_that_fails_leaves_the_texts_as_they_were(catalog: Catalog) -> None:
    clear(catalog)
    with catalog.writing() as writer:
        writer.apply(Batch(files=(file("/x", "h1"),), items=(item(1, "h1", caption="owl"),)))

    def fail() -> None:
        with catalog.writing() as writer:
            writer.remove_paths(["/x"])
            writer.apply(Batch(files=(file("/z", "h2"),), items=(item(2, "h2", caption="hawk"),)))
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError):
        fail()
    assert (found(catalog, "owl"), found(catalog, "hawk")) == ([(1, None)], [])


def test_a_table_is_named_by_its_first_row(catalog: Catalog) -> None:
    clear(catalog)
    rows = tuple(
        ItemRecord(n, "h", n, "text", "csv", 5, None, None, None, None, (),
                   (Part(n * 10, n, "text", text=f"row {n}"),))
        for n in (4, 5, 6)
    )  # fmt: skip
    with catalog.writing() as writer:
        writer.apply(Batch(files=(file("/prices.csv", "h"),), items=rows))
    assert found(catalog, "price") == [(4, None)]
    with catalog.reading() as reader:
        assert reader.items_named("prices", limit=1) == [4]


def make_second_format(path: Path, *, of: Path) -> None:
    """Write what a catalog holds as the release before full text wrote it."""
    engine = connect(sqlite_url(path))
    migrate_to(engine, "0002")
    with engine.connect() as connection:
        connection.exec_driver_sql("ATTACH ? AS newer", (str(of),))
        for table in ("files", "items", "parts"):
            connection.exec_driver_sql(f"INSERT INTO {table} SELECT * FROM newer.{table}")
        store = "id, uuid, generation, next_item_id, next_part_id"
        connection.exec_driver_sql(f"INSERT INTO store SELECT {store} FROM newer.store")
        connection.commit()
    engine.dispose()


def test_a_catalog_of_the_format_before_gets_its_texts(tmp_path: Path) -> None:
    path = tmp_path / "catalog.sqlite"
    catalog = Catalog.open(path, uuid="u", create=True)
    odd = "/\udcff tulip.png"
    with catalog.writing() as writer:
        writer.apply(
            Batch(
                files=(file("/a/rose.png", "h1"), file("/b.txt", "h2"), file(odd, "h3")),
                items=(item(1, "h1", caption="a red rose"), item(3, "h3"),
                       item(2, "h2", texts=("one whale", "two whales"))),
            )
        )  # fmt: skip
    asked = ("rose", "whale", "b", "tulip", "red")
    expected = [found(catalog, word) for word in asked]
    catalog.close()
    old = tmp_path / "old.sqlite"
    make_second_format(old, of=path)
    catalog = Catalog.open(old, uuid="u")
    assert [found(catalog, word) for word in asked] == expected
    assert all(expected)
    with catalog.reading() as reader:
        assert reader.items_named("rose.png", limit=2) == [1]
    assert n_texts(catalog) == 6
    assert (tmp_path / "old.sqlite.before-migration").exists()
    catalog.close()


def test_words_are_the_same_whatever_case_accent_and_plural() -> None:
    assert words("Cafés CAFE\u0301 cafe") == ["cafe"] * 3
    assert words("berries boxes glass bus its") == ["berry", "boxe", "glass", "bus", "its"]
    assert words("a_b-c.d 東京tower") == ["a", "b", "c", "d", "東", "京", "tower"]
    assert words("हिन्दी") == words("हिनदी".replace("ि", "").replace("ी", ""))
    assert fold("ΣΊΣΥΦΟΣ") == fold("σίσυφος".upper())
    assert all(word.isalnum() for text in SYNTAX for word in words(text))
    assert path_words("/x/IMG2041.jpg") == ["x", "img2041", "jpg", "img", "2041", "jpg"]
    assert path_key("/é") == "/é".encode()
